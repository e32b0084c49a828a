//! Attacks that no other test covers; `skep_tests::attacks` has the table of all classes. Each trial has a control that
//! shows that what is attacked would be there.

#[path = "attacks/entering.rs"]
mod entering;
#[path = "attacks/exhaustion.rs"]
mod exhaustion;
#[path = "attacks/notify.rs"]
mod notify;
#[path = "attacks/shared.rs"]
mod shared;
#[path = "attacks/trees.rs"]
mod trees;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use skep_tests::{
    host::{Host, Os},
    trial,
};

/// A test on one host.
type Test = fn(&Host) -> Result<()>;

const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

const DEBIAN: &str = "[Container]\nRoot=/var/lib/machines/debian-12\nEphemeral=yes\n";

/// What the trials share with their guests, on the host. No user can enter it by way of its parent.
const PLACE: &str = "/var/lib/machines/.src/attacks";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("callers_belongings", entering::callers_belongings),
        ("stale_state", entering::stale_state),
        ("other_users", entering::other_users),
        ("keyrings", entering::keyrings),
        ("mount_points_race", shared::mount_points_race),
        ("shared_directories", shared::directories),
        ("spoofed_devices", trees::spoofed_devices),
        ("settings_of_the_tree", trees::settings),
        ("forged_notifications", notify::forged),
        ("machine_names_clash", entering::machine_names_clash),
        ("exhaustion", exhaustion::bounded),
    ];
    let trials = tests
        .iter()
        .flat_map(|(name, test)| trial::on_each(&Os::DEBIAN, name, *test));
    trial::main(trials.collect())
}

/// Fails unless the script, run on the host by bash, prints exactly `want`.
fn host_prints(host: &Host, script: &str, want: &str) -> Result<()> {
    let done = host.exec(["timeout", "60", "bash", "-c", script])?;
    let said = done.stdout().replace('\r', "");
    ensure!(
        said == want,
        "{script}\nprints {said:?}, not {want:?}\n{}",
        done.stderr()
    );
    Ok(())
}

/// Does `work` between two scripts on the host; the second always runs.
fn between(
    host: &Host,
    before: &str,
    after: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let judged = host.sh(before)?.ok().and_then(|_| work());
    let cleaned = host.sh(after)?.ok();
    judged?;
    cleaned.map(drop)
}
