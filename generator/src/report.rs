//! What goes to the terminal or the journal.
//!
//! Text that comes from declarations, guests or systemd may hold control characters; everything printed here is escaped
//! first. A reader that closed its end of the pipe is no error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use serde::Serialize;

use crate::problem::escaped;

/// Why standard output is not complete.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output as it is: the caller has escaped what needs it.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe means that nobody wants more.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = UNWRITTEN.set(error);
        }
        _ => {}
    }
}

/// The first error of standard output: what was printed is not all there.
pub fn unwritten() -> Option<&'static io::Error> {
    UNWRITTEN.get()
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
        let colour = wants_colour(io::stderr().is_terminal());
        let _ = match (to_journal(), colour, level) {
            (true, _, Level::Error) => writeln!(err, "<3>{part}"),
            (true, _, Level::Warning) => writeln!(err, "<4>{part}"),
            (false, true, Level::Error) => writeln!(err, "\x1b[31m{part}\x1b[0m"),
            (false, true, Level::Warning) => writeln!(err, "\x1b[33m{part}\x1b[0m"),
            _ => writeln!(err, "{part}"),
        };
    }
}

/// Whether colours go to a stream, which is a terminal or not.
fn wants_colour(terminal: bool) -> bool {
    let variable = |name| std::env::var(name).ok();
    let (asked, none, term) = (
        variable("SYSTEMD_COLORS"),
        variable("NO_COLOR"),
        variable("TERM"),
    );
    colour(asked.as_deref(), none.as_deref(), term.as_deref(), terminal)
}

/// `SYSTEMD_COLORS` decides, as for systemctl(1); then `NO_COLOR`, see <https://no-color.org>; then what the terminal can.
fn colour(asked: Option<&str>, none: Option<&str>, term: Option<&str>, terminal: bool) -> bool {
    match asked.map(str::to_ascii_lowercase).as_deref() {
        Some("0" | "no" | "n" | "false" | "f" | "off") => return false,
        Some("1" | "yes" | "y" | "true" | "t" | "on" | "16" | "256" | "24bit") => return true,
        _ => {}
    }
    terminal && none.is_none_or(str::is_empty) && term.is_none_or(|term| term != "dumb")
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
    match wants_colour(io::stdout().is_terminal()) {
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

/// A number of bytes in its largest unit, as systemctl(1) writes it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let (mut whole, mut tenth, mut unit) = (count, 0, "B");
    for larger in UNITS {
        if whole < 1024 {
            break;
        }
        (tenth, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, larger);
    }
    match tenth {
        0 => format!("{whole}{unit}"),
        tenth => format!("{whole}.{tenth}{unit}"),
    }
}

/// A short span of time, to the millisecond below a minute.
pub fn short_span(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000),
        _ => span(milliseconds / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_short_spans() {
        for (count, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (35_861_299, "34.1M"),
            (2 << 30, "2G"),
            (u64::MAX, "15.9E"),
        ] {
            assert_eq!(bytes(count), want);
        }
        for (milliseconds, want) in [(7, "7ms"), (1234, "1.234s"), (61_000, "1min 1s")] {
            assert_eq!(short_span(milliseconds), want);
        }
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        for (asked, none, term, terminal, want) in [
            (None, None, Some("xterm"), true, true),
            (None, None, Some("xterm"), false, false),
            (None, Some("1"), Some("xterm"), true, false),
            (None, Some(""), Some("xterm"), true, true),
            (None, None, Some("dumb"), true, false),
            (Some("0"), None, Some("xterm"), true, false),
            (Some("yes"), Some("1"), None, false, true),
            (Some("256"), None, None, false, true),
            (Some("?"), None, None, false, false),
        ] {
            let got = colour(asked, none, term, terminal);
            assert_eq!(got, want, "{asked:?} {none:?} {term:?} {terminal}");
        }
    }

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
