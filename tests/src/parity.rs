//! `cargo xtask parity`: which test shows each behaviour that users of earlier system containers rely on, and its result.
//!
//! Rows G1-G37 are what the Guix system-container module and its runtime did or should have done. A trial shows a row when
//! its name carries the row (`g13_g14_dev`) or when the row names it. A row without a passing test has failed.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Result;

use crate::{host::Os, results};

/// One behaviour.
#[derive(Debug)]
struct Row {
    /// `G1` and so on; there is no G9.
    id: &'static str,
    /// In a few words.
    what: &'static str,
    /// Trials that show it and do not carry it in their names.
    shown_by: &'static [&'static str],
}

const fn row(id: &'static str, what: &'static str, shown_by: &'static [&'static str]) -> Row {
    Row { id, what, shown_by }
}

const ROWS: &[Row] = &[
    row("G1", "runs without its bare-metal parts", &[]),
    row("G2", "mounts that cannot work are dropped", &[]),
    row("G3", "no swap", &[]),
    row("G4", "no console font, no terminal of a VT", &[]),
    row(
        "G5",
        "shared network: no network manager, network is there",
        &[],
    ),
    row(
        "G6",
        "private network: loopback up, network is there",
        &["key_network"],
    ),
    row("G7", "shared network: the host's name files, followed", &[]),
    row("G8", "the user's own services are honoured", &[]),
    row("G10", "any subset of the seven namespaces", &[]),
    row("G11", "root on a fresh tmpfs", &[]),
    row("G12", "/proc and /sys", &[]),
    row("G13", "/dev and its nodes", &[]),
    row(
        "G14",
        "terminals, shared memory, queues, links in /dev",
        &[],
    ),
    row("G15", "/dev/console is a terminal", &["console_is_clean"]),
    row(
        "G16",
        "shares: files and directories, order",
        &["key_binds"],
    ),
    row(
        "G17",
        "read-only shares are so to the bottom and for good",
        &["locks_debian_12"],
    ),
    row(
        "G18",
        "a missing source: error, or skipped when optional",
        &["key_binds"],
    ),
    row("G19", "unknown mount options are rejected at once", &[]),
    row("G20", "the old root is gone", &["no_host_descriptor"]),
    row("G21", "whole store or closure only", &[]),
    row(
        "G22",
        "65536 ids of its own",
        &["five_ranges", "owners_and_canaries"],
    ),
    row("G23", "chosen ids for one command", &[]),
    row(
        "G24",
        "a failed set-up reaches the caller with its cause",
        &[],
    ),
    row(
        "G25",
        "exit status and signals of the command",
        &["statuses"],
    ),
    row("G26", "clean environment", &[]),
    row(
        "G27",
        "five directories, PID 1, no stray descriptor",
        &["no_host_descriptor"],
    ),
    row("G28", "shares that a guest would wipe are refused", &[]),
    row("G29", "signals end it, nothing is left", &[]),
    row("G30", "a small init that reaps and forwards", &[]),
    row("G31", "the log names the leader and the ways in", &[]),
    row("G32", "private network: a hosts file", &[]),
    row("G33", "root read-only once populated", &[]),
    row(
        "G34",
        "mounts locked against the guest's root",
        &["locks_debian_13", "locks_busybox"],
    ),
    row(
        "G35",
        "entering: namespaces, cgroup, status",
        &["place", "statuses"],
    ),
    row("G36", "what the host lacks is named with a cure", &[]),
    row(
        "G37",
        "code in a throw-away container with its closure",
        &[],
    ),
];

/// Whether a trial of that name, without its host, shows the row.
fn shows(row: &Row, trial: &str) -> bool {
    let carried = || trial.split('_').take_while(|word| is_row(word));
    row.shown_by.contains(&trial) || carried().any(|word| word.eq_ignore_ascii_case(row.id))
}

fn is_row(word: &str) -> bool {
    let number = word.strip_prefix('g').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The filter that selects the trials of all rows, in the words of the test runner.
pub fn filter() -> String {
    let named: Vec<&str> = ROWS.iter().flat_map(|row| row.shown_by).copied().collect();
    format!("test(/::(g[0-9]+_.*|{})$/)", named.join("|"))
}

/// Records the result of a trial.
pub fn record(trial: &str, passed: bool) {
    let word = if passed { "passed" } else { "failed" };
    results::append("", &format!("{trial} {word}\n"));
}

/// Makes an empty file of results.
pub fn begin(path: &Path) -> Result<()> {
    results::begin(path, "")
}

/// Prints the table of all rows from the file of results; an error unless every row has passed.
pub fn conclude(path: &Path) -> Result<()> {
    let text = results::read(path, "")?;
    let (table, open) = table(&text);
    results::print(&table, &open)
}

/// Whether each trial passed, by host. One that was tried again counts by its last try.
pub(crate) fn last_tries(results: &str) -> BTreeMap<&str, BTreeMap<&str, bool>> {
    let mut trials: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for line in results.lines() {
        if let Some((full, word)) = line.rsplit_once(' ')
            && let Some((host, trial)) = full.split_once("::")
        {
            let passed = word == "passed";
            trials.entry(trial).or_default().insert(host, passed);
        }
    }
    trials
}

/// The table, and the rows that no passing test shows or a failing one questions.
fn table(results: &str) -> (String, Vec<&'static str>) {
    let trials = last_tries(results);
    let (mut text, mut open) = (String::new(), Vec::new());
    for row in ROWS {
        let shown: Vec<_> = trials
            .iter()
            .filter(|(trial, _)| shows(row, trial))
            .collect();
        if shown.is_empty()
            || shown
                .iter()
                .any(|(_, hosts)| hosts.values().any(|passed| !passed))
        {
            open.push(row.id);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<4} {}", row.id, row.what);
        if shown.is_empty() {
            let _ = writeln!(text, "     no test ran");
        }
        for (trial, hosts) in shown {
            let _ = writeln!(text, "     {trial:<48} {}", verdicts(hosts));
        }
    }
    (text, open)
}

/// `bookworm passed  trixie passed  sid FAILED`
pub(crate) fn verdicts(hosts: &BTreeMap<&str, bool>) -> String {
    let verdict = |os: &Os| {
        let passed = hosts.get(os.to_string().as_str())?;
        Some(format!(
            "{os} {}",
            if *passed { "passed" } else { "FAILED" }
        ))
    };
    Os::DEBIAN
        .iter()
        .filter_map(verdict)
        .collect::<Vec<_>>()
        .join("  ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_found_by_name_and_by_mention() {
        let [g13, g1] = ["G13", "G1"].map(|id| ROWS.iter().find(|row| row.id == id).unwrap());
        assert!(shows(g13, "g13_g14_dev"));
        assert!(!shows(g1, "g13_g14_dev") && !shows(g13, "dev_g13"));
        let g6 = ROWS.iter().find(|row| row.id == "G6").unwrap();
        assert!(shows(g6, "key_network"));
    }

    #[test]
    fn the_last_try_counts_and_rows_without_a_test_are_open() {
        let results = "trixie::g11_root failed\ntrixie::g11_root passed\nsid::g12_proc failed\n";
        let (text, open) = table(results);
        assert!(text.contains("trixie passed"), "{text}");
        assert!(!open.contains(&"G11") && open.contains(&"G12") && open.contains(&"G1"));
    }
}
