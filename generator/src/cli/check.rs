//! `skep check`: everything wrong with declarations, without changing anything.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::apply::{Layout, is_error};
use crate::declaration::{Facts, LoadState, Loaded, load_all, load_file};
use crate::problem::{Problem, shown};
use crate::report;

use super::{CheckArgs, FAILED, OK, systemd_version};

#[derive(Debug, Serialize)]
struct Checked {
    name: String,
    path: String,
    state: &'static str,
    problems: Vec<Problem>,
}

/// `skep check`
pub(super) fn check(layout: &Layout, arguments: &CheckArgs, other_root: bool) -> u8 {
    // Keys that need a newer systemd are problems on this host only; without one, nothing is too new.
    let version = match other_root {
        true => None,
        false => systemd_version(),
    };
    let facts = Facts::of_host(version);
    let loaded = match arguments.files.as_slice() {
        [] => load_all(&layout.root, &facts),
        files => files
            .iter()
            .map(|file| load_file(&absolute(file), &layout.root, &facts))
            .collect(),
    };
    let checked: Vec<Checked> = loaded.into_iter().map(Checked::from).collect();
    let errors = distinct(&checked)
        .filter(|problem| is_error(problem))
        .count();
    if arguments.json {
        report::json(&checked);
    } else {
        print_problems(&checked, errors);
    }
    if errors == 0 { OK } else { FAILED }
}

/// Each problem once, however many instances of a template have it.
fn distinct(checked: &[Checked]) -> impl Iterator<Item = &Problem> {
    let mut seen = HashSet::new();
    checked
        .iter()
        .flat_map(|one| &one.problems)
        .filter(move |problem| seen.insert(*problem))
}

fn absolute(file: &PathBuf) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.clone())
}

fn print_problems(checked: &[Checked], errors: usize) {
    for problem in distinct(checked) {
        // Already escaped.
        report::print(&format!("{problem}\n"));
    }
    let files = match checked.len() {
        1 => "1 declaration".to_owned(),
        number => format!("{number} declarations"),
    };
    match errors {
        0 => report::line(&format!("{files}, no errors")),
        1 => report::line(&format!("{files}, 1 error")),
        number => report::line(&format!("{files}, {number} errors")),
    }
}

impl From<Loaded> for Checked {
    fn from(loaded: Loaded) -> Self {
        let (state, mut problems) = match loaded.state {
            LoadState::Masked => ("masked", Vec::new()),
            LoadState::Template => ("template", Vec::new()),
            LoadState::Valid(_) => ("valid", Vec::new()),
            LoadState::Invalid { problems, .. } => ("invalid", problems),
        };
        problems.extend(loaded.warnings);
        Self {
            name: loaded.name,
            path: shown(&loaded.source),
            state,
            problems,
        }
    }
}
