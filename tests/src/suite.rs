//! `cargo xtask test`: every check and every test, one line per phase at the end.

use std::{
    path::PathBuf,
    process::Command,
    thread::ScopedJoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    artifact, attacks,
    command::run,
    host::{Host, Os, Wanted, shared_name, xtask},
    interface,
    leak::Machine,
    parity,
    place::{cargo, workspace},
    progress::{note, seconds},
    results, tool,
    tree::Tree,
};

/// Guests of the shared hosts.
pub const GUESTS: &[&str] = &[
    "debian-12",
    "debian-13",
    "debian-sid",
    "busybox",
    "host",
    "metal",
    "sysvinit",
    "openrc",
    "runit",
    "s6",
    "shepherd",
    "dinit",
];

/// The guests that can be had.
fn guests() -> Vec<String> {
    let there = |guest: &&&str| Tree::named(guest).is_none_or(Tree::can_be_built);
    let all = GUESTS.iter().filter(there);
    all.map(|guest| (*guest).to_owned()).collect()
}

/// Which boot tests run.
#[derive(Clone, Copy, Debug)]
enum Selection<'a> {
    /// All of them.
    All,
    /// Those whose names contain this.
    Containing(&'a str),
    /// Those that show a row of the parity table.
    Parity,
    /// Those of the systemd Container Interface.
    Interface,
    /// Those of the classes of attacks.
    Attacks,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// The phases so far.
#[derive(Debug, Default)]
struct Report {
    phases: Vec<(&'static str, Verdict, Duration)>,
}

impl Report {
    /// Runs a phase; a failure is shown and remembered.
    fn phase<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        note(format_args!("phase {name}"));
        let begin = Instant::now();
        let result = work();
        let verdict = if result.is_ok() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        self.phases.push((name, verdict, begin.elapsed()));
        result
            .inspect_err(|error| eprintln!("{name}: {error:#}"))
            .ok()
    }

    fn skip(&mut self, name: &'static str) {
        self.phases.push((name, Verdict::Skipped, Duration::ZERO));
    }

    /// Prints the summary; an error unless everything passed.
    fn conclude(self, total: Duration) -> Result<()> {
        eprintln!();
        for (name, verdict, time) in &self.phases {
            eprintln!(
                "{name:<12} {:<8} {}",
                format!("{verdict:?}").to_lowercase(),
                seconds(*time)
            );
        }
        let failed = self
            .phases
            .iter()
            .filter(|(_, verdict, _)| *verdict == Verdict::Failed)
            .count();
        eprintln!(
            "{:<12} {:<8} {}",
            "all",
            if failed == 0 { "passed" } else { "failed" },
            seconds(total)
        );
        if failed > 0 {
            bail!("{failed} of {} phases failed", self.phases.len());
        }
        Ok(())
    }
}

/// Runs everything, or with a filter only the tests whose names contain it.
pub fn test(filter: Option<&str>) -> Result<()> {
    let begin = Instant::now();
    let mut report = Report::default();
    if filter.is_some() {
        for name in ["format", "lint", "doc", "licences"] {
            report.skip(name);
        }
    } else {
        checks(&mut report);
    }
    let units = report.phase("unit", || {
        tool::ensure_unit_tools()?;
        tool::ensure_subcommand("cargo-nextest")?;
        run(nextest(filter)
            .env_remove("SKEP_TEST_HOSTS")
            .arg("--workspace"))
    });
    let package = report.phase("package", || {
        let built = artifact::build()?;
        artifact::package(&built)
    });
    let selection = filter.map_or(Selection::All, Selection::Containing);
    match package {
        Some(package) => boots(&mut report, selection, package, units.is_some()),
        None => report.skip("boot"),
    }
    report.conclude(begin.elapsed())
}

/// Runs the boot tests that show a row of the parity table, and prints it.
pub fn parity() -> Result<()> {
    only(Selection::Parity)
}

/// Runs the boot tests of the systemd Container Interface, and prints the table of its checks.
pub fn interface() -> Result<()> {
    only(Selection::Interface)
}

/// Runs the tests of the classes of attacks, and prints their table.
pub fn attacks() -> Result<()> {
    only(Selection::Attacks)
}

fn only(selection: Selection<'_>) -> Result<()> {
    let begin = Instant::now();
    let mut report = Report::default();
    tool::ensure_subcommand("cargo-nextest")?;
    let units = matches!(selection, Selection::Attacks).then(|| {
        report.phase("unit", || {
            let mut command = nextest(None);
            command.args(["--workspace", "--filterset", &attacks::unit_filter()]);
            run(command.env_remove("SKEP_TEST_HOSTS"))
        })
    });
    let units = units.flatten().is_some();
    let package = report.phase("package", || artifact::package(&artifact::build()?));
    match package {
        Some(package) => boots(&mut report, selection, package, units),
        None => report.skip("boot"),
    }
    report.conclude(begin.elapsed())
}

fn checks(report: &mut Report) {
    report.phase("format", || {
        tool::ensure_component("rustfmt", "fmt")?;
        run(cargo().args(["fmt", "--all", "--check"]))
    });
    report.phase("lint", || {
        tool::ensure_component("clippy", "clippy")?;
        run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny=warnings",
        ]))
    });
    report.phase("doc", || {
        let arguments = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ];
        run(cargo().args(arguments).env("RUSTDOCFLAGS", "-Dwarnings"))
    });
    report.phase("licences", || {
        tool::ensure_subcommand("cargo-deny")?;
        let config = workspace().join("packaging/deny.toml");
        run(cargo().args(["deny", "--config"]).arg(config).args([
            "check",
            "--deny=warnings",
            "licenses",
            "bans",
            "sources",
        ]))
    });
}

/// The boot tests on fresh hosts of all systemd generations. `units`: whether the unit tests have passed.
fn boots(report: &mut Report, selection: Selection<'_>, package: PathBuf, units: bool) {
    let Some(before) = report.phase("survey", Machine::now) else {
        return;
    };
    let prefix = format!("test-{}", std::process::id());
    let up = report.phase("hosts up", || bring_up(&prefix, &package));
    if up.is_some() {
        let results = std::env::temp_dir().join(format!("skep-{prefix}.results"));
        report.phase("boot", || {
            let mut command = match selection {
                Selection::Containing(filter) => nextest(Some(filter)),
                Selection::All | Selection::Parity | Selection::Interface | Selection::Attacks => {
                    nextest(None)
                }
            };
            match selection {
                Selection::Parity => drop(command.args(["--filterset", &parity::filter()])),
                Selection::Interface => drop(command.args(["--filterset", "binary(interface)"])),
                Selection::Attacks => drop(command.args(["--filterset", &attacks::filter()])),
                Selection::All | Selection::Containing(_) => {}
            }
            parity::begin(&results)?;
            interface::begin(&results)?;
            command.args([
                "--package=skep-tests",
                "--test=*",
                "--no-fail-fast",
                "--test-threads=3",
            ]);
            command
                .env("SKEP_TEST_HOSTS", &prefix)
                .env("SKEP_XTASK", xtask()?)
                .env(results::RESULTS, &results);
            run(command.env("SKEP_TEST_PACKAGE", &package))
        });
        if matches!(selection, Selection::All | Selection::Parity) {
            report.phase("parity", || parity::conclude(&results));
        }
        if matches!(selection, Selection::All | Selection::Interface) {
            report.phase("interface", || interface::conclude(&results));
        }
        if matches!(selection, Selection::All | Selection::Attacks) {
            report.phase("attacks", || attacks::conclude(&results, Some(units)));
        }
        let _ = std::fs::remove_file(&results);
        interface::end(&results);
    } else {
        report.skip("boot");
    }
    report.phase("hosts down", || {
        let down = &|os| Host::find(&shared_name(&prefix, os)).and_then(|host| host.down());
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads = Os::DEBIAN.map(|os| scope.spawn(move || down(os)));
            threads.into_iter().map(joined).collect()
        });
        let failures: Vec<String> = results
            .into_iter()
            .filter_map(Result::err)
            .filter(|_| up.is_some())
            .map(|error| format!("{error:#}"))
            .collect();
        if failures.is_empty() {
            Ok(())
        } else {
            bail!("{}", failures.join("\n"))
        }
    });
    report.phase("leaks", || {
        let leaks = before.leaks()?;
        if leaks.is_empty() {
            Ok(())
        } else {
            bail!("left behind:\n{}", leaks.join("\n"))
        }
    });
}

/// The result of a thread.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

fn bring_up(prefix: &str, package: &std::path::Path) -> Result<()> {
    let results: Vec<Result<Host>> = std::thread::scope(|scope| {
        // Trees are built one after the other, hosts boot side by side.
        let trees = crate::tree::ALL
            .iter()
            .filter(|tree| tree.can_be_built())
            .try_for_each(|tree| tree.ready().map(drop));
        let boots = Os::DEBIAN.map(|os| {
            let wanted = Wanted {
                os,
                name: Some(shared_name(prefix, os)),
                guests: guests(),
                image: false,
                package: Some(package.to_owned()),
                owned: true,
            };
            let ready = trees.is_ok();
            scope.spawn(move || {
                if ready {
                    Host::up(wanted)
                } else {
                    bail!("a tree is missing")
                }
            })
        });
        let ended = boots.into_iter().map(joined);
        trees.err().map(Err).into_iter().chain(ended).collect()
    });
    for result in results {
        let host = result?;
        note(format_args!("host {} is up", host.name()));
    }
    Ok(())
}

/// The test runner. Without a filter a phase that finds no test has failed.
fn nextest(filter: Option<&str>) -> Command {
    let mut command = cargo();
    command
        .args(["nextest", "run", "--config-file"])
        .arg(workspace().join("tests/nextest.toml"));
    if let Some(filter) = filter {
        command.args(["--no-tests=pass", filter]);
    }
    command
}
