//! Systems that boot from a store: Guix and NixOS, the whole store or a closure, and the collector.

#[path = "stores/guix.rs"]
mod guix;
#[path = "stores/nix.rs"]
mod nix;
#[path = "stores/peer.rs"]
mod peer;
#[path = "stores/plain.rs"]
mod plain;
#[path = "stores/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    trial::{self, Test},
    wait::wait_until,
};

fn main() -> ExitCode {
    let everywhere: &[(&str, Test)] = &[
        ("g21_g26_g27_store_by_hand", plain::boots),
        ("g21_closure_of_a_list", plain::listed),
        ("g27_root_that_stays", plain::root_that_stays),
        ("g21_profile_is_followed_at_each_start", plain::profile),
        ("g1_store_refusals", plain::refusals),
        ("g21_view_without_a_system", plain::view),
        ("g21_thousand_items", plain::thousand),
        ("g21_tool_of_the_store", tool::answers),
    ];
    // Debian has the tools of Guix and Nix, and the Shepherd, in sid.
    let sid: &[(&str, Test)] = &[
        ("g26_g27_g31_shepherd_boots", guix::shepherd),
        ("g21_closure_by_guix", guix::closure),
        ("g21_guix_collector", guix::collector),
        ("g1_guix_script_profile_and_metal", guix::forms),
        ("g21_nix_closure_and_collector", nix::closure),
        ("g1_nixos_stage_2", nix::systemd),
        ("g37_guile_with_its_closure", guix::evaluate),
        ("g37_nix_with_its_closure", nix::evaluate),
        ("g26_same_as_guix_itself", peer::compare),
    ];
    let mut trials = Vec::new();
    for (name, test) in everywhere {
        trials.extend(trial::on_each(&Os::DEBIAN, name, *test));
    }
    for (name, test) in sid {
        trials.extend(trial::on_each(&[Os::Sid], name, *test));
    }
    trial::main(trials)
}

/// Undoes what the scripts of this directory do.
const CLEAR: &str = "set +e; systemctl stop test-guix-daemon.service 2>/dev/null; \
     for place in /gnu/store /var/guix /nix; do mountpoint -q $place && umount -l $place; done; \
     rm -rf /var/lib/machines/.stores; systemctl reset-failed test-guix-daemon.service 2>/dev/null; true";

/// Paths by name.
struct Store(BTreeMap<String, String>);

impl Store {
    fn path(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the script made no {name}"))
    }

    /// The name of an item.
    fn item(&self, name: &str) -> Result<&str> {
        self.path(name)?.rsplit('/').next().context("an item")
    }

    /// The names of items, sorted, as ls(1) lists them.
    fn items(&self, names: &[&str]) -> Result<String> {
        let mut items = names
            .iter()
            .map(|name| self.item(name))
            .collect::<Result<Vec<_>>>()?;
        items.sort_unstable();
        Ok(items.join("\n"))
    }
}

/// Makes a store with a script, and removes it after the work.
fn with_store(host: &Host, script: &str, work: impl FnOnce(&Store) -> Result<()>) -> Result<()> {
    host.sh(CLEAR)?.ok()?;
    let judged = host.sh(script)?.ok().and_then(|text| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        work(&Store(
            pairs
                .map(|(name, path)| (name.to_owned(), path.to_owned()))
                .collect(),
        ))
    });
    let cleared = host.sh(CLEAR)?.ok();
    judged?;
    cleared.map(drop)
}

/// Runs a script in the container's shell; its output.
fn sh(guest: &Guest<'_>, store: &Store, script: &str) -> Result<String> {
    let path = format!("PATH={}/bin", store.path("tools")?);
    let script =
        format!("export {path}; busybox --install -s /run 2>/dev/null; PATH=/run; {script}");
    guest.exec(&["/bin/sh", "-c", &script])?.ok()
}

/// Fails unless the script prints exactly `want`.
fn prints(guest: &Guest<'_>, store: &Store, script: &str, want: &str) -> Result<()> {
    let got = sh(guest, store, script)?;
    ensure!(got == want, "{script}\nprints {got:?}, not {want:?}");
    Ok(())
}

/// Waits until the container has said something.
fn says(guest: &Guest<'_>, text: &str) -> Result<()> {
    wait_until(Duration::from_secs(20), text, || {
        Ok(guest.journal()?.contains(text).then_some(()))
    })
}

/// Fails unless a start fails with a reason that holds all of `texts`.
fn refused(host: &Host, name: &str, declaration: &str, texts: &[&str]) -> Result<()> {
    let guest = Guest::declare(host, name, declaration)?;
    let unit = guest.unit();
    let status = host.exec(["systemctl", "start", &unit])?.status();
    let said = guest.status()?;
    ensure!(status != 0, "{declaration}started\n{said}");
    for text in texts {
        ensure!(said.contains(text), "{text:?} is not in\n{said}");
    }
    host.exec(["systemctl", "reset-failed", &unit])?.ok()?;
    guest.finish()
}
