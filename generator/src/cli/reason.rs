//! Why a container did not start: what `systemctl status` would say, and the end of its journal.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::manager::UnitState;
use crate::problem::escaped;
use crate::unit::unit_name;

/// The reason as lines, the first one whole by itself.
pub(super) fn reason(
    name: &str,
    verb: &str,
    end: &str,
    state: Option<&UnitState>,
    since: SystemTime,
) -> String {
    let mut lines = vec![format!("{name}: {verb} failed: {}", summary(end, state))];
    if let Some(status) = state
        .map(|state| state.status.as_str())
        .filter(|status| !status.is_empty())
    {
        lines.push(format!("  {status}"));
    }
    lines.extend(journal(name, since).iter().map(|line| format!("  {line}")));
    lines.join("\n")
}

fn summary(end: &str, state: Option<&UnitState>) -> String {
    match (end, state.map(|state| (state.result.as_str(), state.exit))) {
        ("dependency", _) => "a unit that it needs failed".to_owned(),
        ("timeout", _) | (_, Some(("timeout", _))) => "it took too long".to_owned(),
        ("canceled", _) => "another job took its place".to_owned(),
        ("assert", _) => "an assertion failed".to_owned(),
        (_, Some(("exit-code", status))) => format!("exit status {status}"),
        (_, Some((result, _))) if !matches!(result, "" | "success") => result.to_owned(),
        (end, _) => end.to_owned(),
    }
}

/// The last lines of the container's journal since the job was queued, or nothing where there is no journal.
fn journal(name: &str, since: SystemTime) -> Vec<String> {
    let unit = unit_name(name);
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = format!("--since=@{}", since.as_secs());
    let output = Command::new("journalctl")
        .args([
            "-u",
            &unit,
            &since,
            "-n",
            "10",
            "-o",
            "cat",
            "--no-pager",
            "-q",
        ])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(escaped)
            .collect(),
        _ => Vec::new(),
    }
}
