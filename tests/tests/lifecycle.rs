//! The life of a declared unit on every systemd generation: edited, limited, masked, pinned, removed, declared a thousand
//! times, and what reloads, reboots and a restarting bus do to it.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    trial::{self, Test},
    wait::wait_until,
};

#[path = "lifecycle/boot.rs"]
mod boot;
#[path = "lifecycle/bus.rs"]
mod bus;
#[path = "lifecycle/edit.rs"]
mod edit;
#[path = "lifecycle/many.rs"]
mod many;
#[path = "lifecycle/tools.rs"]
mod tools;

/// A container that is up in no time.
const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\n";

/// Edits are seen, applied and looked at once more in less.
const SEEN: Duration = Duration::from_secs(15);

const TESTS: &[(&str, Test)] = &[
    ("edits_apply_by_themselves", edit::by_itself),
    ("limits_are_live", edit::live_limits),
    ("other_changes_are_pending", edit::pending),
    ("changes_reach_what_others_name", edit::named),
    ("restarts_start_again_what_they_stop", edit::required),
    ("mistakes_stop_nothing_that_runs", edit::mistake),
    ("removed_declarations_leave_no_unit", edit::removal),
    ("masks", edit::masks),
    ("thousand_in_one_call", many::thousand),
    ("every_property_is_accepted", many::every_property),
    ("wrong_declarations_fail_alone", many::wrong),
    ("reload_and_reexec_change_nothing", tools::reload),
    ("systemctl_works", tools::systemctl),
    ("a_pinned_unit_harms_no_other", tools::pinned),
    ("applies_wait_for_each_other", bus::side_by_side),
    ("apply_without_a_bus_fails_soon", bus::restarting),
    ("enabled_runs_after_a_reboot", boot::enabled),
];

fn main() -> ExitCode {
    let trials = TESTS
        .iter()
        .flat_map(|(name, test)| {
            trial::on_each(&Os::DEBIAN, name, move |host| {
                let judged = test(host);
                clean(host).and(judged)
            })
        })
        .collect();
    trial::main(trials)
}

/// Takes away what a failed test may have left, so that the next one says something about itself.
fn clean(host: &Host) -> Result<()> {
    host.sh(
        "rm -rf /etc/skep/life-* /run/skep/life-*.container* /etc/systemd/system/skep@* /etc/systemd/system/life-*
         systemctl daemon-reload
         skep apply --prune >/dev/null || :
         systemctl reset-failed 2>/dev/null || :",
    )?
    .ok()
    .map(drop)
}

/// A property of any unit.
fn property(host: &Host, unit: &str, name: &str) -> Result<String> {
    host.exec(["systemctl", "show", "--value", "--property", name, unit])?
        .ok()
}

/// Units that systemd has loaded, by pattern.
fn loaded(host: &Host, pattern: &str) -> Result<Vec<String>> {
    let listed = host
        .exec([
            "systemctl",
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            pattern,
        ])?
        .ok()?;
    Ok(listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Number of the generation that holds the units, from an apply that changes nothing.
fn generation(host: &Host) -> Result<u64> {
    let printed = host.exec(["skep", "apply", "--json"])?.stdout();
    number_after(&printed, "\"generation\": ")
}

fn number_after(text: &str, key: &str) -> Result<u64> {
    let (_, rest) = text
        .split_once(key)
        .with_context(|| format!("no {key} in {text}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// What `skep status` says is pending; empty when nothing is.
fn waiting(host: &Host, name: &str) -> Result<String> {
    let status = host.exec(["skep", "status", name])?.stdout();
    let line = status
        .lines()
        .find_map(|line| line.trim().strip_prefix("Pending: "));
    Ok(line.unwrap_or_default().to_owned())
}

/// Waits until an edit that nobody applied shows as pending.
fn wait_pending(host: &Host, name: &str, what: &str) -> Result<()> {
    wait_until(SEEN, "the edit to be applied", || {
        let pending = waiting(host, name)?;
        Ok((pending.contains(what) && !pending.contains("apply")).then_some(()))
    })
}

/// Fails unless a text holds all the parts.
fn contains(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

/// A running busybox system.
fn started<'a>(host: &'a Host, name: &str, more: &str) -> Result<Guest<'a>> {
    let guest = Guest::declare(host, name, &format!("{BUSYBOX}{more}"))?;
    guest.systemctl("start")?;
    Ok(guest)
}
