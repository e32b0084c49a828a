//! What is said to systemd, in which order, and what happens when the answers are bad.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bus/fake.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod fake;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use skep::apply::{Failed, Layout, Outcome, Request, apply, autostart, collect};
use skep::manager::{BusError, JobEnd, Jobs, Systemd, Verb, within};
use tempfile::TempDir;

use fake::{Fake, Fault};

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_secs(20);
/// Short enough to wait for.
const HASTY: Duration = Duration::from_millis(300);

/// A host: declarations below a directory, and a manager.
struct Host {
    directory: TempDir,
    fake: Fake,
}

impl Host {
    fn new(faults: &[Fault]) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            fake: Fake::new(faults),
        }
    }

    fn declare(&self, name: &str, text: &str) {
        let directory = self.directory.path().join("etc/skep");
        fs::create_dir_all(&directory).unwrap();
        // A number keeps the name service and the host's own ranges out of this.
        let text = format!("[Container]\nRoot=/srv/{name}\nPrivateUsers=identity\n{text}");
        fs::write(directory.join(format!("{name}.container")), text).unwrap();
    }

    fn undeclare(&self, name: &str) {
        let file = format!("etc/skep/{name}.container");
        fs::remove_file(self.directory.path().join(file)).unwrap();
    }

    fn layout(&self) -> Layout {
        Layout::below(self.directory.path())
    }

    fn apply(&self, limit: Duration) -> Result<Outcome, Failed> {
        self.apply_request(limit, &Request::default())
    }

    fn apply_request(&self, limit: Duration, request: &Request) -> Result<Outcome, Failed> {
        zbus::block_on(async {
            let systemd = self.fake.client(limit).await;
            apply(&systemd, &self.layout(), request).await
        })
    }

    /// What was said that changes anything, since the last time.
    fn said(&self) -> Vec<String> {
        let log = self.fake.log();
        self.fake.forget_log();
        log.into_iter()
            .filter(|line| line != "ListUnitsByPatterns")
            .collect()
    }
}

fn troubles(outcome: &Outcome) -> Vec<(&str, &str)> {
    outcome
        .troubles
        .iter()
        .map(|trouble| (trouble.name.as_str(), trouble.message.as_str()))
        .collect()
}

#[test]
fn one_call_makes_everything_and_the_new_generation_comes_before_the_old_one_goes() {
    let host = Host::new(&[]);
    for name in ["a", "b", "c"] {
        host.declare(name, "");
    }
    let outcome = host.apply(PATIENT).unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert_eq!(
        host.said(),
        [
            "Subscribe",
            "StartTransientUnit skep-declared-1.slice + skep@a.service skep@b.service skep@c.service",
            "JobRemoved skep-declared-1.slice",
        ]
    );
    // Again: nothing is said.
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert_eq!(host.said(), [""; 0]);
    // One more: the next keeper holds all four before the first one stops.
    host.declare("d", "");
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert_eq!(
        host.said(),
        [
            "Subscribe",
            "StartTransientUnit skep-declared-2.slice + skep@d.service",
            "JobRemoved skep-declared-2.slice",
            "StopUnit skep-declared-1.slice",
            "JobRemoved skep-declared-1.slice",
        ]
    );
    assert_eq!(host.fake.units().len(), 4);
    assert_eq!(host.fake.keepers(), ["skep-declared-2.slice"]);
    // One less.
    host.undeclare("a");
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert_eq!(
        host.fake.units(),
        ["skep@b.service", "skep@c.service", "skep@d.service"]
    );
    for name in ["b", "c", "d"] {
        host.undeclare(name);
    }
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert!(host.fake.units().is_empty() && host.fake.keepers().is_empty());
}

#[test]
fn a_changed_unit_is_let_go_before_it_is_made_again() {
    let host = Host::new(&[]);
    host.declare("web", "[Unit]\nDescription=old\n");
    host.declare("db", "");
    host.apply(PATIENT).unwrap();
    host.said();
    host.declare("web", "[Unit]\nDescription=new\n");
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert_eq!(
        host.said(),
        [
            "Subscribe",
            "StartTransientUnit skep-declared-2.slice +",
            "JobRemoved skep-declared-2.slice",
            "StopUnit skep-declared-1.slice",
            "JobRemoved skep-declared-1.slice",
            "StartTransientUnit skep-declared-3.slice + skep@web.service",
            "JobRemoved skep-declared-3.slice",
            "StopUnit skep-declared-2.slice",
            "JobRemoved skep-declared-2.slice",
        ]
    );
    let description = host.fake.0.lock().unwrap().units["skep@web.service"]
        .description
        .clone();
    assert_eq!(description, "new");
}

#[test]
fn a_limit_of_a_running_container_is_set_and_nothing_else() {
    let host = Host::new(&[]);
    host.declare("web", "[Service]\nMemoryMax=1G\n");
    host.apply(PATIENT).unwrap();
    host.fake.load("skep@web.service", "active", "");
    host.said();
    host.declare("web", "[Service]\nMemoryMax=2G\n");
    let outcome = host.apply(PATIENT).unwrap();
    assert!(outcome.is_clean());
    assert_eq!(host.said(), ["SetUnitProperties"]);
}

#[test]
fn a_property_that_systemd_refuses_costs_its_own_container_only() {
    let words = "Failed to parse value of MemoryMax";
    let host = Host::new(&[Fault::Dislikes("skep@d.service", words)]);
    for name in ["a", "b", "c", "d", "e"] {
        host.declare(name, "");
    }
    let outcome = host.apply(PATIENT).unwrap();
    assert_eq!(
        troubles(&outcome),
        [(
            "d",
            "systemd refused the unit: Failed to parse value of MemoryMax"
        )]
    );
    // The others are there; of the refusal, which the fake dislikes as well, nobody was made to wait.
    for name in ["a", "b", "c", "e"] {
        assert!(host.fake.units().contains(&format!("skep@{name}.service")));
    }
    let spec = fs::read_to_string(host.layout().specs.join("d.json")).unwrap();
    assert!(spec.contains(words), "{spec}");
    assert_eq!(host.fake.keepers().len(), 1);
    // Once systemd likes it, the next apply makes it.
    host.fake.heal();
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert!(host.fake.units().contains(&"skep@d.service".to_owned()));
}

#[test]
fn a_unit_that_appears_meanwhile_stays() {
    let host = Host::new(&[]);
    host.declare("a", "");
    host.declare("b", "");
    // Loaded and running, but the record knows nothing of it.
    host.fake.load("skep@a.service", "active", "");
    let outcome = host.apply(PATIENT).unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert_eq!(host.fake.units(), ["skep@a.service", "skep@b.service"]);
    assert!(host.said().iter().all(|line| !line.contains("+ skep@a")));
}

#[test]
fn a_manager_that_turns_everything_down_ends_the_apply() {
    let host = Host::new(&[Fault::Fails(
        "StartTransientUnit",
        "org.freedesktop.systemd1.UnitExists",
        "Unit skep@a.service was already loaded or has a fragment file.",
    )]);
    host.declare("a", "");
    // Every call fails, so in the end apply says so instead of trying for ever.
    assert!(host.apply(PATIENT).is_err());
    assert!(host.said().len() < 10);
}

#[test]
fn nothing_waits_for_a_manager_that_never_answers() {
    for method in [
        "Get",
        "ListUnitsByPatterns",
        "Subscribe",
        "StartTransientUnit",
    ] {
        let host = Host::new(&[Fault::Silent(method)]);
        host.declare("web", "");
        let start = Instant::now();
        let error = host.apply(HASTY).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(3), "{method}");
        let text = error.to_string();
        assert!(text.contains("did not answer"), "{method}: {text}");
    }
}

#[test]
fn a_lost_connection_is_an_error_and_the_next_apply_works() {
    for method in ["Get", "ListUnitsByPatterns", "StartTransientUnit"] {
        let host = Host::new(&[Fault::HangsUp(method)]);
        host.declare("web", "");
        let error = host.apply(PATIENT).unwrap_err();
        assert!(matches!(error, Failed::Systemd(_)), "{method}: {error}");
        host.fake.heal();
        assert!(host.apply(PATIENT).unwrap().is_clean(), "{method}");
        assert_eq!(host.fake.units(), ["skep@web.service"]);
    }
}

#[test]
fn garbage_is_an_error_with_the_name_of_the_call() {
    for method in ["Get", "ListUnitsByPatterns", "StartTransientUnit"] {
        let host = Host::new(&[Fault::Garbage(method)]);
        host.declare("web", "");
        let error = host.apply(PATIENT).unwrap_err();
        assert!(
            matches!(error, Failed::Systemd(BusError::Reply(_))),
            "{method}: {error:?}"
        );
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn keepers_do_without_the_end_of_their_jobs() {
    let host = Host::new(&[Fault::NoSignals]);
    host.declare("web", "");
    let start = Instant::now();
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(host.fake.units(), ["skep@web.service"]);
}

#[test]
fn signals_of_another_shape_are_ignored() {
    let host = Host::new(&[Fault::NoisySignals]);
    host.declare("web", "");
    let start = Instant::now();
    assert!(host.apply(PATIENT).unwrap().is_clean());
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// systemd takes one subscription per client and answers the second with an error.
#[test]
fn one_client_subscribes_as_often_as_it_likes() {
    let fake = Fake::new(&[]);
    fake.load("skep@web.service", "inactive", "");
    fake.load("skep@db.service", "failed", "");
    zbus::block_on(async {
        let systemd = fake.client(PATIENT).await;
        let _first = Jobs::subscribe(&systemd).await.unwrap();
        let mut second = Jobs::subscribe(&systemd).await.unwrap();
        let job = systemd
            .queue(Verb::Start, "skep@web.service")
            .await
            .unwrap();
        assert_eq!(second.wait(&job).await.unwrap(), JobEnd::Done);
    });
}

#[test]
fn ends_of_jobs_are_told_apart_in_any_order() {
    let fake = Fake::new(&[Fault::Ends("skep@b.service", "failed")]);
    fake.load("skep@a.service", "failed", "");
    fake.load("skep@b.service", "failed", "");
    zbus::block_on(async {
        let systemd = fake.client(PATIENT).await;
        let mut jobs = Jobs::subscribe(&systemd).await.unwrap();
        let a = systemd.queue(Verb::Start, "skep@a.service").await.unwrap();
        let b = systemd.queue(Verb::Start, "skep@b.service").await.unwrap();
        assert_eq!(jobs.wait(&b).await.unwrap(), JobEnd::Other("failed".into()));
        assert_eq!(jobs.wait(&a).await.unwrap(), JobEnd::Done);
        let again = within(HASTY, jobs.wait(&a)).await;
        assert!(again.is_none(), "{again:?}");
    });
}

#[test]
fn errors_are_sorted_by_what_they_mean() {
    type Is = fn(&BusError) -> bool;
    let table: [(&str, &str, Is); 6] = [
        ("org.freedesktop.systemd1.NoSuchUnit", "x", |error| {
            matches!(error, BusError::NoSuchUnit(_)) && error.is_answer()
        }),
        ("org.freedesktop.DBus.Error.AccessDenied", "x", |error| {
            matches!(error, BusError::Denied { .. }) && error.to_string().contains("as root")
        }),
        ("org.freedesktop.DBus.Error.NoReply", "x", |error| {
            matches!(error, BusError::Timeout("StartUnit"))
        }),
        ("org.freedesktop.DBus.Error.ServiceUnknown", "x", |error| {
            error.to_string().contains("is dbus running?")
        }),
        ("org.freedesktop.DBus.Error.Disconnected", "x", |error| {
            matches!(error, BusError::Lost(_))
        }),
        ("org.example.Odd", "its words", |error| {
            error.to_string() == "its words" && error.is_answer()
        }),
    ];
    for (name, text, is) in table {
        let fake = Fake::new(&[Fault::Fails("StartUnit", name, text)]);
        let error = zbus::block_on(async {
            let systemd = fake.client(PATIENT).await;
            systemd.queue(Verb::Start, "skep@web.service").await
        });
        let error = error.unwrap_err();
        assert!(is(&error), "{name}: {error:?}");
    }
}

#[test]
fn boot_queues_what_install_wants_and_waits_for_nothing() {
    let host = Host::new(&[Fault::Hangs("skep@a.service")]);
    host.declare("a", "[Install]\nWantedBy=machines.target\n");
    host.declare("b", "[Install]\nWantedBy=multi-user.target\n");
    host.declare("c", "");
    // The name of /x-y.
    host.declare("e", "[Install]\nWantedBy=x\\x2dy.service\n");
    host.fake.load("x\\x2dy.service", "active", "");
    host.declare("d", "[Install]\nWantedBy=nobody-starts-this.target\n");
    host.apply(PATIENT).unwrap();
    host.said();
    let started = zbus::block_on(async {
        let systemd: Systemd = host.fake.client(PATIENT).await;
        let declarations = collect(host.directory.path(), 257, &host.layout());
        autostart(&systemd, &declarations).await.unwrap()
    });
    assert_eq!(started.queued, ["a", "b", "e"]);
    assert_eq!(
        host.said(),
        ["a", "b", "e"].map(|name| format!("StartUnit skep@{name}.service"))
    );
}

#[test]
fn what_nobody_can_read_is_refused_and_not_forgotten() {
    let host = Host::new(&[]);
    let etc = host.directory.path().join("etc/skep");
    host.declare("a", "");
    host.declare("w@", "ReadOnly=yes\n[Install]\nInstances=1 2\n");
    let template = etc.join("w@.container");
    let text = fs::read_to_string(&template).unwrap();
    let apply = || {
        let request = Request {
            prune: true,
            ..Request::default()
        };
        let outcome = host.apply_request(PATIENT, &request).unwrap();
        let actions = outcome.actions.iter().map(ToString::to_string);
        actions
            .filter(|line| !line.starts_with("keep"))
            .collect::<Vec<_>>()
    };
    let refused =
        |name: &str| format!("recreate {name} (its declaration is wrong: it will not start)");
    assert_eq!(apply(), ["create a", "create w@1", "create w@2"]);

    fs::write(&template, text.replace("Install", "Instal")).unwrap();
    assert_eq!(apply(), [refused("w@1"), refused("w@2")]);
    fs::write(&template, &text).unwrap();
    assert_eq!(apply(), ["recreate w@1", "recreate w@2"]);
    fs::set_permissions(&template, fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(apply(), [refused("w@1"), refused("w@2")]);
    // Again: nothing is new.
    assert_eq!(apply(), [""; 0]);
    fs::set_permissions(&template, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(apply(), ["recreate w@1", "recreate w@2"]);

    let away = etc.with_extension("away");
    fs::rename(&etc, &away).unwrap();
    symlink("gone", &etc).unwrap();
    assert_eq!(apply(), ["a", "w@1", "w@2"].map(refused));
    fs::remove_file(&etc).unwrap();
    fs::rename(&away, &etc).unwrap();
    assert_eq!(apply(), ["recreate a", "recreate w@1", "recreate w@2"]);
    fs::remove_file(&template).unwrap();
    assert_eq!(apply(), ["release w@1", "release w@2"]);
}
