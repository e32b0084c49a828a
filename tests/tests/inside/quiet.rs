//! A booted Debian has nothing to complain about, from its start to its stop.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{sh, started};

/// The machine's own limit of open files may be lower than what a D-Bus broker asks for; a container cannot raise it.
const ITS_OWN: &[&str] = &["Failed to set fd limit to"];

pub(super) fn warnings(host: &Host, tree: &str) -> Result<()> {
    let name = format!("quiet-{tree}");
    let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\n");
    let guest = started(host, &name, &text)?;
    guest.is_running()?;
    let journal = sh(
        &guest,
        "journalctl --boot --no-pager --output=short --priority=warning --no-hostname",
    )?;
    let ours: Vec<&str> = journal
        .lines()
        .filter(|line| !line.starts_with("--"))
        .filter(|line| !ITS_OWN.iter().any(|own| line.contains(own)))
        .collect();
    let invocation = guest.property("InvocationID")?;
    guest.systemctl("stop")?;
    let this = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    let stop = host
        .exec(["journalctl", "--no-pager", "--output=cat", &this])?
        .ok()?;
    ensure!(stop.contains("Stopped target"), "no console: {stop}");
    guest.finish()?;
    ensure!(ours.is_empty(), "warnings:\n{}", ours.join("\n"));
    let failed: Vec<&str> = stop
        .lines()
        .filter(|line| line.contains("Failed ") || line.contains("FAILED"))
        .collect();
    ensure!(
        failed.is_empty(),
        "the console says:\n{}",
        failed.join("\n")
    );
    Ok(())
}
