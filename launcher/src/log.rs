//! Messages of the launcher itself, on standard error: in a unit that is the journal.
//!
//! The unit has `SyslogLevelPrefix=no`, because a guest's console line may start with `<0>`; so these lines carry no
//! priority either.

use std::io::Write;

/// Writes one line, in one piece: others may write to the same place. A journal that cannot take it must not end a
/// container, so failure is ignored.
pub fn line(text: impl std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("skep: {text}\n").as_bytes());
}

/// `text` without control characters, cut to `limit` characters: for text that a guest chose.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}
