//! The last lines that a unit left in the journal: the console of a container.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest line that is shown, in characters: a guest chooses them.
const LONGEST: usize = 400;

/// The last `count` lines of a unit, as they are, since a moment or since this boot of the host; nothing where there is
/// no journal.
pub(super) fn last_lines(unit: &str, since: Option<SystemTime>, count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let from = match since {
        Some(since) => {
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("--since=@{}", since.as_secs())
        }
        None => "--boot".to_owned(),
    };
    let output = Command::new("journalctl")
        .args(["-o", "cat", "--no-pager", "-q", "--unit", unit, &from])
        .args(["--lines", &count.to_string()])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(cut)
            .collect(),
        _ => Vec::new(),
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
