//! Unit-file syntax: bytes to assignments with line numbers.
//!
//! Owns lexing as systemd.syntax(7) describes it; knows no section and no key. Where systemd skips a line with a log
//! message this reports a problem. Never fails as a whole: what could be read is returned beside the problems, so that
//! one mistake does not hide the next.

/// Longest value, and longest line with its continuations.
pub(crate) const MAX_VALUE: usize = 64 * 1024;

/// Problems described; the others are counted.
const MAX_PROBLEMS: usize = 100;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// Section headers in order of appearance; a name can come again.
    pub(crate) sections: Vec<Header>,
    /// Assignments in order.
    pub(crate) entries: Vec<Entry>,
    /// What could not be read.
    pub(crate) flaws: Vec<Flaw>,
    /// Number of flaws beyond those described.
    pub(crate) more: usize,
}

/// A `[Section]` line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) line: u32,
}

/// A `Key=Value` line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index in [`Text::sections`].
    pub(crate) section: usize,
    pub(crate) key: String,
    pub(crate) value: String,
    /// First line of the assignment.
    pub(crate) line: u32,
}

/// A line that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: u32,
    pub(crate) message: String,
}

/// Reads a file.
pub(crate) fn parse(bytes: &[u8]) -> Text {
    // systemd accepts a byte order mark at the start and nowhere else.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lexer = Lexer {
        text: Text::default(),
        pending: None,
        refused_header: false,
        orphans: false,
    };
    let mut number = 0u32;
    for raw in bytes.split(|byte| *byte == b'\n') {
        number = number.saturating_add(1);
        lexer.physical_line(raw.strip_suffix(b"\r").unwrap_or(raw), number);
    }
    lexer.finish();
    lexer.text
}

struct Lexer {
    text: Text,
    pending: Option<Pending>,
    /// The last header was refused: what follows it belongs to no section, and that was said.
    refused_header: bool,
    /// Assignments before the first header were reported.
    orphans: bool,
}

/// A line that goes on.
struct Pending {
    line: u32,
    /// `None` once a flaw was found in it: the rest is read over.
    text: Option<Vec<u8>>,
}

impl Lexer {
    fn physical_line(&mut self, raw: &[u8], number: u32) {
        let line = trim_start(raw);
        let comment = matches!(line.first(), Some(b'#' | b';'));
        // Of all bytes that tell a binary file, NUL tells it best.
        let controls = || {
            raw.iter()
                .copied()
                .filter(|byte| byte.is_ascii_control() && *byte != b'\t')
        };
        let control = controls()
            .find(|byte| *byte == 0)
            .or_else(|| controls().next());
        if let Some(byte) = control {
            self.flaw(number, control_message(byte));
            if !comment {
                self.spoil(line, number);
            }
            return;
        }
        // Comments between the lines of one assignment are skipped, as systemd does.
        if comment {
            return;
        }
        if let Err(error) = std::str::from_utf8(line) {
            let byte = line.get(error.valid_up_to()).copied().unwrap_or_default();
            self.flaw(number, format!("not UTF-8: byte \\x{byte:02x}"));
            self.spoil(line, number);
            return;
        }
        if line.trim_ascii_end().len() < line.len() && goes_on(line.trim_ascii_end()) {
            self.flaw(
                number,
                "blanks after \"\\\" at the end of the line; remove them to continue the line"
                    .into(),
            );
            self.continue_with(None, number, true);
            return;
        }
        self.continue_with(Some(line), number, goes_on(line));
    }

    /// Drops a physical line and what it is part of.
    fn spoil(&mut self, line: &[u8], number: u32) {
        // What follows a header nobody can read belongs to no section.
        self.refused_header |= self.pending.is_none() && line.starts_with(b"[");
        self.continue_with(None, number, goes_on(line));
    }

    /// Adds a physical line to the pending one, and takes the whole when it ends. `None` spoils the whole.
    fn continue_with(&mut self, line: Option<&[u8]>, number: u32, goes_on: bool) {
        let mut pending = self.pending.take().unwrap_or(Pending {
            line: number,
            text: Some(Vec::new()),
        });
        pending.text = match (pending.text.take(), line) {
            (Some(mut text), Some(line)) => {
                text.extend_from_slice(line);
                if goes_on {
                    text.pop();
                    text.push(b' ');
                }
                if text.len() > MAX_VALUE {
                    self.flaw(
                        pending.line,
                        format!("line is longer than {} KiB", MAX_VALUE / 1024),
                    );
                    None
                } else {
                    Some(text)
                }
            }
            _ => None,
        };
        if goes_on {
            self.pending = Some(pending);
        } else if let Some(text) = pending.text {
            self.logical_line(&text, pending.line);
        }
    }

    fn finish(&mut self) {
        if let Some(Pending {
            line,
            text: Some(text),
        }) = self.pending.take()
        {
            self.logical_line(&text, line);
        }
    }

    fn logical_line(&mut self, bytes: &[u8], number: u32) {
        let Ok(line) = std::str::from_utf8(bytes) else {
            return;
        };
        let line = line.trim_matches(BLANKS);
        if line.is_empty() {
            return;
        }
        if line.starts_with('[') {
            self.header(line, number);
        } else if let Some((key, value)) = line.split_once('=') {
            self.assignment(key.trim_matches(BLANKS), value.trim_matches(BLANKS), number);
        } else {
            self.flaw(
                number,
                "neither [Section] nor Key=Value nor a comment".into(),
            );
        }
    }

    fn header(&mut self, line: &str, number: u32) {
        let name = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match name.filter(|name| !name.is_empty() && !name.contains(['[', ']'])) {
            Some(name) => {
                self.refused_header = false;
                self.text.sections.push(Header {
                    name: name.to_owned(),
                    line: number,
                });
            }
            None => {
                self.refused_header = true;
                self.flaw(
                    number,
                    "invalid section header; write [Section] alone on its line".into(),
                );
            }
        }
    }

    fn assignment(&mut self, key: &str, value: &str, line: u32) {
        if self.refused_header {
            return;
        }
        let Some(section) = self.text.sections.len().checked_sub(1) else {
            if !self.orphans {
                self.orphans = true;
                self.flaw(line, "assignment before the first [Section]".into());
            }
            return;
        };
        if key.is_empty() {
            return self.flaw(line, "no key before \"=\"".into());
        }
        // C1 control characters came through the byte check above.
        if let Some(c) = key
            .chars()
            .chain(value.chars())
            .find(|c| c.is_control() && *c != '\t')
        {
            return self.flaw(line, format!("control character U+{:04X}", u32::from(c)));
        }
        self.text.entries.push(Entry {
            section,
            key: key.to_owned(),
            value: value.to_owned(),
            line,
        });
    }

    fn flaw(&mut self, line: u32, message: String) {
        if self.text.flaws.len() < MAX_PROBLEMS {
            self.text.flaws.push(Flaw { line, message });
        } else {
            self.text.more += 1;
        }
    }
}

/// What systemd trims.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    line.get(blanks..).unwrap_or_default()
}

/// Whether the line ends in a backslash that no other backslash escapes.
fn goes_on(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn control_message(byte: u8) -> String {
    match byte {
        0 => "NUL byte".into(),
        b'\r' => "carriage return inside the line".into(),
        byte => format!("control character \\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    /// `section.key=value@line` per assignment, then `!line message` per flaw.
    fn digest(bytes: &[u8]) -> Vec<String> {
        let text = parse(bytes);
        let entries = text.entries.iter().map(|entry| {
            format!(
                "{}.{}={}@{}",
                text.sections[entry.section].name, entry.key, entry.value, entry.line
            )
        });
        entries
            .chain(
                text.flaws
                    .iter()
                    .map(|flaw| format!("!{} {}", flaw.line, flaw.message)),
            )
            .collect()
    }

    #[test]
    fn syntax() {
        let long = format!("[A]\nk={}\nl=1", "x".repeat(MAX_VALUE));
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"[A]\nk=v\n", &["A.k=v@2"]),
            (b"\xef\xbb\xbf[A]\r\n k\t= v w \r\n", &["A.k=v w@2"]),
            (b"# c\n; c\n\n[A]\n#k=1\nk=\n", &["A.k=@6"]),
            (b"[A]\nk=a=b;c#d", &["A.k=a=b;c#d@2"]),
            (
                b"[A]\nk=a \\\n  b\\\n# comment\n; more\n c\nl=1",
                &["A.k=a  b c@2", "A.l=1@7"],
            ),
            (b"[A]\nk=a\\\n\nl=1", &["A.k=a@2", "A.l=1@4"]),
            (b"[A]\nk=a\\\\\nl=1", &["A.k=a\\\\@2", "A.l=1@3"]),
            (b"[A]\nk=a\\", &["A.k=a@2"]),
            (b"[A]\n# c \\\nk=1", &["A.k=1@3"]),
            (
                b"[A]\nk=1\n[B]\nk=2\n[A]\nk=3",
                &["A.k=1@2", "B.k=2@4", "A.k=3@6"],
            ),
            (b"[A B]\nk=1", &["A B.k=1@2"]),
            (
                b"k=1\nl=2\n[A]\nm=3",
                &["A.m=3@4", "!1 assignment before the first [Section]"],
            ),
            (
                b"[A]\nword\n=v",
                &[
                    "!2 neither [Section] nor Key=Value nor a comment",
                    "!3 no key before \"=\"",
                ],
            ),
            (
                b"[A\nk=1",
                &["!1 invalid section header; write [Section] alone on its line"],
            ),
            (
                b"[]\nk=1",
                &["!1 invalid section header; write [Section] alone on its line"],
            ),
            (
                b"[A] x\nk=1\n[B]\nk=2",
                &[
                    "B.k=2@4",
                    "!1 invalid section header; write [Section] alone on its line",
                ],
            ),
            (b"[A]\nk=\0\nl=1", &["A.l=1@3", "!2 NUL byte"]),
            (b"[A]\nk=\x1b[1m", &["!2 control character \\x1b"]),
            (b"[A]\n# a\rk=1", &["!2 carriage return inside the line"]),
            (b"[A]\nk=a\tb", &["A.k=a\tb@2"]),
            (
                b"[A]\nk=\xffx\\\n more\nl=1",
                &["A.l=1@4", "!2 not UTF-8: byte \\xff"],
            ),
            (
                b"[A]\nk=1\n[B\xff]\nl=2\n[C]\nm=3",
                &["A.k=1@2", "C.m=3@6", "!3 not UTF-8: byte \\xff"],
            ),
            (b"[A]\nk=\xc2\x85x", &["!2 control character U+0085"]),
            (b"# \xff latin\n[A]\nk=1", &["A.k=1@3"]),
            (
                b"[A]\nk=a \\ \nb\nl=1",
                &[
                    "A.l=1@4",
                    "!2 blanks after \"\\\" at the end of the line; remove them to continue the line",
                ],
            ),
            (
                long.as_bytes(),
                &["A.l=1@3", "!2 line is longer than 64 KiB"],
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(
                digest(input),
                *expected,
                "{}",
                String::from_utf8_lossy(&input[..input.len().min(60)])
            );
        }
    }

    #[test]
    fn flaws_are_capped() {
        let text = parse(&b"x\n".repeat(100_000));
        assert_eq!(
            (text.flaws.len(), text.more),
            (MAX_PROBLEMS, 100_000 - MAX_PROBLEMS)
        );
    }

    /// What another parser of the format makes of it.
    fn oracle(text: &str) -> Vec<(String, String, String)> {
        let option = ini::ParseOption {
            enabled_quote: false,
            enabled_escape: false,
            ..Default::default()
        };
        let file = ini::Ini::load_from_str_opt(text, option).unwrap();
        let lines = file
            .iter()
            .filter_map(|(section, lines)| Some((section?, lines)));
        let all = lines.flat_map(|(section, lines)| {
            lines.iter().map(move |(key, value)| (section, key, value))
        });
        all.map(|(section, key, value)| (section.to_owned(), key.to_owned(), value.to_owned()))
            .collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
        }

        #[test]
        fn any_lines_are_read(lines in proptest::collection::vec("[\\[\\]=#;a\\\\ \\r\0\u{85}%\"-]{0,9}", 0..30)) {
            let text = parse(lines.join("\n").as_bytes());
            prop_assert!(text.entries.iter().all(|entry| entry.line as usize <= lines.len().max(1)));
        }

        #[test]
        fn agrees_with_another_parser(sections in proptest::collection::vec(
            ("[A-Z][a-z]{1,6}", proptest::collection::vec(("[A-Z][A-Za-z]{0,8}", "([!\"$-:<>-Z^-~\u{e4}\u{4e2d}]([ !\"$-:<>-Z^-~\u{e4}]{0,12}[!$-:<>-Z^-~])?)?"), 0..6)),
            0..5,
        )) {
            let mut seen = std::collections::HashSet::new();
            let sections: Vec<_> = sections.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
            let text: String = sections.iter().map(|(name, lines)| {
                let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
                format!("[{name}]\n# comment\n{lines}\n")
            }).collect();
            let ours = parse(text.as_bytes());
            prop_assert!(ours.flaws.is_empty());
            let mut ours: Vec<_> = ours.entries.iter()
                .map(|entry| (ours.sections[entry.section].name.clone(), entry.key.clone(), entry.value.clone())).collect();
            let mut theirs = oracle(&text);
            // The other parser groups equal keys.
            ours.sort();
            theirs.sort();
            prop_assert_eq!(ours, theirs);
        }
    }
}
