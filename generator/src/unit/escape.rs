//! Quoting for unit files: what systemd.syntax(7) and systemd.unit(5) need so that a value reads back as itself.
//!
//! Only for text that is shown or verified. What systemd runs travels as typed properties.

use std::fmt::Write as _;

/// A whole value that systemd does not split: specifiers are doubled, control characters become spaces.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%%"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    // A trailing backslash would swallow the next line.
    if out.ends_with('\\') {
        out.push(' ');
    }
    out
}

/// One word of a list that systemd splits and unquotes.
pub fn word(text: &str) -> String {
    quote(&text.replace('%', "%%"))
}

/// One argument of a command line, where `$` starts a variable as well and a lone `;` separates commands.
pub fn argument(text: &str) -> String {
    if text == ";" {
        return "\\;".to_owned();
    }
    quote(&text.replace('%', "%%").replace('$', "$$"))
}

/// The rest of a line, in which systemd takes C escapes apart. Blanks could be lost at its ends.
pub fn bytes(data: &[u8]) -> String {
    let mut out = String::with_capacity(data.len());
    for byte in data {
        match byte {
            b'%' => out.push_str("%%"),
            b'\\' => out.push_str("\\\\"),
            byte if byte.is_ascii_graphic() => out.push((*byte).into()),
            // Writing to a String cannot fail.
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

fn quote(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_themselves() {
        for (text, want) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("50%", "50%%"),
            ("a\"b", "\"a\\\"b\""),
            ("a\\b", "\"a\\\\b\""),
            ("a\nb", "\"a\\nb\""),
            ("bell\u{7}", "\"bell\\x07\""),
            ("$HOME", "$HOME"),
        ] {
            assert_eq!(word(text), want, "{text:?}");
        }
    }

    #[test]
    fn arguments_keep_their_dollars() {
        for (text, want) in [
            ("$HOME", "$$HOME"),
            (";", "\\;"),
            ("a;b", "a;b"),
            ("${x} y", "\"$${x} y\""),
        ] {
            assert_eq!(argument(text), want, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_escaped() {
        assert_eq!(bytes(b"50% a\\\n"), r"50%%\x20a\\\x0a");
    }

    #[test]
    fn lines_stay_lines() {
        for (text, want) in [
            ("100% sure", "100%% sure"),
            ("a\nb", "a b"),
            ("end\\", "end\\ "),
        ] {
            assert_eq!(line(text), want, "{text:?}");
        }
    }
}
