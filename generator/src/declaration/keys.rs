//! The table of keys: what a declaration may say.
//!
//! Owns which keys exist, their help and how each is read. The parser, suggestions, `skep keys`, completions and the
//! man page check all read this one table. It must not read values itself: that is `validate`.

mod container;
mod install;
mod refused;
mod service;
mod unit;

use std::fmt::{self, Display};

use super::suggest::nearest;

/// A section of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Dependencies and description of the unit.
    Unit,
    /// The container.
    Container,
    /// Resource control, restart, time limits of the unit.
    Service,
    /// What starts it at boot.
    Install,
}

impl Section {
    /// All of them, in the order in which they are written.
    pub const ALL: [Section; 4] = [
        Section::Unit,
        Section::Container,
        Section::Service,
        Section::Install,
    ];

    /// The name between the brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Unit => "Unit",
            Section::Container => "Container",
            Section::Service => "Service",
            Section::Install => "Install",
        }
    }

    fn rows(self) -> &'static [KeyRow] {
        match self {
            Section::Unit => unit::ROWS,
            Section::Container => container::ROWS,
            Section::Service => service::ROWS,
            Section::Install => install::ROWS,
        }
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One key.
#[derive(Debug)]
pub struct KeyRow {
    /// Section it belongs to.
    pub section: Section,
    /// Key without `=`.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// systemd version it needs, where newer than the oldest supported one.
    pub since: Option<u32>,
    pub(crate) meaning: Meaning,
}

/// What becomes of a key's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    /// A field of the container's spec, read by `validate::container`.
    Container { list: bool, expand: bool },
    /// Properties of the unit.
    Property(Syntax),
    /// `TimeoutSec=`: the properties of two other keys.
    Timeouts,
    /// Units that start the container.
    Install,
}

/// How a value becomes unit properties. The names are those of D-Bus.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Syntax {
    /// Boolean.
    Bool(&'static str),
    /// Text as it stands.
    Text(&'static str),
    /// One of these words.
    Choice(&'static str, &'static [&'static str]),
    /// One of these words, sent as a number.
    Code(&'static str, &'static [(&'static str, i32)]),
    /// `i` in a range.
    Int(&'static str, i32, i32),
    /// `u`, any.
    Count(&'static str),
    /// 1-10000; `idle` too when true.
    Weight(&'static str, bool),
    /// Time span in microseconds.
    Time(&'static str),
    /// Time limit in microseconds; 0 is none.
    Timeout(&'static str),
    /// Bytes, base 1024, at least the number; percentages go to the second property.
    Memory(&'static str, &'static str, u64),
    /// The same without percentages: systemd has no property for them.
    Bytes(&'static str, u64),
    /// Number of tasks.
    Tasks(&'static str),
    /// Percentage of one CPU, unbounded.
    Quota(&'static str),
    /// Percentage, scaled to 32 bits.
    Pressure(&'static str),
    /// Unit names.
    Units(&'static str),
    /// The name of a slice.
    Slice(&'static str),
    /// Absolute paths, separated by blanks.
    Paths(&'static str),
    /// Documentation URIs.
    Uris(&'static str),
    /// A command line.
    Exec(&'static str),
    /// Exit codes and signals.
    Exit(&'static str),
    /// Device and `rwm`.
    Device(&'static str),
    /// Device and bytes or operations per second, base 1000.
    DeviceRate(&'static str),
    /// Device and weight.
    DeviceWeight(&'static str),
    /// Device and time span.
    DeviceTime(&'static str),
    /// Networks.
    Networks(&'static str),
    /// Numbers of CPUs or memory nodes.
    Cpus(&'static str),
    /// Resource limit: property, its soft twin, unit.
    Limit(&'static str, &'static str, LimitUnit),
    /// `ID[:PATH]`.
    LoadCredential(&'static str),
    /// `ID:TEXT`.
    SetCredential(&'static str),
    /// `ID:BASE64`.
    SealedCredential(&'static str),
    /// Name or beginning of names of credentials.
    ImportCredential(&'static str),
    /// Journal fields `NAME=VALUE`.
    Fields(&'static str),
}

/// Unit of a resource limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LimitUnit {
    Bytes,
    Count,
    Seconds,
    Microseconds,
    Nice,
}

impl KeyRow {
    /// Whether a repeated assignment adds, and an empty one resets.
    pub(crate) fn is_list(&self) -> bool {
        match self.meaning {
            Meaning::Container { list, .. } => list,
            Meaning::Install => true,
            Meaning::Timeouts => false,
            Meaning::Property(syntax) => syntax.is_list(),
        }
    }

    /// Whether specifiers are expanded. Numbers have none: `50%` is a percentage.
    pub(crate) fn expands(&self) -> bool {
        match self.meaning {
            Meaning::Container { expand, .. } => expand,
            // Which instances there are is read before there is one to expand for.
            Meaning::Install => self.name != "Instances",
            Meaning::Timeouts => false,
            Meaning::Property(syntax) => {
                syntax.is_list() && !matches!(syntax, Syntax::Cpus(_) | Syntax::Exit(_))
                    || matches!(syntax, Syntax::Text(_) | Syntax::Slice(_))
            }
        }
    }
}

impl Syntax {
    fn is_list(self) -> bool {
        matches!(
            self,
            Syntax::Units(_)
                | Syntax::Paths(_)
                | Syntax::Uris(_)
                | Syntax::Exec(_)
                | Syntax::Exit(_)
                | Syntax::Device(_)
                | Syntax::DeviceRate(_)
                | Syntax::DeviceWeight(_)
                | Syntax::DeviceTime(_)
                | Syntax::Networks(_)
                | Syntax::Cpus(_)
                | Syntax::LoadCredential(_)
                | Syntax::SetCredential(_)
                | Syntax::SealedCredential(_)
                | Syntax::ImportCredential(_)
                | Syntax::Fields(_)
        )
    }
}

/// All keys, section by section.
pub fn keys() -> impl Iterator<Item = &'static KeyRow> {
    Section::ALL.into_iter().flat_map(|section| section.rows())
}

/// Looks a section up.
///
/// # Errors
/// What is wrong with the name.
pub(crate) fn section(name: &str) -> Result<Section, String> {
    if let Some(section) = Section::ALL
        .into_iter()
        .find(|section| section.name() == name)
    {
        return Ok(section);
    }
    let hint = match name {
        "Exec" | "Files" | "Network" | "Pod" | "Volume" | "Image" => {
            "; settings of a container belong in [Container]".into()
        }
        _ => match nearest(name, Section::ALL.map(Section::name)) {
            Some(near) => format!("; did you mean [{near}]?"),
            None => "; there are [Unit], [Container], [Service] and [Install]".into(),
        },
    };
    Err(format!("unknown section [{name}]{hint}"))
}

/// Looks a key up.
pub(crate) fn find(section: Section, name: &str) -> Option<&'static KeyRow> {
    section.rows().iter().find(|row| row.name == name)
}

/// Why a key that [`find`] does not know is wrong, with what was probably meant.
pub(crate) fn explain(section: Section, name: &str) -> String {
    if let Some(reason) = refused::reason(section, name) {
        return reason;
    }
    if let Some(row) = keys().find(|row| row.name == name) {
        return format!("belongs in [{}]", row.section);
    }
    let unknown = format!("unknown key in [{section}]");
    if let Some(near) = nearest(name, section.rows().iter().map(|row| row.name)) {
        return format!("{unknown}; did you mean {near}=?");
    }
    match nearest(name, keys().map(|row| row.name))
        .and_then(|near| keys().find(|row| row.name == near))
    {
        Some(row) => format!(
            "{unknown}; did you mean {}= of [{}]?",
            row.name, row.section
        ),
        None => unknown,
    }
}

/// A row for a unit property of today's baseline.
const fn property(
    section: Section,
    name: &'static str,
    syntax: Syntax,
    help: &'static str,
) -> KeyRow {
    KeyRow {
        section,
        name,
        help,
        since: None,
        meaning: Meaning::Property(syntax),
    }
}

/// A row for a unit property that systemd learned later.
const fn newer(
    section: Section,
    since: u32,
    name: &'static str,
    syntax: Syntax,
    help: &'static str,
) -> KeyRow {
    KeyRow {
        since: Some(since),
        ..property(section, name, syntax, help)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn table_is_sound() {
        let mut seen = HashSet::new();
        for row in keys() {
            assert!(seen.insert(row.name), "{} stands twice", row.name);
            assert!(
                row.section
                    .rows()
                    .iter()
                    .any(|other| std::ptr::eq(other, row)),
                "{}",
                row.name
            );
            assert!(
                !row.help.is_empty() && row.help.len() <= 90 && !row.help.ends_with('.'),
                "{}",
                row.name
            );
            assert!(
                row.name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                "{}",
                row.name
            );
            assert!(row.since.is_none_or(|since| since > 252), "{}", row.name);
            assert!(
                refused::reason(row.section, row.name).is_none(),
                "{} is known and refused",
                row.name
            );
        }
    }

    #[test]
    fn unknown_names() {
        let cases = [
            (
                Section::Container,
                "BindReadonly",
                "did you mean BindReadOnly=?",
            ),
            (Section::Container, "MemoryMax", "belongs in [Service]"),
            (Section::Container, "Boot", "not supported in this version"),
            (Section::Container, "Image", "not supported in this version"),
            (
                Section::Container,
                "MemryMax",
                "did you mean MemoryMax= of [Service]?",
            ),
            (
                Section::Container,
                "Frobnicate",
                "unknown key in [Container]",
            ),
            (Section::Service, "Bind", "belongs in [Container]"),
            (Section::Service, "KillSignal", "[Container]"),
            (Section::Service, "ExecStart", "skep"),
            (Section::Service, "ProtectHome", "mount namespace"),
            (Section::Unit, "ConditionPathExists", "systemctl edit"),
            (Section::Install, "Alias", "skep@"),
        ];
        for (section, name, expected) in cases {
            assert!(find(section, name).is_none());
            let message = explain(section, name);
            assert!(message.contains(expected), "{name}: {message}");
        }
        assert!(
            section("Contianer")
                .unwrap_err()
                .contains("did you mean [Container]?")
        );
        assert!(
            section("Exec")
                .unwrap_err()
                .contains("belong in [Container]")
        );
        assert!(section("zzz").unwrap_err().contains("there are [Unit]"));
    }
}
