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

use skep_tests::trial::{self, Test};

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
    trial::main(trial::everywhere(tests))
}
