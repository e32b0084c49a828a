//! Validation: what the user wrote to what is wanted, or everything that is wrong with it.
//!
//! Owns reset and merge rules, defaults and the rules between keys. Pure: touches no file, so whether a path exists is
//! found out at start, where the answer counts.

mod adapt;
mod container;
mod init;
mod integration;
mod mounts;
mod network;
mod overlays;
mod properties;
pub(crate) mod root;
mod security;
mod store;
mod users;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use crate::declaration::instances::{MAX as MAX_INSTANCES, is_template};
use crate::declaration::keys::KeyRow;
use crate::declaration::specifier::expand;
use crate::declaration::value::unit_name;
use crate::declaration::{Declaration, Facts, LoadState, Setting};
use crate::distinct;
use crate::name;
use crate::problem::{Origin, Problem, ProblemList, Severity, quoted};
use crate::wanted::Wanted;

/// What came of a declaration.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) state: LoadState,
    pub(crate) warnings: Vec<Problem>,
    /// Where a given id range stands, as a problem still without message.
    pub(crate) users_at: Option<Problem>,
    /// Where the tree is named, as a problem still without message.
    pub(crate) root_at: Option<Problem>,
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
struct At<T> {
    value: T,
    origin: Origin,
}

/// The assignments, read key by key.
struct Reader<'a> {
    settings: Vec<Given<'a>>,
    problems: ProblemList,
    name: &'a str,
    facts: &'a Facts,
}

/// An assignment with its specifiers expanded.
struct Given<'a> {
    origin: Origin,
    row: &'static KeyRow,
    value: Cow<'a, str>,
}

/// Validates a declaration.
pub(crate) fn validate(declaration: Declaration, facts: &Facts) -> Verdict {
    let Declaration {
        name,
        source,
        settings,
        problems,
    } = declaration;
    let mut reader = Reader::new(&name, &settings, problems, facts);
    let properties = properties::read(&mut reader);
    let mut boot = container::read(&mut reader);
    boot.spec.credentials = integration::credentials(&properties);
    boot.spec.identifier = integration::identifier(&properties);
    let wanted_by = wanted_by(&mut reader);
    instances(&mut reader, &source);
    let place = |key: &str, origin: Origin| Problem {
        path: reader.problems.path(origin.file),
        line: Some(origin.line),
        key: Some(key.into()),
        severity: Severity::Error,
        message: String::new(),
    };
    let users_at = boot.users_at.map(|origin| place("PrivateUsers", origin));
    let root_at = boot.root_at.map(|origin| place("Root", origin));
    let (errors, warnings) = reader.problems.finish();
    let state = if errors.is_empty() {
        let wanted = Wanted {
            name,
            source,
            spec: boot.spec,
            ids: boot.ids,
            pool: boot.pool,
            properties,
            wanted_by,
        };
        LoadState::Valid(Box::new(wanted))
    } else {
        LoadState::Invalid {
            problems: errors,
            wanted_by,
        }
    };
    Verdict {
        state,
        warnings,
        users_at,
        root_at,
    }
}

/// `[Install]`: skep starts a container with each of these units, so the three keys mean the same.
fn wanted_by(reader: &mut Reader<'_>) -> Vec<String> {
    let own = name::unit(reader.name);
    let mut all: Vec<At<String>> = Vec::new();
    for key in ["WantedBy", "RequiredBy", "UpheldBy"] {
        all.extend(reader.list(key, |text| {
            text.split_ascii_whitespace()
                .map(|word| match unit_name::unit(word)? {
                    unit if unit == own => Err("a container cannot start itself".into()),
                    unit => Ok(unit),
                })
                .collect()
        }));
    }
    all.sort_by_key(|unit| unit.origin);
    let mut units = Vec::new();
    distinct::extend(&mut units, all.into_iter().map(|unit| unit.value));
    units
}

/// `Instances=` was read before the instances were: what is left is to say what is wrong with it.
fn instances(reader: &mut Reader<'_>, source: &Path) {
    let prefix = name::instance(reader.name).map(|(prefix, _)| prefix.to_owned());
    let plain = reader.name.to_owned();
    let named = reader.list("Instances", |text| match &prefix {
        None => Err(format!(
            "only a template has instances; call the file {plain}@.container"
        )),
        Some(prefix) => {
            let check = |word| name::check(&format!("{prefix}@{word}"));
            let check = |word| {
                check(word).map_err(|message: String| format!("{}: {message}", quoted(word)))
            };
            text.split_ascii_whitespace()
                .map(|word| check(word).map(|()| word.to_owned()))
                .collect()
        }
    });
    // Drop-ins of the template apply to an instance with a file of its own, that file does not apply to the template.
    let is_template = source.file_stem().is_some_and(is_template);
    if let (Some(_), false) = (&prefix, is_template) {
        for at in named.iter().filter(|at| at.origin.file == 0) {
            reader.problems.error(at.origin, Some("Instances"), || {
                "only a template has instances".to_owned()
            });
        }
    }
    let mut distinct = HashSet::new();
    let first_more = named
        .iter()
        .find(|at| distinct.insert(&at.value) && distinct.len() > MAX_INSTANCES);
    if let Some(at) = first_more {
        let message = || {
            format!(
                "more than {MAX_INSTANCES} instances, from {} on; use a second template",
                quoted(&at.value)
            )
        };
        reader.problems.error(at.origin, Some("Instances"), message);
    }
}

impl<'a> Reader<'a> {
    fn new(
        name: &'a str,
        settings: &'a [Setting],
        mut problems: ProblemList,
        facts: &'a Facts,
    ) -> Reader<'a> {
        let mut given = Vec::with_capacity(settings.len());
        for Setting { origin, row, value } in settings {
            let value = if row.expands() {
                expand(value, name, facts)
            } else {
                Ok(Cow::Borrowed(value.as_str()))
            };
            match value {
                Ok(value) => given.push(Given {
                    origin: *origin,
                    row,
                    value,
                }),
                Err(message) => problems.error(*origin, Some(row.name), || message),
            }
        }
        Reader {
            settings: given,
            problems,
            name,
            facts,
        }
    }

    /// The last value of a key. Values that a later one replaces are checked too: a mistake is a mistake.
    fn scalar<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<At<T>> {
        let mut last = None;
        for given in self.settings.iter().filter(|given| given.row.name == key) {
            debug_assert!(!given.row.is_list());
            if given.value.is_empty() {
                last = None;
                continue;
            }
            match parse(&given.value) {
                Ok(value) => {
                    last = Some(At {
                        value,
                        origin: given.origin,
                    })
                }
                Err(message) => self.problems.error(given.origin, Some(key), || message),
            }
        }
        last
    }

    /// All values of a key since the last empty one.
    fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<Vec<T>, String>) -> Vec<At<T>> {
        let mut all = Vec::new();
        for given in self.settings.iter().filter(|given| given.row.name == key) {
            debug_assert!(given.row.is_list());
            if given.value.is_empty() {
                all.clear();
                continue;
            }
            match parse(&given.value) {
                Ok(values) => all.extend(values.into_iter().map(|value| At {
                    value,
                    origin: given.origin,
                })),
                Err(message) => self.problems.error(given.origin, Some(key), || message),
            }
        }
        all
    }
}
