//! A container stops whenever it is asked to, in whatever state it is, and leaves nothing.

#[path = "stop/console.rs"]
mod console;
#[path = "stop/ends.rs"]
mod ends;
#[path = "stop/extended.rs"]
mod extended;
#[path = "stop/killed.rs"]
mod killed;
#[path = "stop/refused.rs"]
mod refused;
#[path = "stop/series.rs"]
mod series;

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    trial,
};

/// A guest of BusyBox that may be started as often as a test likes.
const BUSYBOX: &str =
    "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/busybox\n";

/// The same with Debian.
const DEBIAN: &str =
    "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/debian-12\n";

fn main() -> ExitCode {
    let each = |name: &str, test: fn(&Host) -> Result<()>| -> Vec<Trial> {
        trial::on_each(&Os::DEBIAN, name, test)
    };
    let mut trials = Vec::new();
    trials.extend(each("stops_debian_early", series::debian));
    trials.extend(each("stops_busybox_early", series::busybox));
    trials.extend(each("restarts_in_a_storm", series::storm));
    trials.extend(each("reboots_debian", ends::reboots_debian));
    trials.extend(each("reboots_busybox", ends::reboots_busybox));
    trials.extend(each("powers_off", ends::powers_off));
    trials.extend(each("init_fails", ends::init_fails));
    trials.extend(each("init_crashes", ends::init_crashes));
    trials.extend(each("second_signal_kills", ends::second_signal));
    trials.extend(each("deaf_init_is_killed", ends::deaf_init));
    trials.extend(each("stubborn_init_times_out", ends::stubborn_init));
    trials.extend(each("launcher_killed", killed::launcher));
    trials.extend(each("launcher_killed_in_stop", killed::in_stop));
    trials.extend(each("crew_killed", killed::crew));
    trials.extend(each("console_is_clean", console::clean));
    trials.extend(each("console_floods", console::flood));
    trials.extend(each("console_without_journal", console::stuck_journal));
    trials.extend(each("extended_by_the_guest", extended::by_the_guest));
    trials.extend(each("refuses", refused::table));
    trial::main(trials)
}

/// Fails unless the unit has these `ActiveState` and `Result`.
fn ensure_state(guest: &Guest<'_>, active: &str, result: &str) -> Result<()> {
    let state = (guest.property("ActiveState")?, guest.property("Result")?);
    ensure!(
        state == (active.into(), result.into()),
        "expected {active}, {result}; got {state:?}\n{}",
        guest.status()?
    );
    Ok(())
}

/// Stops the container, which must take no longer than `limit`.
fn stop_within(guest: &Guest<'_>, limit: Duration) -> Result<()> {
    let time = guest.systemctl("stop")?;
    println!("stopped in {time:?}");
    ensure!(time < limit, "the stop took {time:?}\n{}", guest.status()?);
    Ok(())
}
