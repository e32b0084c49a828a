//! Problems of declarations: plain data, printed one per line, `path:line: Key=: message`.
//!
//! Owns their shape, order and escaping. Decides nothing and prints nothing. What stands in a declaration may come from
//! anyone who could edit it, so every text is escaped before a terminal or the journal sees it.

use std::fmt::{self, Display, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// Problems reported per file; the rest is counted.
const PER_FILE: usize = 100;

/// Characters of a value that a message quotes.
const QUOTED: usize = 80;

/// Whether a declaration can be used in spite of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The container does not start.
    Error,
    /// Worth a look; the declaration is used.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The file it stands in.
    pub path: PathBuf,
    /// Line, from 1; `None` when it concerns the whole file.
    pub line: Option<u32>,
    /// Key of the assignment, without `=`.
    pub key: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and, where known, the cure.
    pub message: String,
}

impl Problem {
    /// An error about a whole file.
    pub fn of_file(path: impl Into<PathBuf>, message: impl Into<String>) -> Problem {
        Problem {
            path: path.into(),
            line: None,
            key: None,
            severity: Severity::Error,
            message: message.into(),
        }
    }

    /// The same problem, which the declaration survives.
    #[must_use]
    pub fn as_warning(mut self) -> Problem {
        self.severity = Severity::Warning;
        self
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", shown(&self.path))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        f.write_char(' ')?;
        if let Some(key) = &self.key {
            write!(f, "{}=: ", escaped(key))?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&escaped(&self.message))
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 5)?;
        out.serialize_field("path", &shown(&self.path))?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("key", &self.key)?;
        out.serialize_field("severity", &self.severity)?;
        out.serialize_field("message", &self.message)?;
        out.end()
    }
}

/// A path for people: control characters and bytes that are not UTF-8 escaped as `\xNN`.
pub fn shown(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(&escaped(chunk.valid()));
        push_bytes(&mut out, chunk.invalid());
    }
    out
}

/// `text` on one line: control and invisible formatting characters escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => push_bytes(&mut out, &[c as u8]),
            c if c.is_control() || is_formatting(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// `text` in quotes for a message, shortened when it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("\"{}...\"", escaped(&text[..end])),
        None => format!("\"{}\"", escaped(text)),
    }
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    out.extend(bytes.iter().map(|byte| format!("\\x{byte:02x}")));
}

/// Characters that reorder or hide text on a terminal.
fn is_formatting(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Place of an assignment: number of the file in merge order, and line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) file: usize,
    pub(crate) line: u32,
}

/// Collects the problems of one declaration, whatever order they are found in.
#[derive(Debug, Default)]
pub(crate) struct ProblemList {
    files: Vec<Count>,
    found: Vec<(usize, Problem)>,
}

#[derive(Debug)]
struct Count {
    path: PathBuf,
    problems: usize,
}

impl ProblemList {
    /// Adds a file, in merge order, and returns its number.
    pub(crate) fn add_file(&mut self, path: &Path) -> usize {
        self.files.push(Count {
            path: path.to_owned(),
            problems: 0,
        });
        self.files.len() - 1
    }

    /// The place as text, for messages about two lines.
    pub(crate) fn place(&self, origin: Origin) -> String {
        let path = self
            .files
            .get(origin.file)
            .map(|file| shown(&file.path))
            .unwrap_or_default();
        format!("{path}:{}", origin.line)
    }

    /// Path of file `number`.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.files
            .get(number)
            .map(|file| file.path.clone())
            .unwrap_or_default()
    }

    /// Adds an error about an assignment. `message` runs only while the file's quota lasts: a megabyte of junk must not
    /// cost a megabyte of suggestions.
    pub(crate) fn error(
        &mut self,
        origin: Origin,
        key: Option<&str>,
        message: impl FnOnce() -> String,
    ) {
        self.push(
            origin.file,
            Some(origin.line),
            key,
            Severity::Error,
            message,
        );
    }

    /// Adds a warning about an assignment.
    pub(crate) fn warning(&mut self, origin: Origin, key: &str, message: impl FnOnce() -> String) {
        self.push(
            origin.file,
            Some(origin.line),
            Some(key),
            Severity::Warning,
            message,
        );
    }

    /// Adds an error about a whole file.
    pub(crate) fn error_of_file(&mut self, file: usize, message: String) {
        self.push(file, None, None, Severity::Error, || message);
    }

    /// Counts `more` errors of a file that nobody described.
    pub(crate) fn count_more(&mut self, file: usize, more: usize) {
        if let Some(count) = self.files.get_mut(file) {
            count.problems += more;
        }
    }

    fn push(
        &mut self,
        file: usize,
        line: Option<u32>,
        key: Option<&str>,
        severity: Severity,
        message: impl FnOnce() -> String,
    ) {
        let Some(count) = self.files.get_mut(file) else {
            return;
        };
        count.problems += 1;
        if count.problems > PER_FILE {
            return;
        }
        let (path, key) = (count.path.clone(), key.map(str::to_owned));
        self.found.push((
            file,
            Problem {
                path,
                line,
                key,
                severity,
                message: message(),
            },
        ));
    }

    /// All problems in file order: errors, then warnings apart.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let ProblemList { files, mut found } = self;
        found.sort_by_key(|(file, problem)| (*file, problem.line));
        let mut all: Vec<(usize, Problem)> = found;
        for (number, file) in files.into_iter().enumerate() {
            if file.problems > PER_FILE {
                let more = Problem::of_file(
                    file.path,
                    format!("and {} more problems", file.problems - PER_FILE),
                );
                let end = all.partition_point(|(file, _)| *file <= number);
                all.insert(end, (number, more));
            }
        }
        all.into_iter()
            .map(|(_, problem)| problem)
            .partition(|problem| problem.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn display_is_one_escaped_line() {
        let problem = Problem {
            path: PathBuf::from(OsStr::from_bytes(b"/etc/skep/a\x1b\xff.container")),
            line: Some(12),
            key: Some("Bind".into()),
            severity: Severity::Error,
            message: format!("source is not absolute: {}", quoted("srv\u{202e}\nwww")),
        };
        let text = r#"/etc/skep/a\x1b\xff.container:12: Bind=: source is not absolute: "srv\u{202e}\nwww""#;
        assert_eq!(problem.to_string(), text);
        let json = serde_json::to_value(problem.clone()).unwrap();
        assert_eq!(json["path"], r"/etc/skep/a\x1b\xff.container");
        assert_eq!(json["severity"], "error");
        assert!(
            problem
                .as_warning()
                .to_string()
                .contains("12: Bind=: warning: source")
        );
    }

    #[test]
    fn list_sorts_and_caps() {
        let mut list = ProblemList::default();
        let (first, second) = (
            list.add_file(Path::new("/a")),
            list.add_file(Path::new("/b")),
        );
        list.error(
            Origin {
                file: second,
                line: 3,
            },
            None,
            || "later".into(),
        );
        for line in (1..=150).rev() {
            list.error(Origin { file: first, line }, Some("K"), || "x".into());
        }
        list.error_of_file(second, "whole".into());
        let (errors, warnings) = list.finish();
        assert!(warnings.is_empty());
        assert_eq!(errors.len(), 103);
        assert_eq!(errors[0].line, Some(51));
        assert_eq!(errors[100].to_string(), "/a: and 50 more problems");
        assert_eq!(errors[101].to_string(), "/b: whole");
        assert_eq!(errors[102].to_string(), "/b:3: later");
    }
}
