//! What goes to the terminal or the journal.
//!
//! Text that comes from declarations, guests or systemd may hold control characters; everything printed here is escaped
//! first. A reader that closed its end of the pipe is no error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use serde::Serialize;

use crate::problem::escaped;

/// Prints to standard output as it is: the caller has escaped what needs it.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    // A closed pipe means that nobody wants more; a full disk cannot be reported any better.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints one escaped line to standard output.
pub fn line(text: &str) {
    print(&format!("{}\n", escaped(text)));
}

/// Prints a value as JSON.
pub fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{}\n", plain_json(&text))),
        Err(error) => error_line(&format!("cannot print JSON: {error}")),
    }
}

/// JSON that a terminal shows as it is: serde_json escapes the control characters below U+0020 only, and the others stand
/// nowhere but in strings, where JSON has an escape for every character.
fn plain_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && escaped(c.encode_utf8(&mut [0; 4])).chars().ne([c]) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Importance of a line on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Note,
}

/// An error, to standard error.
pub fn error_line(text: &str) {
    complain(Level::Error, text);
}

/// A warning, to standard error.
pub fn warning(text: &str) {
    complain(Level::Warning, text);
}

/// A remark, to standard error.
pub fn note(text: &str) {
    complain(Level::Note, text);
}

fn complain(level: Level, text: &str) {
    let mut err = io::stderr().lock();
    for part in text.lines() {
        let part = escaped(part);
        // The journal reads sd-daemon(3) priorities; a terminal gets colour.
        let colour = io::stderr().is_terminal() && wants_colour();
        let _ = match (to_journal(), colour, level) {
            (true, _, Level::Error) => writeln!(err, "<3>{part}"),
            (true, _, Level::Warning) => writeln!(err, "<4>{part}"),
            (false, true, Level::Error) => writeln!(err, "\x1b[31m{part}\x1b[0m"),
            (false, true, Level::Warning) => writeln!(err, "\x1b[33m{part}\x1b[0m"),
            _ => writeln!(err, "{part}"),
        };
    }
}

/// Whether the user leaves the choice to us: <https://no-color.org>.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn to_journal() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // systemd sets both for services; a shell inside a service has a terminal or a pipe of its own.
    *ANSWER.get_or_init(|| {
        std::env::var_os("JOURNAL_STREAM").is_some()
            && std::env::var_os("INVOCATION_ID").is_some()
            && !io::stderr().is_terminal()
    })
}

/// A colour of a word on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// Running.
    Green,
    /// Failed.
    Red,
    /// Waiting for attention.
    Yellow,
    /// As it is.
    Plain,
}

/// The word in its colour, when a terminal shows it.
pub fn tinted(text: &str, tint: Tint) -> String {
    let code = match tint {
        Tint::Green => "32",
        Tint::Red => "31",
        Tint::Yellow => "33",
        Tint::Plain => return text.to_owned(),
    };
    match io::stdout().is_terminal() && wants_colour() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// A span of time in its two largest units.
pub fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / size));
        } else if !parts.is_empty() {
            break;
        }
        rest %= size;
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_nothing_that_a_terminal_obeys() {
        let text = "a\u{1b}\u{7f}\u{9b}2J\u{202e}\u{e0001}\u{e4}\n";
        let json = plain_json(&serde_json::to_string_pretty(&[text]).unwrap_or_default());
        assert!(
            !json.contains(['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}']),
            "{json:?}"
        );
        assert!(json.contains('\u{e4}'));
        let back: Vec<String> = serde_json::from_str(&json).unwrap_or_default();
        assert_eq!(back, [text]);
    }

    #[test]
    fn spans() {
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1min"),
            (61, "1min 1s"),
            (3600, "1h"),
            (3661, "1h 1min"),
            (90_000, "1d 1h"),
            (86_400 * 400, "400d"),
        ] {
            assert_eq!(span(seconds), want);
        }
    }
}
