//! systemd over the system bus: the only place that knows D-Bus.
//!
//! Every call has a time limit, and so has the connection itself, because `skep boot` runs while the host boots and must
//! not hang with a bus that does. Signals are subscribed to before the call whose end they tell.
//!
//! systemd's private socket would do without dbus-daemon, but PID 1 signs its messages there with a name that the D-Bus
//! library takes for malformed.

mod call;
mod error;
mod jobs;
mod property;
mod proxy;
mod run;
mod unit;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use zbus::Connection;
use zbus::proxy::CacheProperties;

pub use call::Verb;
pub use error::BusError;
pub use jobs::{Job, JobEnd, Jobs};
pub use run::{Changes, RunState, Whom};
pub use unit::{Listed, UnitState, Usage};

use proxy::ManagerProxy;

/// How long the connection may take. With socket activation it may wait for dbus-daemon to start.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);

/// How long one call may take: systemd creates 10,000 units in about four seconds.
const CALL_LIMIT: Duration = Duration::from_secs(25);

/// systemd, reached over a bus.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

impl Systemd {
    /// Connects over the system bus.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] when that does not work within some seconds.
    pub async fn connect() -> Result<Self, BusError> {
        let build = zbus::connection::Builder::system()
            .method_timeout(CALL_LIMIT)
            .build();
        match within(CONNECT_LIMIT, build).await {
            Some(Ok(connection)) => Self::over(connection).await,
            Some(Err(error)) => Err(BusError::Unreachable(error::root_cause(&error))),
            None => Err(BusError::Unreachable(
                "no answer within 8 seconds".to_owned(),
            )),
        }
    }

    /// Uses a connection that is there already.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] when the connection is closed.
    pub async fn over(connection: Connection) -> Result<Self, BusError> {
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await;
        match manager {
            Ok(manager) => Ok(Self {
                connection,
                manager,
            }),
            Err(error) => Err(BusError::Unreachable(error::root_cause(&error))),
        }
    }

    /// systemd's version.
    ///
    /// # Errors
    /// As every call; [`BusError::Reply`] when the version is no number.
    pub async fn version(&self) -> Result<u32, BusError> {
        let text = self
            .manager
            .version()
            .await
            .map_err(|error| BusError::of_call("Version", error))?;
        parse_version(&text)
            .ok_or_else(|| BusError::Reply(format!("systemd says its version is {text:?}")))
    }
}

/// The number in `252.39-1~deb12u2`, `v257` or `262`.
fn parse_version(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// The output of a future, or `None` when it takes too long.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(limit));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Waits. Without a runtime there is no timer, and nothing to wait for either.
pub async fn sleep(duration: Duration) {
    if let Ok(runtime) = zruntime::SharedRuntime::current() {
        runtime.sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions() {
        for (text, want) in [
            ("252.39-1~deb12u2", Some(252)),
            ("257.13", Some(257)),
            ("v262-rc1", Some(262)),
            ("262", Some(262)),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(parse_version(text), want, "{text:?}");
        }
    }

    #[test]
    fn waiting_ends() {
        let slow = zbus::block_on(within(
            Duration::from_millis(10),
            std::future::pending::<()>(),
        ));
        assert_eq!(slow, None);
        let quick = zbus::block_on(within(Duration::from_secs(60), std::future::ready(7)));
        assert_eq!(quick, Some(7));
    }
}
