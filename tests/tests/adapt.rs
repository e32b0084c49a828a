//! An OS made for a machine of its own boots in a container as it is: nothing fails, nothing waits, nothing is written to
//! its tree by us. With the host's network names are looked up as on the host.

#[path = "adapt/inits.rs"]
mod inits;
#[path = "adapt/metal.rs"]
mod metal;
#[path = "adapt/names.rs"]
mod names;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{prints, sh, started},
    host::Host,
    trial::{self, Test},
};

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("g1_g2_g3_g4_metal_with_private_network", |host| {
            metal::boots(host, "private")
        }),
        ("g1_g2_metal_disk_image", metal::image),
        ("g5_metal_with_the_hosts_network", |host| {
            metal::boots(host, "host")
        }),
        ("g2_g3_fstab_debian_12", |host| {
            metal::fstab(host, "debian-12")
        }),
        ("g2_g3_fstab_debian_13", |host| {
            metal::fstab(host, "debian-13")
        }),
        ("g2_g3_fstab_debian_sid", |host| {
            metal::fstab(host, "debian-sid")
        }),
        ("g6_nothing_waits_for_links", metal::online),
        ("g8_mask_and_unmask", metal::declared),
        ("g1_g3_g4_sysvinit", |host| inits::boots(host, "sysvinit")),
        ("g1_g3_g4_openrc", |host| inits::boots(host, "openrc")),
        ("g1_openrc_init", inits::openrc_init),
        ("g3_g4_busybox", inits::busybox),
        ("g7_names_follow_the_host", names::follow),
        ("g7_names_over_links", names::links),
        ("g32_localhost", names::localhost),
    ];
    trial::main(trial::everywhere(tests))
}

/// Runs `work` with a copy of a tree, named `name`.
fn with_copy(host: &Host, tree: &str, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    host.scratch_guest(tree, name)?;
    let judged = work();
    host.remove_guest(name)?;
    judged
}

/// All that adapting could be tempted to write: names, owners, modes, times and contents.
fn state(host: &Host, tree: &str) -> Result<String> {
    let script = format!(
        "cd /var/lib/machines/{tree} && {{ find etc/fstab etc/inittab etc/init.d etc/rc* etc/runlevels etc/systemd etc/network \
         usr/lib/systemd usr/sbin -type d -printf '%p %U:%G %m\\n' -o -printf '%p %y %U:%G %m %s %T@ %l\\n' 2>/dev/null || true; }} | sort; \
         cat etc/fstab etc/inittab etc/network/interfaces 2>/dev/null || true"
    );
    host.sh(&script)?.ok()
}

/// Fails when the tree is not in the state it was in.
fn unchanged(host: &Host, tree: &str, before: &str) -> Result<()> {
    let after = state(host, tree)?;
    let new = |a: &str, b: &str| -> Vec<String> {
        let lines = a
            .lines()
            .filter(|line| !b.lines().any(|other| other == *line));
        lines.map(str::to_owned).collect()
    };
    let (gone, come) = (new(before, &after), new(&after, before));
    ensure!(
        gone.is_empty() && come.is_empty(),
        "the tree has changed: {gone:#?} became {come:#?}"
    );
    Ok(())
}

/// What `skep show` says about services that do not run.
fn masks(host: &Host, name: &str) -> Result<Vec<String>> {
    let plan = host.exec(["skep", "show", name])?.ok()?;
    let lines = plan
        .lines()
        .filter(|line| line.starts_with("mask ") && line.contains(": "));
    Ok(lines.map(str::to_owned).collect())
}
