//! A service manager that answers over a socket: units, keepers and jobs as systemd has them, a log of the calls, and
//! faults on request. It also answers what a client asks of a message bus, so that the binary can talk to it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_core::Stream as _;
use skep::manager::Systemd;
use zbus::message::{Header, Type};
use zbus::{Connection, Guid, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

const JOB: &str = "/org/freedesktop/systemd1/job";
const UNIT: &str = "/org/freedesktop/systemd1/unit";
const MANAGER: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// What is wrong with this manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never answers this method.
    Silent(&'static str),
    /// Its answer to this method is of another shape.
    Garbage(&'static str),
    /// Its answer to this method is this error.
    Fails(&'static str, &'static str, &'static str),
    /// It turns down any call that would create this unit, in these words.
    Dislikes(&'static str, &'static str),
    /// Jobs end, but nobody is told.
    NoSignals,
    /// Signals of another shape come before each one that is right.
    NoisySignals,
    /// Jobs of this unit never end.
    Hangs(&'static str),
    /// Jobs of this unit end with this result, and leave the unit failed.
    Ends(&'static str, &'static str),
    /// The connection ends at this method.
    HangsUp(&'static str),
}

/// One loaded unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeUnit {
    pub(crate) active: String,
    pub(crate) status: String,
    pub(crate) description: String,
    job: bool,
}

/// What the manager has.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) units: BTreeMap<String, FakeUnit>,
    /// Units that each active keeper holds.
    pub(crate) keepers: BTreeMap<String, BTreeSet<String>>,
    /// Calls so far, with the unit each is about; `JobRemoved` where that signal went out.
    pub(crate) log: Vec<String>,
    faults: Vec<Fault>,
    subscribed: bool,
    jobs: u32,
}

impl World {
    fn collect_garbage(&mut self) {
        let keepers = &self.keepers;
        self.units.retain(|name, unit| {
            unit.active != "inactive" || keepers.values().any(|held| held.contains(name))
        });
    }

    fn has(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.faults.iter().any(wanted)
    }
}

/// A handle on the manager, which lives until the client goes away.
#[derive(Clone, Debug)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<World>>);

impl Fake {
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self(Arc::new(Mutex::new(World {
            faults: faults.to_vec(),
            ..World::default()
        })))
    }

    /// Adds a loaded unit.
    pub(crate) fn load(&self, unit: &str, active: &str, status: &str) {
        let unit_state = FakeUnit {
            active: active.into(),
            status: status.into(),
            ..FakeUnit::default()
        };
        self.0.lock().unwrap().units.insert(unit.into(), unit_state);
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    pub(crate) fn forget_log(&self) {
        self.0.lock().unwrap().log.clear();
    }

    pub(crate) fn units(&self) -> Vec<String> {
        self.0.lock().unwrap().units.keys().cloned().collect()
    }

    pub(crate) fn keepers(&self) -> Vec<String> {
        self.0.lock().unwrap().keepers.keys().cloned().collect()
    }

    /// A client of this manager, over a socket pair, whose calls may take `limit`.
    pub(crate) async fn client(&self, limit: Duration) -> Systemd {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fake = self.clone();
        // Clients of one manager come one after the other.
        fake.0.lock().unwrap().subscribed = false;
        thread::spawn(move || fake.serve(ours));
        let connection = zbus::connection::Builder::unix_stream(theirs)
            .p2p()
            .method_timeout(limit)
            .build()
            .await
            .unwrap();
        Systemd::over(connection).await.unwrap()
    }

    /// Listens as a message bus; returns the address.
    pub(crate) fn listen(&self, directory: &Path) -> String {
        let path: PathBuf = directory.join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let fake = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                fake.0.lock().unwrap().subscribed = false;
                let fake = fake.clone();
                thread::spawn(move || fake.serve(stream));
            }
        });
        format!("unix:path={}", path.display())
    }

    fn serve(self, stream: UnixStream) {
        zbus::block_on(async {
            let builder = zbus::connection::Builder::unix_stream(stream).server(Guid::generate());
            let Ok(connection) = builder.p2p().build().await else {
                return;
            };
            let mut stream = MessageStream::from(&connection);
            while let Some(Ok(message)) =
                poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await
            {
                if message.message_type() == Type::MethodCall
                    && self.answer(&connection, &message).await.is_none()
                {
                    let _ = connection.close().await;
                    return;
                }
            }
        });
    }

    /// Answers one call; `None` when the connection shall end.
    async fn answer(&self, connection: &Connection, message: &Message) -> Option<()> {
        let header = message.header();
        let member = header.member().unwrap().to_string();
        let hit = |fault: &Fault, wanted: fn(&'static str) -> Fault| match fault {
            Fault::Silent(name) | Fault::Garbage(name) | Fault::HangsUp(name) => {
                *name == member && *fault == wanted(name)
            }
            _ => false,
        };
        let (silent, garbage, hangs_up, fails) = {
            let world = self.0.lock().unwrap();
            let fails = world.faults.iter().find_map(|fault| match fault {
                Fault::Fails(name, error, text) if *name == member => Some((*error, *text)),
                _ => None,
            });
            (
                world.has(|fault| hit(fault, Fault::Silent)),
                world.has(|fault| hit(fault, Fault::Garbage)),
                world.has(|fault| hit(fault, Fault::HangsUp)),
                fails,
            )
        };
        if hangs_up {
            return None;
        }
        if silent {
            self.note(member);
            return Some(());
        }
        if garbage {
            self.note(member);
            let _ = connection.reply(&header, &("garbage", 7_u8, true)).await;
            return Some(());
        }
        if let Some((name, text)) = fails {
            self.note(member);
            let _ = connection.reply_error(&header, name, &text).await;
            return Some(());
        }
        let sent = match member.as_str() {
            "Hello" => connection.reply(&header, &":1.1").await,
            "AddMatch" | "RemoveMatch" => connection.reply(&header, &()).await,
            "Get" => {
                let version = Variant::from("257.13-1~deb13u1");
                connection.reply(&header, &version).await
            }
            "GetAll" => self.get_all(connection, message).await,
            "Subscribe" => self.subscribe(connection, &header).await,
            "ListUnitsByPatterns" => self.list(connection, &header).await,
            "GetUnit" => self.get_unit(connection, message).await,
            "StartTransientUnit" => self.start_transient(connection, message).await,
            "StartUnit" | "StopUnit" | "RestartUnit" => self.job(connection, message).await,
            "SetUnitProperties" | "ResetFailedUnit" => {
                self.note(member.clone());
                connection.reply(&header, &()).await
            }
            other => {
                let error = "org.freedesktop.DBus.Error.UnknownMethod";
                connection.reply_error(&header, error, &other).await
            }
        };
        let _ = sent;
        Some(())
    }

    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().log.push(line.into());
    }

    async fn subscribe(&self, connection: &Connection, header: &Header<'_>) -> zbus::Result<()> {
        self.note("Subscribe");
        let again = std::mem::replace(&mut self.0.lock().unwrap().subscribed, true);
        if again {
            let error = "org.freedesktop.systemd1.AlreadySubscribed";
            return connection
                .reply_error(header, error, &"Client is already subscribed.")
                .await;
        }
        connection.reply(header, &()).await
    }

    async fn list(&self, connection: &Connection, header: &Header<'_>) -> zbus::Result<()> {
        self.note("ListUnitsByPatterns");
        let path = || OwnedObjectPath::try_from("/").unwrap();
        let row = |name: &String, active: &str, job: bool| {
            let sub = "dead".to_owned();
            let text = |text: &str| text.to_owned();
            (
                name.clone(),
                text(name),
                text("loaded"),
                text(active),
                sub,
                String::new(),
                path(),
                u32::from(job),
                String::new(),
                path(),
            )
        };
        let rows: Vec<_> = {
            let world = self.0.lock().unwrap();
            let units = world
                .units
                .iter()
                .map(|(name, unit)| row(name, &unit.active, unit.job));
            units
                .chain(world.keepers.keys().map(|name| row(name, "active", false)))
                .collect()
        };
        connection.reply(header, &rows).await
    }

    async fn get_unit(&self, connection: &Connection, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let unit: String = message.body().deserialize()?;
        if !self.0.lock().unwrap().units.contains_key(&unit) {
            let text = format!("Unit {unit} not loaded.");
            let error = "org.freedesktop.systemd1.NoSuchUnit";
            return connection.reply_error(&header, error, &text).await;
        }
        let path: String = unit.bytes().map(|byte| format!("_{byte:02x}")).collect();
        let path = OwnedObjectPath::try_from(format!("{UNIT}/{path}"))?;
        connection.reply(&header, &path).await
    }

    async fn get_all(&self, connection: &Connection, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let path = header.path().unwrap().to_string();
        let hex = path.rsplit('/').next().unwrap().split('_').skip(1);
        let name: String = hex
            .map(|hex| char::from(u8::from_str_radix(hex, 16).unwrap()))
            .collect();
        let unit = self.0.lock().unwrap().units.get(&name).cloned();
        let unit = unit.unwrap_or_default();
        let result = if unit.active == "failed" {
            "exit-code"
        } else {
            "success"
        };
        let all: BTreeMap<&str, Variant<'_>> = BTreeMap::from([
            ("ActiveState", Variant::from(unit.active.as_str())),
            ("StatusText", Variant::from(unit.status.as_str())),
            ("Result", Variant::from(result)),
            ("ExecMainStatus", Variant::from(1_i32)),
        ]);
        connection.reply(&header, &all).await
    }

    async fn start_transient(
        &self,
        connection: &Connection,
        message: &Message,
    ) -> zbus::Result<()> {
        type Properties = Vec<(String, OwnedVariant)>;
        type Aux = Vec<(String, Properties)>;
        let header = message.header();
        let (keeper, _, own, aux): (String, String, Properties, Aux) =
            message.body().deserialize()?;
        let names: Vec<&str> = aux.iter().map(|(name, _)| name.as_str()).collect();
        self.note(
            format!("StartTransientUnit {keeper} + {}", names.join(" "))
                .trim_end()
                .to_owned(),
        );
        let refused = self.why_not(&aux);
        if let Some((error, text)) = refused {
            return connection.reply_error(&header, error, &text).await;
        }
        let held = own.iter().find(|(name, _)| name == "PropagatesReloadTo");
        let held: Vec<String> = match held {
            Some((_, value)) => Vec::try_from(value.clone()).unwrap_or_default(),
            None => Vec::new(),
        };
        let job = {
            let mut world = self.0.lock().unwrap();
            for (name, properties) in aux {
                let description = properties
                    .iter()
                    .find(|(name, _)| name == "Description")
                    .and_then(|(_, value)| String::try_from(value.clone()).ok());
                let unit = FakeUnit {
                    active: "inactive".into(),
                    description: description.unwrap_or_default(),
                    ..FakeUnit::default()
                };
                world.units.insert(name, unit);
            }
            world
                .keepers
                .insert(keeper.clone(), held.into_iter().collect());
            world.collect_garbage();
            world.jobs += 1;
            world.jobs
        };
        self.finish(connection, &header, job, &keeper, "done").await
    }

    fn why_not(
        &self,
        aux: &[(String, Vec<(String, OwnedVariant)>)],
    ) -> Option<(&'static str, String)> {
        let world = self.0.lock().unwrap();
        for (name, _) in aux {
            if world.units.contains_key(name) {
                let text = format!("Unit {name} was already loaded or has a fragment file.");
                return Some(("org.freedesktop.systemd1.UnitExists", text));
            }
            let disliked = world.faults.iter().find_map(|fault| match fault {
                Fault::Dislikes(unit, text) if unit == name => Some((*text).to_owned()),
                _ => None,
            });
            if let Some(text) = disliked {
                return Some(("org.freedesktop.DBus.Error.InvalidArgs", text));
            }
        }
        None
    }

    async fn job(&self, connection: &Connection, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let verb = header.member().unwrap().to_string();
        let (unit, _): (String, String) = message.body().deserialize()?;
        self.note(format!("{verb} {unit}"));
        let known = {
            let mut world = self.0.lock().unwrap();
            let is_keeper = world.keepers.remove(&unit).is_some();
            is_keeper || unit == "skep-declared.slice" || world.units.contains_key(&unit)
        };
        if !known {
            let text = format!("Unit {unit} not found.");
            let error = "org.freedesktop.systemd1.NoSuchUnit";
            return connection.reply_error(&header, error, &text).await;
        }
        let (job, result) = {
            let mut world = self.0.lock().unwrap();
            let end = world.faults.iter().find_map(|fault| match fault {
                Fault::Ends(name, end) if *name == unit => Some(*end),
                _ => None,
            });
            let hangs = world.has(|fault| matches!(fault, Fault::Hangs(name) if *name == unit));
            let active = match (verb.as_str(), end) {
                (_, Some(_)) => "failed",
                ("StopUnit", None) => "inactive",
                _ => "active",
            };
            if let Some(state) = world.units.get_mut(&unit) {
                state.active = if hangs { "activating" } else { active }.into();
                state.job = hangs;
            }
            world.collect_garbage();
            world.jobs += 1;
            (world.jobs, if hangs { "" } else { end.unwrap_or("done") })
        };
        self.finish(connection, &header, job, &unit, result).await
    }

    /// Answers with the job and, unless `result` is empty, tells its end.
    async fn finish(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        job: u32,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()> {
        let path = OwnedObjectPath::try_from(format!("{JOB}/{job}"))?;
        let (mute, noisy) = {
            let world = self.0.lock().unwrap();
            let mute = world.has(|fault| *fault == Fault::NoSignals) || !world.subscribed;
            (mute, world.has(|fault| *fault == Fault::NoisySignals))
        };
        let nobody = None::<&str>;
        if noisy {
            let junk = (path.clone(), "done");
            connection
                .emit_signal(nobody, MANAGER, INTERFACE, "JobRemoved", &junk)
                .await?;
            connection
                .emit_signal(nobody, MANAGER, INTERFACE, "JobRemoved", &())
                .await?;
        }
        // systemd tells the end before it answers, when the job ends at once.
        if !mute && !result.is_empty() {
            self.note(format!("JobRemoved {unit}"));
            let body = (job, path.clone(), unit, result);
            connection
                .emit_signal(nobody, MANAGER, INTERFACE, "JobRemoved", &body)
                .await?;
        }
        connection.reply(header, &path).await
    }
}
