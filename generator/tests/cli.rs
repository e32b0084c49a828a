//! The command line, as the built binary. What needs systemd talks to a fake one; nothing is written outside temporary
//! directories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bus/fake.rs"]
#[allow(dead_code, reason = "the tests of the bus use the rest")]
mod fake;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use fake::{Fake, Fault};

const VERBS: &[&str] = &[
    "apply", "check", "show", "cat", "list", "status", "start", "stop", "restart", "enable",
    "disable", "exec", "shell", "run",
];

/// What a run printed.
struct Run {
    status: i32,
    out: String,
    err: String,
}

fn read(output: &Output) -> Run {
    Run {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

/// Runs `skep` where no bus is.
fn skep(arguments: &[&str]) -> Run {
    skep_on("unix:path=/nonexistent/bus", arguments)
}

fn skep_on(bus: &str, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(arguments)
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .output();
    read(&output.unwrap())
}

/// A tree with declarations.
struct Root(TempDir);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            root.put(name, text);
        }
        root
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let root = format!("--root={}", self.0.path().display());
        skep(&[&[root.as_str()], arguments].concat())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[test]
fn wrong_usage_exits_2_and_says_what_is_right() {
    for (arguments, want) in [
        (&[] as &[&str], "Usage: skep"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["show"], "<NAME>"),
        (&["show", "../web"], "letter A-Z"),
        (&["start"], "<NAME>"),
        (&["start", "web@"], "is a template"),
        (&["start", "web@1@2"], "only the characters"),
        (
            &["start", "nginx@web.service"],
            "is not the unit of a container",
        ),
        (&["status", "host"], "means the host itself"),
        (&["exec", "web"], "<CMD>"),
        (&["exec", "web", "ls"], "unexpected argument"),
        (
            &["exec", "--user=www-data", "web", "--", "ls"],
            "both numbers",
        ),
        (&["exec", "--chdir=srv", "web", "--", "ls"], "absolute path"),
        (&["shell", "--env=A", "web"], "NAME=VALUE"),
        (&["--root=/", "list"], "--root goes with"),
        (&["--root=/", "apply"], "--root goes with"),
        (&["completions", "csh"], "possible values"),
    ] {
        let run = skep(arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.err);
        assert!(run.err.contains(want), "{arguments:?}: {}", run.err);
        assert_eq!(run.out, "");
    }
}

#[test]
fn help_is_complete() {
    let help = skep(&["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    for verb in VERBS {
        assert!(
            help.out.contains(&format!("\n  {verb} ")),
            "{verb}: {}",
            help.out
        );
        let own = skep(&[verb, "--help"]);
        assert_eq!(own.status, 0);
        assert!(own.out.contains("Usage: skep"), "{}", own.out);
        // Every option has its sentence.
        for line in own
            .out
            .lines()
            .filter(|line| line.trim_start().starts_with("--"))
        {
            assert!(line.trim().split("  ").count() > 1, "{verb}: {line}");
        }
    }
    assert_eq!(
        skep(&["--version"]).out,
        format!("skep {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completions_are_scripts() {
    for (shell, checker) in [
        ("bash", Some("bash")),
        ("zsh", Some("zsh")),
        ("fish", Some("fish")),
    ] {
        let script = skep(&["completions", shell]);
        assert_eq!(script.status, 0);
        for verb in VERBS {
            assert!(script.out.contains(verb), "{shell} {verb}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &script.out).unwrap();
        let Some(program) = checker else { continue };
        match Command::new(program).arg("-n").arg(file.path()).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            // Only bash is everywhere.
            Err(_) => assert_ne!(program, "bash"),
        }
    }
}

#[test]
fn keys_are_one_per_line() {
    let run = skep(&["keys"]);
    assert_eq!(run.status, 0);
    assert!(
        run.out
            .lines()
            .any(|line| line.starts_with("[Container] Root=\t"))
    );
    assert!(
        run.out
            .lines()
            .all(|line| line.starts_with('[') && line.contains("=\t"))
    );
}

#[test]
fn check_names_line_key_and_cure() {
    let root = Root::new(&[
        (
            "a.container",
            "[Container]\nRoot=/srv/a\n\nBnd=/x\nHostname=-\n",
        ),
        ("b.container", "[Container]\nRoot=/srv/b\n"),
    ]);
    let (a, b) = (
        root.path().join("a.container"),
        root.path().join("b.container"),
    );
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let run = skep(&["check", a, b]);
    assert_eq!(run.status, 1);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(
        lines[0],
        format!("{a}:4: Bnd=: unknown key in [Container]; did you mean Bind=?")
    );
    assert!(
        lines[1].starts_with(&format!("{a}:5: Hostname=: ")),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "2 declarations, 2 errors");
    assert_eq!(skep(&["check", b]).status, 0);

    let json = skep(&["check", "--json", a, b]);
    assert_eq!(json.status, 1);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["state"], "invalid");
    assert_eq!(json[0]["problems"][0]["line"], 4);
    assert_eq!(json[0]["problems"][0]["key"], "Bnd");
    assert_eq!(json[1]["state"], "valid");

    let missing = skep(&["check", "/nonexistent/web.container"]);
    assert_eq!(missing.status, 1);
    assert!(
        missing.out.contains("/nonexistent/web.container"),
        "{}",
        missing.out
    );
}

#[test]
fn root_is_another_tree() {
    let root = Root::new(&[
        ("etc/skep/web.container", "[Container]\nRoot=/srv/web\n"),
        (
            "usr/lib/skep/db.container",
            "[Container]\nPrivateUsers=maybe\n",
        ),
        ("etc/skep/off.container", ""),
    ]);
    let run = root.run(&["check"]);
    assert_eq!(run.status, 1);
    assert!(
        run.out.contains("db.container:2: PrivateUsers=: "),
        "{}",
        run.out
    );
    assert!(
        run.out.ends_with("3 declarations, 1 error\n"),
        "{}",
        run.out
    );
    let run = root.run(&["apply", "--dry-run"]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.out.contains("create web\n"), "{}", run.out);
    assert!(
        run.out.contains("create db (its declaration is wrong"),
        "{}",
        run.out
    );
    assert!(run.out.ends_with("this was a dry run\n"));
    let json = root.run(&["apply", "--dry-run", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["actions"][1]["name"], "web");
    assert_eq!(json["actions"][1]["action"], "create");

    for verb in [
        &["check"] as &[&str],
        &["cat", "web"],
        &["apply", "--dry-run"],
    ] {
        let run = skep(&[&["--root=/nonexistent"], verb].concat());
        assert_eq!(run.status, 1);
        assert!(
            run.err.contains("/nonexistent: no such directory"),
            "{}",
            run.err
        );
    }
}

#[test]
fn cat_merges_and_knows_where_lines_come_from() {
    let root = Root::new(&[
        (
            "etc/skep/web.container",
            "[Container]\nRoot=/srv/web\nBind=/a:/a\n",
        ),
        (
            "etc/skep/web.container.d/10-more.conf",
            "# more\n[Container]\nBind=/b:/b\n[Service]\nMemoryMax=1G\n",
        ),
        ("etc/skep/bad.container", "nonsense\n"),
    ]);
    let run = root.run(&["cat", "web"]);
    assert_eq!(
        run.out,
        "[Container]\nRoot=/srv/web\nBind=/a:/a\nBind=/b:/b\n\n[Service]\nMemoryMax=1G\n"
    );
    // Three spellings of one name.
    for name in ["web.container", "skep@web.service"] {
        assert_eq!(root.run(&["cat", name]).out, run.out);
    }
    let run = root.run(&["cat", "--origin", "web"]);
    let file = root.path().join("etc/skep/web.container.d/10-more.conf");
    let want = format!("Bind=/b:/b  # {}:3\n", file.display());
    assert!(run.out.contains(&want), "{}", run.out);
    let run = root.run(&["cat", "bad"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("bad.container:1: "), "{}", run.err);
    let run = root.run(&["cat", "none"]);
    assert_eq!(
        (run.status, run.err.as_str()),
        (1, "no declaration is called none\n")
    );
}

#[test]
fn show_prints_the_unit_before_anything_runs() {
    let root = Root::new(&[
        (
            "etc/skep/web.container",
            "[Unit]\nDescription=Wiki\n[Container]\nRoot=/srv/web\n[Service]\nMemoryMax=1G\n",
        ),
        ("etc/skep/bad.container", "[Container]\nRoot=srv\n"),
    ]);
    let run = root.run(&["show", "web"]);
    for line in [
        "Description=Wiki",
        "MemoryMax=1073741824",
        "Type=notify",
        "[Service]",
    ] {
        assert!(
            run.out.lines().any(|found| found == line),
            "{line}: {}",
            run.out
        );
    }
    assert!(run.out.contains("launcher boot web"), "{}", run.out);
    let run = root.run(&["show", "bad"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("bad.container:2: Root=: "), "{}", run.err);
}

#[test]
fn without_a_bus_it_says_so() {
    for arguments in [
        &["list"] as &[&str],
        &["status", "web"],
        &["start", "web"],
        &["stop", "web"],
        &["restart", "web"],
    ] {
        let run = skep(arguments);
        assert_eq!(run.status, 1, "{arguments:?}");
        assert!(
            run.err
                .starts_with("cannot reach systemd over the system bus: "),
            "{}",
            run.err
        );
        assert!(run.err.contains("is dbus running?"), "{}", run.err);
    }
}

#[test]
fn what_needs_no_systemd_does_not_wait_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(&[("web.container", "[Container]\n")]);
    let file = root.path().join("web.container");
    let bus = Fake::new(&[Fault::Silent("Hello")]).listen(directory.path());
    let start = Instant::now();
    let run = skep_on(&bus, &["check", file.to_str().unwrap()]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn start_of_several_waits_for_all_and_tells_why_one_failed() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(&[Fault::Ends("skep@skep-test-b.service", "failed")]);
    fake.load("skep@skep-test-a.service", "inactive", "");
    fake.load(
        "skep@skep-test-b.service",
        "failed",
        "mount: \u{1b}[2J\u{9b}no such tree",
    );
    fake.load("skep@skep-test-c.service", "inactive", "");
    let bus = fake.listen(directory.path());
    let run = skep_on(
        &bus,
        &[
            "start",
            "skep-test-b",
            "skep@skep-test-c.service",
            "skep-test-none",
            "skep-test-b.container",
        ],
    );
    assert_eq!(run.status, 1);
    assert!(
        run.err
            .contains("skep-test-b: start failed: exit status 1\n"),
        "{}",
        run.err
    );
    assert!(
        run.err.contains("  mount: \\x1b[2J\\u{9b}no such tree\n"),
        "{}",
        run.err
    );
    assert!(
        run.err.contains("skep-test-none: not declared\n"),
        "{}",
        run.err
    );
    let log = fake.log();
    assert!(
        log.contains(&"StartUnit skep@skep-test-c.service".to_owned()),
        "{log:?}"
    );
    let subscribed = log.iter().position(|line| line == "Subscribe").unwrap();
    let started = log
        .iter()
        .position(|line| line.starts_with("StartUnit"))
        .unwrap();
    assert!(subscribed < started, "{log:?}");
}

#[test]
fn a_wait_does_not_depend_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(&[Fault::NoSignals]);
    fake.load("skep@skep-test-a.service", "failed", "");
    let bus = fake.listen(directory.path());
    let start = Instant::now();
    let run = skep_on(&bus, &["start", "skep-test-a"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn list_and_status_escape_what_guests_say() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(&[]);
    fake.load(
        "skep@skep-test-a.service",
        "active",
        "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}",
    );
    let bus = fake.listen(directory.path());
    for arguments in [
        &["list"] as &[&str],
        &["list", "--json"],
        &["status", "skep-test-a"],
        &["status", "--json", "skep-test-a"],
    ] {
        let run = skep_on(&bus, arguments);
        assert_eq!(run.status, 0, "{arguments:?}: {}", run.err);
        assert!(run.out.contains("skep-test-a"), "{}", run.out);
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!run.out.contains(bad), "{arguments:?}: {:?}", run.out);
    }
    let run = skep_on(&bus, &["status", "skep-test-a", "skep-test-none"]);
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("no container is called skep-test-none"),
        "{}",
        run.err
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skep"))
        .arg("keys")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let root = Root::new(&[("web.nspawn", "[Exec]\nHostname=web\n")]);
    let file = root.path().join("web.nspawn");
    for (sink, status, said) in [("/dev/full", 1, "standard output: "), ("/dev/null", 0, "")] {
        let output = Command::new(env!("CARGO_BIN_EXE_skep"))
            .arg("import")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(fs::OpenOptions::new().write(true).open(sink).unwrap())
            .output();
        let run = read(&output.unwrap());
        assert_eq!(run.status, status, "{sink}: {}", run.err);
        assert!(run.err.contains(said), "{}", run.err);
    }
}
