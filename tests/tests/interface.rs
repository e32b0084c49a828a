//! The systemd Container Interface, check by check; `skep_tests::interface` has their list.

#[path = "interface/donts.rs"]
mod donts;
#[path = "interface/environment.rs"]
mod environment;
#[path = "interface/execution.rs"]
mod execution;
#[path = "interface/integration.rs"]
mod integration;
#[path = "interface/services.rs"]
mod services;
#[path = "interface/shared.rs"]
mod shared;

use std::process::ExitCode;

use anyhow::Result;
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    interface::Sheet,
    trial,
    wait::wait_until,
};

/// A whole system that changes nothing of its tree.
const DEBIAN: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n";

/// What an init finds at its first instruction, it writes to `/run/found`.
const FIRST: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\nInit=/bin/sh\n\
     Parameters=-c \"uname -n >/run/found; grep -c ' /proc .* - proc ' /proc/self/mountinfo >>/run/found; \
     grep -c ' /sys .*ro,.* sysfs ' /proc/self/mountinfo >>/run/found; trap 'exit 0' TERM; while :; do sleep 0.1; done\"\n";

/// One that is no check of the document.
type Plain = fn(&Host) -> Result<()>;

/// A test on one host.
type Test = fn(&Host, &mut Sheet) -> Result<()>;

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("execution", execution::facts),
        ("environment", environment::facts),
        ("services", services::facts),
        ("shared_directory", shared::facts),
        ("donts", donts::facts),
    ];
    let trials = tests.iter().flat_map(|(name, test)| {
        trial::on_each(&Os::DEBIAN, &format!("interface_{name}"), |host| {
            let mut sheet = Sheet::of(host);
            let judged = test(host, &mut sheet);
            // What was found before an error is worth to be known.
            let concluded = sheet.conclude();
            judged.and(concluded)
        })
    });
    let values: &[(&str, Plain)] = &[
        ("every_resolv_conf", integration::resolv_conf),
        ("every_link_journal", integration::link_journal),
    ];
    let values = values
        .iter()
        .flat_map(|(name, test)| trial::on_each(&Os::DEBIAN, name, *test));
    trial::main(trials.chain(values).collect())
}

/// Does `work` while the tree has no machine id; another test may have booted it and left one.
fn without_machine_id(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let id = "/var/lib/machines/debian-13/etc/machine-id";
    host.sh(&format!("cp {id} /run/ci-machine-id; : >{id}"))?
        .ok()?;
    let judged = work();
    host.sh(&format!(
        "cat /run/ci-machine-id >{id}; rm /run/ci-machine-id"
    ))?
    .ok()?;
    judged
}

/// Waits until the guest has settled.
fn settled(guest: &Guest<'_>) -> Result<()> {
    wait_until(std::time::Duration::from_secs(30), "the guest", || {
        Ok(guest.is_running().ok())
    })
}
