//! Every kind of network: what a container has when its first process runs, who reaches whom, and what is left after it.

#[path = "network/joined.rs"]
mod joined;
#[path = "network/killed.rs"]
mod killed;
#[path = "network/kinds.rs"]
mod kinds;
#[path = "network/lan.rs"]
mod lan;
#[path = "network/many.rs"]
mod many;
#[path = "network/names.rs"]
mod names;
#[path = "network/refusals.rs"]
mod refusals;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    trial::{self, Test},
    wait::{PATIENCE, wait_until},
};

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("net_of_its_own", kinds::own),
        ("net_of_the_host", kinds::of_host),
        ("net_of_others", joined::of_others),
        ("net_names", names::of_nspawn),
        ("net_fifty", many::fifty),
        ("net_killed", killed::sweep),
        ("net_refusals", refusals::all),
    ];
    trial::main(trial::everywhere(tests))
}

/// Fails unless a container of this declaration does not start, with these words in its journal.
fn refused(host: &Host, text: &str, reasons: &[&str]) -> Result<()> {
    let guest = Guest::declare(host, "net-refused", text)?;
    let before = guest.journal().unwrap_or_default().len();
    let started = host.exec(["systemctl", "start", &guest.unit()])?.status() == 0;
    ensure!(!started, "started in spite of {text}");
    let mut new = String::new();
    // The journal takes its time.
    wait_until(PATIENCE, "the reason", || {
        new = guest
            .journal()?
            .get(before..)
            .unwrap_or_default()
            .to_owned();
        Ok(reasons
            .iter()
            .all(|reason| new.contains(reason))
            .then_some(()))
    })
    .with_context(|| format!("one of {reasons:?} is not in\n{new}\n{text}"))?;
    host.exec(["systemctl", "reset-failed", &guest.unit()])?
        .ok()?;
    guest.finish()
}
