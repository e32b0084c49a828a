//! What a guest writes to its console, made harmless.
//!
//! Escape sequences, control characters and characters that reorder or hide text are taken out. A sequence ends where a
//! terminal would end it, so that a guest cannot hide text in one that it never finishes.

use crate::log::is_plain;

/// Longest line, in bytes.
pub(super) const LINE_LIMIT: usize = 2048;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// ESC: the next byte says what kind of sequence it is.
    Start,
    /// `ESC [`: up to a final byte.
    Control,
    /// `ESC ]`, `P`, `X`, `^` or `_`: up to BEL or `ESC \`.
    Text,
    /// ESC in such a text: the end, or the start of another sequence.
    EndOfText,
}

/// Takes escape sequences and most control characters out of a stream of bytes.
#[derive(Debug, Default)]
struct Filter(Escape);

impl Filter {
    /// What is left of `byte`: a part of a character, or one of the control characters that move to a place: tab, line
    /// feed, carriage return and backspace.
    fn take(&mut self, byte: u8) -> Option<u8> {
        let (next, out) = match (self.0, byte) {
            // Whatever a sequence was to become: it does not swallow the next line.
            (_, b'\n') => (Escape::None, Some(byte)),
            // CAN and SUB abort every sequence.
            (_, 0x18 | 0x1a) => (Escape::None, None),
            (Escape::Start | Escape::EndOfText, _) => (after_escape(byte), None),
            (Escape::Text, 0x1b) => (Escape::EndOfText, None),
            (Escape::Text, 0x07) => (Escape::None, None),
            (Escape::Text, _) => (Escape::Text, None),
            (_, 0x1b) => (Escape::Start, None),
            (Escape::Control, 0x40..=0x7e) => (Escape::None, None),
            // No byte of a sequence: the terminal shows it.
            (Escape::Control, 0x80..) => (Escape::None, Some(byte)),
            (state, b'\t' | b'\r' | 0x08) => (state, Some(byte)),
            (Escape::Control, _) => (Escape::Control, None),
            (Escape::None, 0x20..=0x7e | 0x80..) => (Escape::None, Some(byte)),
            (Escape::None, _) => (Escape::None, None),
        };
        self.0 = next;
        out
    }
}

fn after_escape(byte: u8) -> Escape {
    match byte {
        b'[' => Escape::Control,
        b']' | b'P' | b'X' | b'^' | b'_' => Escape::Text,
        // Intermediate bytes, as of "ESC ( B", are followed by the final one.
        0x20..=0x2f | 0x1b => Escape::Start,
        _ => Escape::None,
    }
}

/// Splits console bytes into clean lines. A carriage return that no line feed follows ends a line, too: what a progress bar
/// or a joker overwrites on a terminal is still told.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    filter: Filter,
    line: Vec<u8>,
    returned: bool,
}

impl Cleaner {
    /// Calls `take` with each line that is complete.
    pub(super) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        for byte in bytes {
            match self.filter.take(*byte) {
                None | Some(0x08) => {}
                Some(b'\n') => self.end(self.line.len(), &mut take),
                Some(b'\r') => self.returned = true,
                Some(byte) => {
                    if self.returned {
                        self.end(self.line.len(), &mut take);
                    }
                    self.line.push(byte);
                    if self.line.len() >= LINE_LIMIT {
                        self.end(self.line.len() - unfinished(&self.line), &mut take);
                    }
                }
            }
        }
    }

    /// Calls `take` with what is there of the last line.
    pub(super) fn finish(&mut self, mut take: impl FnMut(&str)) {
        self.end(self.line.len(), &mut take);
    }

    /// What is there of the current line, such as a prompt.
    pub(super) fn unfinished(&self) -> String {
        clean(&self.line)
    }

    /// Gives back the room for lines that were longer.
    pub(super) fn shrink(&mut self) {
        self.line.shrink_to_fit();
    }

    /// An empty line is none for the journal.
    fn end(&mut self, length: usize, take: &mut impl FnMut(&str)) {
        self.returned = false;
        let text = clean(&self.line[..length]);
        self.line.drain(..length);
        let text = text.trim_end();
        if !text.is_empty() {
            take(text);
        }
    }
}

fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let plain = |c: &char| *c == '\t' || is_plain(*c);
    text.chars().filter(plain).collect()
}

/// The same for a terminal that shows the console as it comes: lines and cursor stay where they are, colours and what else
/// a sequence may do are gone.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    filter: Filter,
    rest: Vec<u8>,
}

impl Shown {
    /// What may be shown of `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> String {
        let text = bytes.iter().filter_map(|byte| self.filter.take(*byte));
        self.rest.extend(text);
        let whole = self.rest.len() - unfinished(&self.rest);
        let moves = |c: char| matches!(c, '\t' | '\r' | '\n' | '\u{8}');
        let text = String::from_utf8_lossy(&self.rest[..whole])
            .chars()
            .filter(|c| moves(*c) || is_plain(*c))
            .collect();
        self.rest.drain(..whole);
        text
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn unfinished(bytes: &[u8]) -> usize {
    let length = |byte: u8| match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let tail = bytes.iter().rev().take(3);
    let lead = tail
        .enumerate()
        .find(|(_, byte)| !(0x80..0xc0).contains(*byte));
    match lead {
        Some((after, byte)) if length(*byte) > after + 1 => after + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(cleaner: &mut Cleaner, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        cleaner.feed(bytes, |line| lines.push(line.to_owned()));
        lines
    }

    /// Bytes that steer some terminal, and what the journal gets.
    const CORPUS: &[(&[u8], &[&str])] = &[
        (
            b"[\x1b[0;32m  OK  \x1b[0m] Started x.\r\n",
            &["[  OK  ] Started x."],
        ),
        (b"a\n\r\nb\n", &["a", "b"]),
        (b"\x1b]0;title\x07x\n", &["x"]),
        (b"\x1b]0;t\x1b\\x\x08\n", &["x"]),
        (b"\x1b]52;c;ZXZpbA==\x07x\n", &["x"]),
        (
            b"\x1bPq#0\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z\x1bXsos\x1b\\\n",
            &["xyz"],
        ),
        (b"\x1b(Bx\x1bcy\x1b#8z\n", &["xyz"]),
        (b"\x1b[6n\x1b[?1049h\x1b[2J\x1b[20t\x1b[>cx\n", &["x"]),
        (b"caf\xc3\xa9 \xc2\x9b31m\n", &["caf\u{e9} 31m"]),
        (b"\x9b31mx\n", &["\u{fffd}31mx"]),
        (b"bad \xff\xfe\xc3\n", &["bad \u{fffd}\u{fffd}\u{fffd}"]),
        (b"<0>panic\n", &["<0>panic"]),
        (b"\x1b[12\nnext\n", &["next"]),
        (b"a\x1b\nb\x1b]0;t\x1b\nc\x1b[1\nd\n", &["a", "b", "c", "d"]),
        // A terminal ends these sequences here, and shows what follows.
        (b"\x1b]0;t\x1b[31mshown\n", &["shown"]),
        (b"\x1b[1\x1b[2mshown\n", &["shown"]),
        (b"\x1b]0;t\x18shown \x1b[1\x1ashown\n", &["shown shown"]),
        (b"\x1b[1\xc3\xa9shown\n", &["\u{e9}shown"]),
        // Text that is written over.
        (b"10%\r20%\r\x1b[K30%\r\n", &["10%", "20%", "30%"]),
        (b"evil\rfine\n", &["evil", "fine"]),
        (b"evil\x08\x08\x08\x08fine\n", &["evilfine"]),
        (b"x\x00\x01\x7f\x0e\x05y\tz\n", &["xy\tz"]),
        // Bidirectional overrides, characters without width, tags.
        (
            "gpj.\u{202e}exe\u{2066}a\u{200b}b\u{feff}\u{e0041}\u{61c}\n".as_bytes(),
            &["gpj.exeab"],
        ),
        (b"unfinished", &[]),
        (b"   \r\n\t\n", &[]),
    ];

    #[test]
    fn lines_are_clean() {
        for (bytes, want) in CORPUS {
            let got = lines(&mut Cleaner::default(), bytes);
            assert_eq!(got, *want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn sequences_and_characters_may_be_cut_anywhere() {
        for (bytes, want) in CORPUS {
            for cut in 0..bytes.len() {
                let mut cleaner = Cleaner::default();
                let mut got = lines(&mut cleaner, &bytes[..cut]);
                got.extend(lines(&mut cleaner, &bytes[cut..]));
                assert_eq!(got, *want, "{} at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn endless_lines_are_split_between_characters() {
        let got = lines(&mut Cleaner::default(), &vec![b'x'; 5000]);
        let lengths: Vec<usize> = got.iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_LIMIT, LINE_LIMIT]);
        let text = format!("x{}", "\u{20ac}".repeat(2000));
        let got = lines(&mut Cleaner::default(), text.as_bytes());
        assert!(got.len() == 2 && !got.concat().contains('\u{fffd}'));
    }

    #[test]
    fn a_prompt_is_known_before_its_line_ends() {
        let mut cleaner = Cleaner::default();
        assert!(lines(&mut cleaner, b"\r\n\x1b[1mlogin: ").is_empty());
        assert_eq!(cleaner.unfinished(), "login: ");
        let mut rest = Vec::new();
        cleaner.finish(|line| rest.push(line.to_owned()));
        assert_eq!(rest, ["login:"]);
    }

    #[test]
    fn what_is_shown_steers_nothing() {
        for (bytes, _) in CORPUS {
            let mut shown = Shown::default();
            let whole = shown.feed(bytes);
            let moves = |c: char| "\t\r\n\u{8}".contains(c);
            assert!(whole.chars().all(|c| moves(c) || is_plain(c)), "{whole:?}");
            for cut in 0..bytes.len() {
                let mut shown = Shown::default();
                let mut parts = shown.feed(&bytes[..cut]);
                parts.push_str(&shown.feed(&bytes[cut..]));
                assert_eq!(parts, whole, "{} at {cut}", bytes.escape_ascii());
            }
        }
        assert_eq!(Shown::default().feed(b"a\x1b[31mb\r\n\x08"), "ab\r\n\u{8}");
    }
}
