//! Why a container did not start: what `systemctl status` would say, and the end of its journal.

use std::time::SystemTime;

use crate::manager::UnitState;
use crate::problem::escaped;
use crate::unit::unit_name;

use super::journal::last_lines;

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
    let journal = last_lines(&unit_name(name), Some(since), 10);
    lines.extend(journal.iter().map(|line| format!("  {}", escaped(line))));
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
