//! `skep run`: statuses, streams, mounts and namespaces of one-off commands, and that nothing is left of them.

#[path = "run/ends.rs"]
mod ends;
#[path = "run/place.rs"]
mod place;
#[path = "run/streams.rs"]
mod streams;
#[path = "run/table.rs"]
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    host::{Done, Host},
    trial::{self, Test},
    wait::wait_until,
};

/// What every script has: `$R` runs with busybox as userland, and so does `r`, which is a function and has no process
/// of its own to signal.
const PRELUDE: &str = "b=/var/lib/machines/busybox; \
     R=\"skep run --expose $b/bin=/bin --expose $b/usr/bin=/usr/bin --expose $b/sbin=/sbin\"; r() { $R \"$@\"; }; ";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("g16_g18_g23_g25_g30_g37_forty_runs", table::forty_runs),
        ("g16_shares", place::shares),
        ("g16_like_a_declaration", place::like),
        ("g37_closure", place::closure),
        ("g37_closure_of_thousands", place::thousands),
        ("g37_namespaces", place::namespaces),
        ("g25_every_byte_of_a_gigabyte", streams::gigabyte),
        ("g25_streams", streams::odd_ones),
        ("g29_terminal", streams::terminal),
        ("g29_signals", ends::signals),
        ("g29_two_hundred_leave_nothing", ends::two_hundred),
        ("g29_killed_client", ends::killed_client),
        ("g25_status_survives_restarts", ends::restarts),
        ("g25_no_block", ends::no_block),
    ];
    trial::main(trial::everywhere(tests))
}

/// Runs a script on the host by bash, with [`PRELUDE`].
fn bash(host: &Host, script: &str) -> Result<Done> {
    let script = format!("{PRELUDE}{script}");
    host.exec(["timeout", "120", "bash", "-c", &script])
}

/// Fails unless the script prints exactly `want`.
fn prints(host: &Host, script: &str, want: &str) -> Result<()> {
    let got = bash(host, script)?;
    let text = got.stdout().replace('\r', "");
    ensure!(
        text == want,
        "{script}\nprints {text:?}, not {want:?}; status {}\n{}",
        got.status(),
        got.stderr()
    );
    Ok(())
}

/// Does `work` and fails unless nothing is left of it: no unit, spec file, cgroup, mount, process or lease.
fn leaving_nothing(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    const LEFT: &str = "systemctl list-units --all --plain --no-legend 'skep-run-*'; \
         [ ! -d /run/skep/run ] || ls -A /run/skep/run; grep '^r[0-9a-f]* ' /var/lib/skep/ids || true; \
         ls -A /run/systemd/nspawn-uid 2>/dev/null || true";
    let before = (host.snapshot()?, host.sh(LEFT)?.ok()?);
    work()?;
    let mut changes = Vec::new();
    wait_until(Duration::from_secs(10), "the host to be as before", || {
        changes = before.0.changes(&host.snapshot()?);
        let left = host.sh(LEFT)?.ok()?;
        if left != before.1 {
            changes.push(format!("left: {left:?}, before: {:?}", before.1));
        }
        Ok(changes.is_empty().then_some(()))
    })
    .with_context(|| changes.join("\n"))
}
