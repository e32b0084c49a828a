//! `launcher run`: single commands in containers of their own, called as the units of `skep run` call it.

#[path = "run_launcher/case.rs"]
mod case;
#[path = "run_launcher/ends.rs"]
mod ends;
#[path = "run_launcher/place.rs"]
mod place;
#[path = "run_launcher/streams.rs"]
mod streams;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    host::{Host, Os},
    trial::{self, Test},
    wait::{PATIENCE, wait_until},
};

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("g10_any_subset_of_namespaces", place::subsets),
        ("g11_g20_g33_root", place::root),
        ("g12_g13_g14_api_file_systems", place::api),
        ("g22_g23_users", place::users),
        ("g26_g27_clean_process", place::clean),
        ("g34_locked_mounts", place::locked),
        ("g24_g36_errors_reach_the_caller", ends::errors),
        ("g25_statuses", ends::statuses),
        ("g29_signals_to_the_launcher", ends::signals),
        ("g30_own_init", ends::own_init),
        ("g31_entering", ends::entering),
        ("g37_streams", streams::pipes),
        ("g37_gigabyte", streams::gigabyte),
        ("g15_terminal", streams::terminal),
    ];
    let trials = tests
        .iter()
        .flat_map(|(name, test)| trial::on_each(&Os::DEBIAN, name, as_before(*test)));
    trial::main(trials.collect())
}

/// The test, and that the host is as it was.
fn as_before(test: Test) -> impl Fn(&Host) -> Result<()> + Clone + Send + 'static {
    move |host| {
        host.sh("mkdir -p -m 700 /run/skep/run")?.ok()?;
        let before = host.snapshot()?;
        test(host)?;
        host.sh("rm -f /run/skep/run/*")?.ok()?;
        let mut changes = Vec::new();
        wait_until(PATIENCE, "the host to be as before", || {
            changes = before.changes(&host.snapshot()?);
            Ok(changes.is_empty().then_some(()))
        })
        .with_context(|| changes.join("\n"))?;
        let left = host.sh("ls /run/skep/machine /run/skep/run")?.stdout();
        ensure!(!left.contains("trial"), "left: {left}");
        Ok(())
    }
}
