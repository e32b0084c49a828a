//! Templates and their instances: `web@.container` says once what `web@1` and `web@blue` have in common.
//!
//! Owns which instances there are and which files make one up. An instance exists when a file or link
//! `web@1.container` does, or when the template's `Instances=` names it. A link to the template stands for the template
//! that is in force, wherever the link itself points: a copy in /etc overrides the one of a package for all instances.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use skep_spec::Access;

use super::dropin::{Found, Search};
use super::{Facts, LoadState, Loaded, merge, verdict_of};
use crate::name;
use crate::problem::Problem;

/// What a template is tried with while it has no instance.
const SAMPLE: &str = "0";

/// Instances that one template may name: each is a unit, and each is validated on its own.
pub(crate) const MAX: usize = 1024;

/// Whether `stem` is the name of a template, which no unit stands for.
pub(crate) fn is_template(stem: &OsStr) -> bool {
    stem.as_bytes().ends_with(b"@")
}

/// The template of an instance.
pub(crate) fn template_of(stem: &OsStr) -> Option<OsString> {
    let bytes = stem.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'@')?;
    (at + 1 < bytes.len()).then(|| OsString::from_vec(bytes.get(..=at).unwrap_or(bytes).to_vec()))
}

/// The files of `stem`: its own, or those of the template that names it.
pub(super) fn find(search: &mut Search, stem: &OsStr) -> Found {
    let found = search.find(stem);
    match template_of(stem) {
        Some(template) if matches!(found, Found::Absent) => {
            match named(&search.find(&template), &template).contains(stem) {
                true => search.find_instance(stem, &template),
                false => Found::Absent,
            }
        }
        _ => found,
    }
}

/// The instances that a template's own `Instances=` names. Words that are no names are left to validation, which also
/// refuses more than [`MAX`]: those that are too many are left out here, and the others fail with the reason.
pub(super) fn named(found: &Found, template: &OsStr) -> BTreeSet<OsString> {
    let (Found::Sources(sources), Some(prefix)) = (found, template.to_str()) else {
        return BTreeSet::new();
    };
    let mut names = BTreeSet::new();
    for setting in merge(prefix, sources).settings {
        if setting.row.name != "Instances" {
            continue;
        }
        if setting.value.is_empty() {
            names.clear();
        }
        let words = setting.value.split_ascii_whitespace();
        let full = words.map(|word| format!("{prefix}{word}"));
        for name in full.filter(|name| name::check(name).is_ok()) {
            if names.len() < MAX {
                names.insert(OsString::from(name));
            }
        }
    }
    names
}

/// The entry of a template itself. One without instances is tried with a name of ours, so that mistakes show early.
pub(super) fn load(
    template: &OsStr,
    found: Found,
    facts: &Facts,
    has_instances: bool,
) -> Option<Loaded> {
    let lossy = template.to_string_lossy().into_owned();
    let (source, state, warnings) = match found {
        Found::Absent => return None,
        Found::Masked(source) => (source, LoadState::Masked, Vec::new()),
        Found::Sources(sources) => {
            let source = sources.first()?.path.clone();
            let rule = match template.to_str() {
                Some(name) => name::check_template(name),
                None => Err("the name of a template is UTF-8".into()),
            };
            match rule {
                Err(message) => {
                    let state = LoadState::Invalid {
                        problems: vec![Problem::of_file(&source, message)],
                        wanted_by: Vec::new(),
                    };
                    (source, state, Vec::new())
                }
                Ok(()) if has_instances => {
                    // Whether these are all of them nobody can tell from a text that is not understood.
                    let (problems, _) = merge(&lossy, &sources).problems.finish();
                    let state = match problems.is_empty() {
                        true => LoadState::Template,
                        false => LoadState::Invalid {
                            problems,
                            wanted_by: Vec::new(),
                        },
                    };
                    (source, state, Vec::new())
                }
                Ok(()) => {
                    let verdict = verdict_of(&format!("{lossy}{SAMPLE}"), &sources, facts);
                    let state = match verdict.state {
                        LoadState::Valid(_) => LoadState::Template,
                        other => other,
                    };
                    (source, state, verdict.warnings)
                }
            }
        }
    };
    Some(Loaded {
        name: lossy,
        source,
        unit: false,
        state,
        warnings,
    })
}

/// Which instances of one template have the same tree.
#[derive(Default)]
pub(super) struct SharedTrees(HashMap<(OsString, PathBuf), Vec<(String, Problem)>>);

impl SharedTrees {
    /// Remembers the tree of an instance. `root_at` is where it is named; an instance that names none has one of its own.
    pub(super) fn note(&mut self, loaded: &Loaded, root_at: Option<Problem>) {
        let LoadState::Valid(wanted) = &loaded.state else {
            return;
        };
        let (Some(template), Some(root), Some(at)) = (
            template_of(OsStr::new(&loaded.name)),
            wanted.spec.root.path.clone(),
            root_at,
        ) else {
            return;
        };
        let sharers = self.0.entry((template, root)).or_default();
        sharers.push((loaded.name.clone(), at));
    }

    /// Makes every instance invalid that would write to a tree which another instance has too. All of them, and not all
    /// but the first: that one would run until somebody sorts the others out, and keep them from starting.
    pub(super) fn refuse_writers(self, all: &mut [Loaded]) {
        let shared = self.0.into_values().filter(|sharers| sharers.len() > 1);
        let mut places: HashMap<String, Problem> = shared.flatten().collect();
        for loaded in all {
            let LoadState::Valid(wanted) = &loaded.state else {
                continue;
            };
            if wanted.spec.root.access != Access::Write {
                continue;
            }
            let Some(at) = places.remove(&loaded.name) else {
                continue;
            };
            let message = "instances cannot all write one tree; add Ephemeral=yes or ReadOnly=yes, or write %p@%i for a tree each";
            let problem = Problem {
                message: message.to_owned(),
                ..at
            };
            loaded.state = LoadState::Invalid {
                problems: vec![problem],
                wanted_by: wanted.wanted_by.clone(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of() {
        for (stem, template) in [
            ("web", None),
            ("web@", None),
            ("web@1", Some("web@")),
            ("a@b@c", Some("a@")),
        ] {
            assert_eq!(
                template_of(OsStr::new(stem)),
                template.map(OsString::from),
                "{stem}"
            );
        }
        assert!(is_template(OsStr::new("web@")) && !is_template(OsStr::new("web@1")));
    }
}
