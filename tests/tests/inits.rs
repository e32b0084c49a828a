//! Guests of every common init: ready, rebooted from both sides, stopped at any moment, ended from inside; and programs
//! that are no init.

#[path = "inits/overrides.rs"]
mod overrides;
#[path = "inits/programs.rs"]
mod programs;
#[path = "inits/reboot.rs"]
mod reboot;
#[path = "inits/stops.rs"]
mod stops;

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    tree::Tree,
    trial,
    wait::wait_until,
};

/// A guest.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Its tree.
    tree: &'static str,
    /// What skep calls its init.
    kind: &'static str,
    /// A process that the init runs as a service, by the beginning of its arguments.
    service: &'static str,
}

const fn row(tree: &'static str, kind: &'static str, service: &'static str) -> Row {
    Row {
        tree,
        kind,
        service,
    }
}

const ROWS: &[Row] = &[
    row("debian-13", "systemd", "/usr/bin/dbus-daemon"),
    row("busybox", "busybox", "sleep 1000000"),
    row("sysvinit", "sysvinit", "/usr/sbin/cron"),
    row("openrc", "openrc", "/usr/sbin/cron"),
    row("runit", "runit", "cron -f"),
    row("s6", "s6", "cron -f"),
    row("shepherd", "shepherd", "/usr/sbin/cron -f"),
];

/// Debian does not package it.
const DINIT: &[Row] = &[row("dinit", "dinit", "/usr/sbin/cron -f")];

/// Two processors boot all of them at once.
const LAST: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let each = |name: &str, test: fn(&Host) -> Result<()>| -> Vec<Trial> {
        trial::on_each(&Os::DEBIAN, name, test)
    };
    let mut trials = Vec::new();
    trials.extend(each("every_init_lives", |host| lives(host, ROWS)));
    trials.extend(each("every_init_stops", |host| stops::all(host, ROWS)));
    trials.extend(each("reboots_in_place", reboot::in_place));
    trials.extend(each("stops_what_goes_down", reboot::overtaken));
    trials.extend(each("programs_that_ask_are_mute", stops::mute));
    trials.extend(each("declared_overrides_init", overrides::count));
    trials.extend(each("programs_are_services", programs::are_services));
    trials.extend(each("programs_run_as_second", programs::as_second));
    trials.extend(each("programs_start_others", programs::start_others));
    let has_dinit = Tree::named("dinit").is_some_and(Tree::can_be_built);
    let dinit = each("dinit_lives_and_stops", |host| {
        lives(host, DINIT)?;
        stops::all(host, DINIT)
    });
    trials.extend(dinit.into_iter().map(|trial| {
        if has_dinit {
            trial
        } else {
            trial
                .with_ignored_flag(true)
                .with_kind("needs SKEP_TEST_DINIT, a checkout of dinit")
        }
    }));
    trial::main(trials)
}

/// Declares a copy-on-write guest of each row, does `work` with each, all at once, and withdraws them.
fn with_all(
    host: &Host,
    rows: &[Row],
    name: &str,
    work: impl Fn(&Guest<'_>, Row) -> Result<()> + Sync,
) -> Result<()> {
    let mut guests = Vec::new();
    for row in rows {
        let text = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/{}\nEphemeral=yes\n",
            row.tree
        );
        guests.push(Guest::declare(
            host,
            &format!("{name}-{}", row.kind),
            &text,
        )?);
    }
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = guests
            .iter()
            .zip(rows)
            .map(|(guest, row)| {
                scope.spawn(move || work(guest, *row).with_context(|| row.kind.to_owned()))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        })
    })?;
    // Each looks at the whole host when it finishes, so all have to be down.
    let units: Vec<String> = guests.iter().map(Guest::unit).collect();
    let units = units.join(" ");
    // The init of some was killed last.
    host.sh(&format!(
        "systemctl stop {units}; systemctl reset-failed {units}"
    ))?
    .ok()?;
    guests.into_iter().rev().try_for_each(Guest::finish)
}

/// The PID of its init on the host.
fn leader(guest: &Guest<'_>) -> Result<String> {
    let status = guest.property("StatusText")?;
    let leader = status
        .split_once("leader ")
        .and_then(|(_, rest)| Some(rest.split(',').next()?.to_owned()));
    leader.with_context(|| {
        format!(
            "no leader: {status:?}\n{}",
            guest.journal().unwrap_or_default()
        )
    })
}

/// Waits until another init than `old` runs its service.
fn serves(guest: &Guest<'_>, row: Row, old: Option<&str>) -> Result<String> {
    let what = format!("{} of {}", row.service, row.kind);
    let found = wait_until(LAST, &what, || {
        let Ok(leader) = leader(guest) else {
            return Ok(None);
        };
        if old == Some(leader.as_str()) {
            return Ok(None);
        }
        let all = guest.exec(&["ps", "-eo", "args"])?.stdout();
        let serves = all.lines().any(|line| line.starts_with(row.service));
        Ok(serves.then_some(leader))
    });
    found.with_context(|| guest.status().unwrap_or_default())
}

/// Fails unless the unit gets to these `ActiveState` and `Result`, and to this text.
fn ends(guest: &Guest<'_>, active: &str, result: &str, text: &str) -> Result<()> {
    let mut got = Default::default();
    let ended = wait_until(LAST, "the end", || {
        got = (
            guest.property("ActiveState")?,
            guest.property("Result")?,
            guest.property("StatusText")?,
        );
        let (now, why, said) = &got;
        Ok((now == active && why == result && said.contains(text)).then_some(()))
    });
    ended.with_context(|| {
        format!(
            "{got:?}, not {active}, {result}, {text}\n{}",
            guest.status().unwrap_or_default()
        )
    })
}

/// Its service runs after a start, after a reboot that the host asks for and after one from inside; and each end from
/// inside is told as what it is.
fn lives(host: &Host, rows: &[Row]) -> Result<()> {
    with_all(host, rows, "life", |guest, row| {
        guest.systemctl("start")?;
        let main = guest.property("MainPID")?;
        let first = serves(guest, row, None)?;
        ensure!(
            guest
                .property("StatusText")?
                .contains(&format!(", {}", row.kind)),
            "{}",
            guest.status()?
        );
        let name = format!("life-{}", row.kind);
        host.exec(["skep", "reboot", &name])?.ok()?;
        let second = serves(guest, row, Some(&first))?;
        // Killed in the middle of it, most of the time.
        guest.exec(&["reboot"])?;
        let third = serves(guest, row, Some(&second))?;
        ensure!(
            guest.property("MainPID")? == main && guest.property("NRestarts")? == "0",
            "not in place\n{}",
            guest.status()?
        );
        guest.exec(&["poweroff"])?;
        ends(guest, "inactive", "success", "Powered off")?;
        guest.systemctl("start")?;
        let fourth = serves(guest, row, Some(&third))?;
        host.exec(["kill", "-KILL", &fourth])?.ok()?;
        ends(
            guest,
            "failed",
            "exit-code",
            "the init was killed by SIGKILL",
        )
    })
}
