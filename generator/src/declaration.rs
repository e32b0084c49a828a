//! Declarations: from the files of four directories to what the user wrote, and on to validated containers.
//!
//! Owns finding, reading, merging and the public entry points. Reads only, changes nothing, talks to nobody. What the
//! values mean for a container is decided in `validate`; facts about the host come in as [`Facts`].

mod claims;
pub(crate) mod dropin;
pub(crate) mod file;
pub(crate) mod ini;
pub(crate) mod instances;
pub mod keys;
pub mod specifier;
pub(crate) mod suggest;
pub(crate) mod value;
pub(crate) mod words;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use skep_spec::Users;

use crate::name;
use crate::problem::{Origin, Problem, ProblemList};
use crate::validate::{Verdict, validate};
use crate::wanted::{Ids, Wanted};
use dropin::{Found, Search, Source};
use instances::SharedTrees;
use keys::{KeyRow, Section};

/// Where declarations are looked for. For each name the first hit wins.
pub const DIRECTORIES: [&str; 4] = [
    "/etc/skep",
    "/run/skep",
    "/usr/local/lib/skep",
    "/usr/lib/skep",
];

/// A declaration that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Container name; when `unit` is false just something to call the entry by.
    pub name: String,
    /// The file, or the directory in question.
    pub source: PathBuf,
    /// Whether a unit can stand for it. False for templates, for files whose name makes no unit name, for drop-ins without
    /// a declaration and for directories that cannot be read: these have problems but nothing to start.
    pub unit: bool,
    /// What came of it.
    pub state: LoadState,
    /// Problems that do not keep it from being used.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Whether container `name` may be declared where this could not be read: anything may be in a directory, and a wrong
    /// template may have any instance.
    pub fn hides(&self, name: &str) -> bool {
        if self.unit || !matches!(self.state, LoadState::Invalid { .. }) {
            return false;
        }
        let is_directory = |inside: &str| self.source.ends_with(inside.trim_start_matches('/'));
        DIRECTORIES.into_iter().any(is_directory)
            || instances::template_of(OsStr::new(name)).as_deref() == Some(OsStr::new(&self.name))
    }
}

/// What came of a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadState {
    /// Switched off with a link to /dev/null or an empty file; nothing is wanted.
    Masked,
    /// A template, in order as far as that can be told: its instances have entries of their own.
    Template,
    /// Everything is in order.
    Valid(Box<Wanted>),
    /// Something is wrong.
    Invalid {
        /// All of it, in file order.
        problems: Vec<Problem>,
        /// `[Install]` as far as it could be read, so that the failure shows at boot where the container would be.
        wanted_by: Vec<String>,
    },
}

/// One assignment that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedLine {
    /// Section, without brackets.
    pub section: String,
    /// Key, without `=`.
    pub key: String,
    /// Value as written, continuation lines joined, specifiers not expanded.
    pub value: String,
    /// File it stands in.
    pub path: PathBuf,
    /// First line of the assignment.
    pub line: u32,
}

/// What a declaration's meaning depends on besides its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Version of the running manager; unknown when `None`, and then no property is refused for its age.
    pub systemd: Option<u32>,
    /// Host name: `%H`.
    pub hostname: String,
    /// Machine id, 32 hex digits: `%m`.
    pub machine_id: Option<String>,
    /// Boot id, 32 hex digits: `%b`.
    pub boot_id: String,
    /// Kernel release: `%v`.
    pub kernel: String,
}

impl Facts {
    /// The facts of this host.
    pub fn of_host(systemd: Option<u32>) -> Facts {
        let line = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let machine_id = line("/etc/machine-id");
        let is_id =
            machine_id.len() == 32 && machine_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Facts {
            systemd,
            hostname: line("/proc/sys/kernel/hostname"),
            machine_id: is_id.then_some(machine_id),
            boot_id: line("/proc/sys/kernel/random/boot_id").replace('-', ""),
            kernel: line("/proc/sys/kernel/osrelease"),
        }
    }
}

/// All assignments of one container, in merge order, and the problems so far.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: ProblemList,
}

/// An assignment of a known key.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) origin: Origin,
    pub(crate) row: &'static KeyRow,
    pub(crate) value: String,
}

/// Loads every declaration below `root`, sorted by name.
pub fn load_all(root: &Path, facts: &Facts) -> Vec<Loaded> {
    let mut search = Search::new(root);
    let mut all = Vec::new();
    let mut ranges = Ranges::default();
    let (templates, mut stems): (BTreeSet<_>, BTreeSet<_>) = search
        .stems()
        .into_iter()
        .partition(|stem| instances::is_template(stem));
    for template in &templates {
        let found = search.find(template);
        stems.extend(instances::named(&found, template));
        let is_instance = |stem: &OsString| instances::template_of(stem).as_ref() == Some(template);
        let has_instances = stems.iter().any(is_instance);
        all.extend(instances::load(template, found, facts, has_instances));
    }
    let mut trees = SharedTrees::default();
    for stem in &stems {
        let found = match instances::template_of(stem) {
            Some(_) => instances::find(&mut search, stem),
            None => search.find(stem),
        };
        let loaded = load_found(stem, found, facts, Some(&mut ranges));
        all.extend(loaded.map(|(one, root_at)| {
            trees.note(&one, root_at);
            one
        }));
    }
    trees.refuse_writers(&mut all);
    // A directory of drop-ins of a template serves the instances that have files of their own.
    let served: BTreeSet<OsString> = stems
        .iter()
        .filter_map(|one| instances::template_of(one))
        .collect();
    stems.extend(templates.into_iter().chain(served));
    all.extend(search.problems().map(|problem| beside(problem, false)));
    all.extend(
        search
            .orphans(&stems)
            .into_iter()
            .map(|problem| beside(problem, true)),
    );
    all.sort_by(|a, b| a.name.cmp(&b.name));
    claims::warn(&mut all);
    all
}

/// Loads one file as if it were the declaration of its name: drop-ins apply, files of the same name elsewhere do not.
pub fn load_file(path: &Path, root: &Path, facts: &Facts) -> Loaded {
    let Some(stem) = path
        .file_name()
        .and_then(|name| dropin::stem(name, ".container"))
    else {
        return beside(
            Problem::of_file(path, "the name of a declaration ends in .container"),
            false,
        );
    };
    let found = Search::new(root).find_file(path, &stem);
    let absent = || beside(Problem::of_file(path, "No such file or directory"), false);
    let loaded = match instances::is_template(&stem) {
        true => instances::load(&stem, found, facts, false),
        false => load_found(&stem, found, facts, None).map(|(one, _)| one),
    };
    loaded.unwrap_or_else(absent)
}

/// The assignments of container `name` that are in force, for reading. `None` when nothing declares it; nothing stands
/// in a masked declaration.
pub fn merged(root: &Path, name: &str) -> Option<Result<Vec<MergedLine>, Vec<Problem>>> {
    let sources = match instances::find(&mut Search::new(root), OsStr::new(name)) {
        Found::Absent => return None,
        Found::Masked(_) => return Some(Ok(Vec::new())),
        Found::Sources(sources) => sources,
    };
    let declaration = merge(name, &sources);
    let mut kept: Vec<&Setting> = Vec::new();
    for setting in &declaration.settings {
        // Before anything is added, what the assignment replaces is dropped.
        if !setting.row.is_list() || setting.value.is_empty() {
            kept.retain(|other| !std::ptr::eq(other.row, setting.row));
        }
        if !setting.value.is_empty() {
            kept.push(setting);
        }
    }
    kept.sort_by_key(|setting| setting.row.section);
    let line = |setting: &Setting| MergedLine {
        section: setting.row.section.name().to_owned(),
        key: setting.row.name.to_owned(),
        value: setting.value.clone(),
        path: declaration.problems.path(setting.origin.file),
        line: setting.origin.line,
    };
    let lines = kept.into_iter().map(line).collect();
    let (errors, _) = declaration.problems.finish();
    Some(if errors.is_empty() {
        Ok(lines)
    } else {
        Err(errors)
    })
}

/// An entry for something that is no declaration but deserves a word.
fn beside(problem: Problem, harmless: bool) -> Loaded {
    let source = problem.path.clone();
    let name = source
        .file_name()
        .unwrap_or(source.as_os_str())
        .to_string_lossy()
        .into_owned();
    let (state, warnings) = if harmless {
        (LoadState::Masked, vec![problem.as_warning()])
    } else {
        (
            LoadState::Invalid {
                problems: vec![problem],
                wanted_by: Vec::new(),
            },
            Vec::new(),
        )
    };
    Loaded {
        name,
        source,
        unit: false,
        state,
        warnings,
    }
}

fn load_found(
    stem: &OsStr,
    found: Found,
    facts: &Facts,
    ranges: Option<&mut Ranges>,
) -> Option<(Loaded, Option<Problem>)> {
    let (source, sources) = match found {
        Found::Absent => return None,
        Found::Masked(source) => (source, None),
        Found::Sources(sources) => (sources.first()?.path.clone(), Some(sources)),
    };
    let lossy = stem.to_string_lossy().into_owned();
    let rule = match stem.to_str() {
        Some(name) => name::check(name),
        None => Err("a container's name is UTF-8".into()),
    };
    let unit = rule.is_ok();
    let mut root_at = None;
    let (state, warnings) = match (rule, sources) {
        (_, None) => (LoadState::Masked, Vec::new()),
        (Err(message), _) => {
            let problems = vec![Problem::of_file(&source, message)];
            (
                LoadState::Invalid {
                    problems,
                    wanted_by: Vec::new(),
                },
                Vec::new(),
            )
        }
        (Ok(()), Some(sources)) => {
            let mut verdict = verdict_of(&lossy, &sources, facts);
            root_at = verdict.root_at.take();
            if let Some(ranges) = ranges {
                ranges.claim(&mut verdict);
            }
            (verdict.state, verdict.warnings)
        }
    };
    let loaded = Loaded {
        name: lossy,
        source,
        unit,
        state,
        warnings,
    };
    Some((loaded, root_at))
}

fn verdict_of(name: &str, sources: &[Source], facts: &Facts) -> Verdict {
    validate(merge(name, sources), facts)
}

/// Puts the assignments of all files together and looks their keys up.
fn merge(name: &str, sources: &[Source]) -> Declaration {
    let source = sources
        .first()
        .map(|source| source.path.clone())
        .unwrap_or_default();
    let mut declaration = Declaration {
        name: name.to_owned(),
        source,
        settings: Vec::new(),
        problems: ProblemList::default(),
    };
    for source in sources {
        let file = declaration.problems.add_file(&source.path);
        match &source.text {
            Ok(text) => add_text(&mut declaration, file, text),
            Err(message) => declaration.problems.error_of_file(file, message.clone()),
        }
    }
    declaration
}

fn add_text(declaration: &mut Declaration, file: usize, text: &ini::Text) {
    let problems = &mut declaration.problems;
    for flaw in &text.flaws {
        problems.error(
            Origin {
                file,
                line: flaw.line,
            },
            None,
            || flaw.message.clone(),
        );
    }
    problems.count_more(file, text.more);
    let mut sections: Vec<Option<Section>> = Vec::with_capacity(text.sections.len());
    for header in &text.sections {
        let known = keys::section(&header.name);
        if let (Err(message), false) = (&known, header.name.starts_with("X-")) {
            problems.error(
                Origin {
                    file,
                    line: header.line,
                },
                None,
                || message.clone(),
            );
        }
        sections.push(known.ok());
    }
    for entry in &text.entries {
        let Some(section) = sections.get(entry.section).copied().flatten() else {
            continue;
        };
        if entry.key.starts_with("X-") {
            continue;
        }
        let origin = Origin {
            file,
            line: entry.line,
        };
        match keys::find(section, &entry.key) {
            Some(row) => declaration.settings.push(Setting {
                origin,
                row,
                value: entry.value.clone(),
            }),
            None => problems.error(origin, Some(&entry.key), || {
                keys::explain(section, &entry.key)
            }),
        }
    }
}

/// Which declaration has which range of ids.
#[derive(Default)]
struct Ranges(HashMap<u32, String>);

impl Ranges {
    /// Takes the range that a declaration names. A second declaration of it becomes invalid: two containers with equal
    /// ids could touch each other's files.
    fn claim(&mut self, verdict: &mut Verdict) {
        let LoadState::Valid(wanted) = &verdict.state else {
            return;
        };
        let (Ids::Given, Users::Private { base }) = (wanted.ids, wanted.spec.users) else {
            return;
        };
        let Some(at) = verdict.users_at.take() else {
            return;
        };
        let place = format!(
            "{}:{}",
            crate::problem::shown(&at.path),
            at.line.unwrap_or_default()
        );
        if let Some(other) = self.0.get(&base) {
            let last = u64::from(base) + u64::from(skep_spec::ID_RANGE) - 1;
            let message = format!("host ids {base}-{last} are used by {other} too");
            let problems = vec![Problem { message, ..at }];
            verdict.state = LoadState::Invalid {
                problems,
                wanted_by: wanted.wanted_by.clone(),
            };
        } else {
            self.0.insert(base, place);
        }
    }
}
