//! Golden directories `tests/golden/NN-name`: a tree of declarations, and what is expected of it.
//!
//! A file `systemd` holds the manager's version where it matters. `expected/problems.txt` holds all problems and
//! warnings, `expected/wanted.txt` what came of each declaration.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use skep::declaration::keys::{Section, keys};
use skep::declaration::{LoadState, Loaded, load_all};
use skep::wanted::Wanted;

use super::{Root, facts, problems};

#[test]
fn golden_directories() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut cases: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.retain(|case| {
        ["etc", "run", "usr"]
            .iter()
            .any(|top| case.join(top).is_dir())
    });
    cases.sort();
    assert!(
        cases.len() >= 12,
        "golden cases are missing from {}",
        directory.display()
    );
    let mut wrong = String::new();
    for case in cases {
        let root = Root::new();
        for top in ["etc", "run", "usr"] {
            copy(&case.join(top), &root, &format!("/{top}"));
        }
        let systemd = fs::read_to_string(case.join("systemd"))
            .map_or(257, |text| text.trim().parse().unwrap());
        let all = load_all(root.path(), &facts(Some(systemd)));
        let prefix = root.path().to_str().unwrap();
        for (name, text) in [
            ("problems.txt", all_problems(&all)),
            ("wanted.txt", all_wanted(&all)),
        ] {
            let text = text.replace(prefix, "");
            let path = case.join("expected").join(name);
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if bless {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
            } else if text != expected {
                writeln!(wrong, "--- {}\n{expected}+++ now\n{text}", path.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}BLESS=1 rewrites the expectations");
}

/// The golden declarations use every key, so that applying them on a real systemd tries every property.
#[test]
fn every_key_has_a_golden_line() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let every = [
        "13-every-property/etc/skep/every.container",
        "14-newer-properties/etc/skep/newer.container",
    ];
    let text: String = every
        .iter()
        .map(|file| fs::read_to_string(directory.join(file)).unwrap())
        .collect();
    for row in keys().filter(|row| matches!(row.section, Section::Unit | Section::Service)) {
        assert!(
            text.contains(&format!("\n{}=", row.name)),
            "{} is in none of {every:?}",
            row.name
        );
    }
}

/// Copies a tree, links as links, with modes that the checkout's umask does not decide.
fn copy(from: &Path, root: &Root, inside: &str) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let inside = format!("{inside}/{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), root, &inside);
        } else if kind.is_symlink() {
            root.link(
                fs::read_link(entry.path()).unwrap().to_str().unwrap(),
                &inside,
            );
        } else {
            root.put(&inside, fs::read(entry.path()).unwrap());
        }
    }
}

fn all_problems(all: &[Loaded]) -> String {
    let lines = all
        .iter()
        .flat_map(|loaded| problems(loaded).iter().chain(&loaded.warnings));
    lines.fold(String::new(), |text, problem| {
        text + &problem.to_string() + "\n"
    })
}

fn all_wanted(all: &[Loaded]) -> String {
    let mut text = String::new();
    for loaded in all {
        let unit = if loaded.unit { "" } else { " (no unit)" };
        match &loaded.state {
            LoadState::Template => writeln!(text, "{}: template", loaded.name).unwrap(),
            LoadState::Masked => writeln!(text, "{}: masked{unit}", loaded.name).unwrap(),
            LoadState::Invalid {
                problems,
                wanted_by,
            } => {
                let count = problems.len();
                writeln!(
                    text,
                    "{}: invalid{unit}, {count} problems, wanted by {wanted_by:?}",
                    loaded.name
                )
                .unwrap();
            }
            LoadState::Valid(wanted) => valid(&mut text, wanted),
        }
    }
    text
}

fn valid(text: &mut String, wanted: &Wanted) {
    writeln!(
        text,
        "{}: valid, from {}",
        wanted.name,
        wanted.source.display()
    )
    .unwrap();
    writeln!(
        text,
        "  wanted by {:?}, ids {:?}",
        wanted.wanted_by, wanted.ids
    )
    .unwrap();
    for property in &wanted.properties {
        writeln!(text, "  {} = {:?}", property.name, property.value).unwrap();
    }
    let spec = serde_json::to_string_pretty(&wanted.spec).unwrap();
    for line in spec.lines() {
        writeln!(text, "  {line}").unwrap();
    }
}
