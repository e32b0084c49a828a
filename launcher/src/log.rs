//! Messages of the launcher itself, on standard error: in a unit that is the journal.
//!
//! The unit has `SyslogLevelPrefix=no`, because a guest's console line may start with `<0>`; so these lines carry no
//! priority either.

use std::io::Write;

/// Writes one line, in one piece: others may write to the same place. A journal that cannot take it must not end a
/// container, so failure is ignored. Names of files and programs in it may be a guest's choice, hence the escaping.
pub fn line(text: impl std::fmt::Display) {
    let text = escaped(&text.to_string());
    let _ = std::io::stderr().write_all(format!("skep: {text}\n").as_bytes());
}

/// `text` without what steers a terminal or deceives its reader, cut to `limit` characters: for text that a guest chose.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|c| is_plain(*c)).take(limit).collect()
}

/// `text` on one line, with what [`printable`] leaves out made visible.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    out
}

/// Whether a terminal only shows it: neither a control character, C1 included, nor one that reorders or hides text.
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_guest_is_harmless() {
        let text = "a\u{1b}[2J\u{9b}b\u{202e}\u{61c}\n\u{e0041}\tcaf\u{e9}";
        assert_eq!(printable(text, 80), "a[2Jbcaf\u{e9}");
        assert_eq!(printable(text, 3), "a[2");
        assert_eq!(
            escaped(text),
            "a\\u{1b}[2J\\u{9b}b\\u{202e}\\u{61c}\\n\\u{e0041}\\tcaf\u{e9}"
        );
    }
}
