//! What one-off runs need of systemd: descriptors handed over, the end of a unit noticed and its status read.

use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use zbus::{DBusError as _, MatchRule, MessageStream, OwnedVariant, Variant};

use crate::unit::UnitDraft;

use super::property::variants;
use super::proxy::UnitPropertiesProxy;
use super::{BusError, Job, Systemd};

/// Signals about one unit are few.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1 << 10).unwrap();

/// Answer to a second subscription.
const ALREADY: &str = "org.freedesktop.systemd1.AlreadySubscribed";

/// The bus has no room for another message to systemd: two hundred callers at once fill its queue of descriptors.
const FULL: &str = "org.freedesktop.DBus.Error.LimitsExceeded";

/// How long systemd may take to read what is queued, and between two attempts.
const FULL_LIMIT: Duration = Duration::from_secs(20);
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Properties of a unit's standard streams.
const STREAMS: [&str; 3] = [
    "StandardInputFileDescriptor",
    "StandardOutputFileDescriptor",
    "StandardErrorFileDescriptor",
];

/// Which processes of a unit a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Its main process.
    Main,
    /// All of them.
    All,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunState {
    /// `ActiveState`
    pub active: String,
    /// Whether a job is queued for it.
    pub job: bool,
    /// Whether it was active once: then its main process was executed.
    pub was_active: bool,
    /// `Result`
    pub result: String,
    /// `ExecMainCode`: how the main process ended, as of waitid(2); 0 while it has not.
    pub code: i32,
    /// `ExecMainStatus`: exit status or signal.
    pub status: i32,
}

/// A subscription to the changes of one unit.
#[derive(Debug)]
pub struct Changes {
    stream: MessageStream,
}

impl Systemd {
    /// Creates a unit and queues its start, with standard streams when some are given.
    ///
    /// # Errors
    /// [`BusError::UnitExists`] when such a unit is loaded, [`BusError::Refused`] when a property is wrong.
    pub async fn start_run(
        &self,
        unit: &UnitDraft,
        streams: Option<[BorrowedFd<'_>; 3]>,
    ) -> Result<Job, BusError> {
        let mut properties = variants(&unit.properties);
        for (name, stream) in STREAMS.into_iter().zip(streams.into_iter().flatten()) {
            properties.push((name, Variant::Fd(stream.into())));
        }
        let start = Instant::now();
        loop {
            let manager = &self.manager;
            let started = manager.start_transient_unit(&unit.name, "fail", &properties, &[]);
            match started.await {
                Err(error) if is_full(&error) && start.elapsed() < FULL_LIMIT => {
                    super::sleep(FULL_PAUSE).await;
                }
                result => {
                    return result.map_err(|error| BusError::of_call("StartTransientUnit", error));
                }
            }
        }
    }

    /// Listens to the changes of a unit, which need not exist yet.
    ///
    /// systemd tells them as long as somebody refers to the unit or has subscribed to all units.
    ///
    /// # Errors
    /// As every call.
    pub async fn changes(&self, unit: &str) -> Result<Changes, BusError> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path(unit_path(unit))
            .build()
            .map_err(|error| BusError::Reply(error.to_string()))?;
        let stream = MessageStream::for_match_rule(rule, &self.connection, Some(QUEUE)).await;
        let stream = stream.map_err(|error| BusError::of_call("AddMatch", error))?;
        Ok(Changes { stream })
    }

    /// Has systemd tell the changes of all units.
    ///
    /// # Errors
    /// As every call.
    pub async fn subscribe(&self) -> Result<(), BusError> {
        let subscribed = self.manager.subscribe().await;
        match subscribed.map_err(|error| BusError::of_call("Subscribe", error)) {
            Err(BusError::Refused { name, .. }) if name == ALREADY => Ok(()),
            result => result,
        }
    }

    /// How far a run has come.
    ///
    /// # Errors
    /// [`BusError::NoSuchUnit`] when it is not loaded (any more).
    pub async fn run_state(&self, unit: &str) -> Result<RunState, BusError> {
        let path = self.manager.get_unit(unit).await;
        let path = path.map_err(|error| BusError::of_call("GetUnit", error))?;
        let properties = UnitPropertiesProxy::builder(&self.connection)
            .path(path)
            .build()
            .await;
        let properties = properties.map_err(|error| BusError::of_call("GetAll", error))?;
        let mut state = RunState::default();
        // The service last: what it says about its end is then at least as new as the state.
        for interface in [
            "org.freedesktop.systemd1.Unit",
            "org.freedesktop.systemd1.Service",
        ] {
            let all = properties.get_all(interface).await;
            state.read(&all.map_err(|error| BusError::of_call("GetAll", error))?);
        }
        Ok(state)
    }

    /// Sends a signal to a unit's processes.
    ///
    /// # Errors
    /// [`BusError::Refused`] when there is no such process.
    pub async fn kill(&self, unit: &str, whom: Whom, signal: i32) -> Result<(), BusError> {
        let whom = match whom {
            Whom::Main => "main",
            Whom::All => "all",
        };
        let killed = self.manager.kill_unit(unit, whom, signal).await;
        killed.map_err(|error| BusError::of_call("KillUnit", error))
    }

    /// Keeps a unit loaded as long as this connection lasts.
    ///
    /// # Errors
    /// [`BusError::NoSuchUnit`] when it is gone already.
    pub async fn refer(&self, unit: &str) -> Result<(), BusError> {
        let referred = self.manager.ref_unit(unit).await;
        referred.map_err(|error| BusError::of_call("RefUnit", error))
    }

    /// Undoes [`Systemd::refer`], or `AddRef` of a new unit.
    ///
    /// # Errors
    /// As every call.
    pub async fn release(&self, unit: &str) -> Result<(), BusError> {
        let released = self.manager.unref_unit(unit).await;
        released.map_err(|error| BusError::of_call("UnrefUnit", error))
    }
}

impl RunState {
    /// Whether it has ended, or could not be started.
    pub fn is_over(&self) -> bool {
        !self.job && matches!(self.active.as_str(), "inactive" | "failed")
    }

    fn read(&mut self, all: &HashMap<String, OwnedVariant>) {
        for (name, value) in all {
            match (name.as_str(), &**value) {
                ("ActiveState", Variant::Str(text)) => self.active = text.to_string(),
                ("Job", Variant::Structure(job)) => {
                    self.job = !matches!(job.fields().first(), None | Some(Variant::U32(0)));
                }
                ("ActiveEnterTimestampMonotonic", Variant::U64(at)) => self.was_active = *at != 0,
                ("Result", Variant::Str(text)) => self.result = text.to_string(),
                ("ExecMainCode", Variant::I32(code)) => self.code = *code,
                ("ExecMainStatus", Variant::I32(status)) => self.status = *status,
                _ => {}
            }
        }
    }
}

impl Changes {
    /// Waits for a change of the unit's state.
    ///
    /// # Errors
    /// [`BusError::Lost`] when the connection ends before.
    pub async fn next(&mut self) -> Result<(), BusError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for callers that wait for something else as well.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BusError>> {
        loop {
            match Pin::new(&mut self.stream).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) if is_of_state(&message) => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(BusError::Lost(error.to_string())));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Err(BusError::Lost("it was closed".to_owned())));
                }
            }
        }
    }
}

/// Whether the bus itself turned a call down, so that it may be made again.
fn is_full(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str() == FULL,
        zbus::Error::FDO(fdo) => fdo.name().as_str() == FULL,
        _ => false,
    }
}

/// Whether a change is one of the unit's state or job: of the others there are many.
fn is_of_state(message: &zbus::Message) -> bool {
    type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
    message
        .body()
        .deserialize::<Body>()
        .is_ok_and(|(interface, changed, _)| {
            interface == "org.freedesktop.systemd1.Unit" && changed.contains_key("ActiveState")
        })
}

/// The object of a unit: every byte but letters and digits as `_` and two hex digits, a leading digit too.
fn unit_path(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_units() {
        assert_eq!(
            unit_path("skep-run-a.b_1.service"),
            "/org/freedesktop/systemd1/unit/skep_2drun_2da_2eb_5f1_2eservice"
        );
        assert_eq!(unit_path("1a"), "/org/freedesktop/systemd1/unit/_31a");
    }

    #[test]
    fn a_queued_start_is_not_the_end() {
        let state = |active: &str, job| RunState {
            active: active.to_owned(),
            job,
            ..RunState::default()
        };
        for (state, over) in [
            (state("inactive", true), false),
            (state("inactive", false), true),
            (state("failed", false), true),
            (state("active", false), false),
            (state("deactivating", false), false),
            (state("activating", true), false),
        ] {
            assert_eq!(state.is_over(), over, "{state:?}");
        }
    }
}
