//! What a container is from inside: what its root cannot undo, what it does not see of the host, what each key gives it.

#[path = "inside/calls.rs"]
mod calls;
#[path = "inside/hostile.rs"]
mod hostile;
#[path = "inside/keys.rs"]
mod keys;
#[path = "inside/locks.rs"]
mod locks;
#[path = "inside/owners.rs"]
mod owners;
#[path = "inside/quiet.rs"]
mod quiet;

use std::process::ExitCode;

use skep_tests::{
    guest::{prints, sh, started},
    trial::{self, Test},
};

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("locks_debian_12", |host| locks::hold(host, "debian-12")),
        ("locks_debian_13", |host| locks::hold(host, "debian-13")),
        ("locks_busybox", |host| locks::hold(host, "busybox")),
        ("owners_and_canaries", owners::canaries),
        ("five_ranges", owners::five_ranges),
        ("no_host_descriptor", owners::no_host_descriptor),
        ("calls_refused", calls::refused),
        ("key_system_call_filter", calls::key),
        ("g13_key_device", calls::device),
        ("key_capabilities", calls::capabilities),
        ("hostile_mount_points", hostile::mount_points),
        ("hostile_files", hostile::files),
        ("hostile_inits", hostile::inits),
        ("hostile_targets", hostile::targets),
        ("key_binds", keys::binds),
        ("key_tree", keys::tree),
        ("key_init", keys::init),
        ("key_machine", keys::machine),
        ("key_users", keys::users),
        ("key_network", keys::network),
        ("quiet_debian_12", |host| quiet::warnings(host, "debian-12")),
        ("quiet_debian_13", |host| quiet::warnings(host, "debian-13")),
        ("quiet_debian_sid", |host| {
            quiet::warnings(host, "debian-sid")
        }),
    ];
    trial::main(trial::everywhere(tests))
}
