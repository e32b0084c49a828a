//! Declarations from files on a fake root: golden directories, a table of wrong declarations, and properties.
//!
//! `BLESS=1` rewrites what the golden directories expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "declarations/big.rs"]
mod big;
#[path = "declarations/golden.rs"]
mod golden;
#[path = "declarations/instances.rs"]
mod instances;
#[path = "declarations/mutate.rs"]
mod mutate;
#[path = "declarations/search.rs"]
mod search;
#[path = "declarations/wrong.rs"]
mod wrong;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use skep::declaration::keys::keys;
use skep::declaration::{Facts, LoadState, Loaded, load_all};
use skep::problem::Problem;
use tempfile::TempDir;

/// A root that goes away with the test.
struct Root(TempDir);

impl Root {
    fn new() -> Root {
        Root(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn at(&self, inside: &str) -> PathBuf {
        self.path().join(inside.trim_start_matches('/'))
    }

    /// Writes a file with a mode that no umask decides.
    fn put(&self, inside: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn link(&self, target: &str, inside: &str) {
        let path = self.at(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn load(&self) -> Vec<Loaded> {
        load_all(self.path(), &facts(Some(257)))
    }
}

fn facts(systemd: Option<u32>) -> Facts {
    Facts {
        systemd,
        hostname: "big.example.org".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        boot_id: "fedcba9876543210fedcba9876543210".into(),
        kernel: "6.1.0-test".into(),
    }
}

fn named<'a>(all: &'a [Loaded], name: &str) -> &'a Loaded {
    all.iter()
        .find(|loaded| loaded.name == name)
        .unwrap_or_else(|| panic!("{name} is not among {all:#?}"))
}

fn problems(loaded: &Loaded) -> &[Problem] {
    match &loaded.state {
        LoadState::Invalid { problems, .. } => problems,
        LoadState::Masked | LoadState::Template | LoadState::Valid(_) => &[],
    }
}

fn is_valid(loaded: &Loaded) -> bool {
    matches!(loaded.state, LoadState::Valid(_))
}

/// Every declaration is either usable or says why not, in order.
fn check_sound(all: &[Loaded]) {
    for loaded in all {
        if let LoadState::Invalid { problems, .. } = &loaded.state {
            assert!(
                !problems.is_empty(),
                "{} is invalid without a reason",
                loaded.name
            );
            assert!(problems.len() <= 300);
            for problem in problems {
                let text = problem.to_string();
                assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
            }
        }
    }
}

#[test]
fn a_thousand_declarations_load_fast() {
    let root = Root::new();
    for number in 0..1000 {
        let text = format!(
            "[Unit]\nDescription=Guest {number}\n[Container]\nRoot=/srv/%i\nBind=/srv/data/%i:/srv\nEnvironment=A=1\n\
             [Service]\nMemoryMax=2G\nCPUWeight=50\n[Install]\nWantedBy=machines.target\n"
        );
        root.put(&format!("/etc/skep/guest-{number}.container"), text);
    }
    root.put(
        "/etc/skep/container.d/10-all.conf",
        "[Service]\nTasksMax=100\n",
    );
    let best = (0..5).map(|_| {
        let start = std::time::Instant::now();
        let all = root.load();
        assert_eq!(all.iter().filter(|loaded| is_valid(loaded)).count(), 1000);
        start.elapsed()
    });
    let best = best.min().unwrap();
    println!("1000 declarations: {best:?}");
    let limit = if cfg!(debug_assertions) { 1000 } else { 50 };
    assert!(best.as_millis() <= limit, "{best:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_load(bytes in proptest::collection::vec(any::<u8>(), 0..300), dropin in any::<bool>()) {
        let root = Root::new();
        root.put("/etc/skep/good.container", "[Container]\n");
        root.put("/etc/skep/web.container", if dropin { b"[Container]\n".as_slice() } else { &bytes });
        if dropin {
            root.put("/etc/skep/web.container.d/a.conf", &bytes);
        }
        let all = root.load();
        check_sound(&all);
        prop_assert!(is_valid(named(&all, "good")));
    }

    #[test]
    fn any_values_load(lines in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..12)) {
        let rows: Vec<_> = keys().collect();
        let text: String = lines.iter().map(|(index, value)| {
            let row = index.get(&rows);
            format!("[{}]\n{}={value}\n", row.section, row.name)
        }).collect();
        let root = Root::new();
        root.put("/etc/skep/web.container", &text);
        let all = root.load();
        check_sound(&all);
        // Each problem points at an assignment of its own key.
        let written: Vec<&str> = text.lines().collect();
        for problem in problems(named(&all, "web")) {
            let line = written[problem.line.unwrap() as usize - 1];
            // One of the syntax has no key.
            prop_assert!(problem.key.as_deref().is_none_or(|key| line.starts_with(key)), "{problem} against {line}");
        }
    }
}

/// Values near what keys expect, and others.
fn value() -> impl Strategy<Value = String> {
    let near = [
        "",
        "yes",
        "no",
        "5",
        "0",
        "65536",
        "50%",
        "10G",
        "infinity",
        "/a",
        "/a:/b",
        "/a:/b:rbind",
        "-/a",
        "a.service",
        "web.container",
        "A=1",
        "any",
        "10.0.0.0/8",
        "/dev/sda 5M",
        "0-3",
        "SIGTERM",
        "5min 20s",
        "%i",
        "%%",
        "%",
        "\"a b\"",
        "'",
        "\\x41",
        "/",
        "/tmp",
        "machine.slice",
        "1:2",
        "host",
        "identity",
        "\u{4e2d}",
        "99999999999999999999",
    ];
    prop_oneof![
        prop::sample::select(near.to_vec()).prop_map(str::to_owned),
        "[ -~]{0,20}",
        "[-0-9a-zA-Z%:/.,=]{0,12}",
    ]
}
