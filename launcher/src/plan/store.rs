//! Systems that boot from a store: what is known about one, how it boots, and what of the store its container sees.
//!
//! A store is a directory of immutable items, `HASH-NAME`, that refer to each other by absolute path, so the container has
//! its items at the same paths. The texts of a store come from whoever may build there: names are checked, and paths in
//! them are only ever looked up in the store itself.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use skep_spec::ContainerSpec;

use crate::plan::LaunchPlan;
use crate::plan::init::InitKind;
use crate::plan::mounts::MountOp;
use crate::step::StepError;

/// Stores that are known by their place.
pub const STORES: [&str; 2] = [GUIX_STORE, NIX_STORE];

/// Guix' store.
pub const GUIX_STORE: &str = "/gnu/store";

/// Nix' store.
pub const NIX_STORE: &str = "/nix/store";

/// Items of one closure: each is a mount, of which the kernel allows 100,000 (`fs.mount-max`).
const MAX_ITEMS: usize = 50_000;

/// Directories that an init of a store expects and an empty root lacks. `/run`, `/proc`, `/sys` and `/dev` are mounted.
const DIRECTORIES: [(&str, u32); 6] = [
    ("/bin", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/root", 0o700),
    ("/tmp", 0o1777),
    ("/var", 0o755),
];

/// A system in a store, as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemFacts {
    /// The item itself, all links resolved.
    pub path: PathBuf,
    /// What is in it of `kernel`, `initrd` and `parameters`.
    pub bare_metal: Vec<&'static str>,
    /// `boot`, Guix' boot program.
    pub boot: Option<Program>,
    /// `init`, NixOS' second stage.
    pub init: Option<Program>,
    /// The Guile that runs a boot program which cannot run itself, where there is one.
    pub guile: Option<PathBuf>,
    /// `PRETTY_NAME=` of its os-release.
    pub os: Option<String>,
}

/// Whether a program can be executed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Executable, and a binary or a script with a `#!` line.
    Direct,
    /// Text for an interpreter.
    Text,
}

/// Which kind of system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Guix System: a boot program that ends as the Shepherd.
    Guix,
    /// NixOS: a second stage that ends as systemd.
    Nix,
}

/// How a system of a store boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemPlan {
    /// The item.
    pub path: PathBuf,
    /// What it is.
    pub flavour: Flavour,
    /// Program and arguments of the first process.
    pub argv: Vec<String>,
    /// `PRETTY_NAME=` of its os-release.
    pub os: Option<String>,
}

/// What the container sees of a store, read-only at the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The store directory.
    pub store: PathBuf,
    /// The names of the items, in order; all of them when absent.
    pub items: Option<Vec<String>>,
}

impl SystemPlan {
    /// The init as the tree's facts have it.
    pub fn init(&self) -> (PathBuf, InitKind) {
        let program = self.argv.first().map(PathBuf::from).unwrap_or_default();
        let kind = match self.flavour {
            Flavour::Guix => InitKind::Shepherd,
            Flavour::Nix => InitKind::Systemd,
        };
        (program, kind)
    }
}

/// Decides how a system boots, or why it cannot.
pub fn plan_system(facts: &SystemFacts) -> Result<SystemPlan, StepError> {
    let object = || format!("System={}", facts.path.display());
    let path = |name: &str| facts.path.join(name).to_string_lossy().into_owned();
    let flavour = match (facts.boot, facts.init) {
        (Some(_), _) => Flavour::Guix,
        (None, Some(_)) => Flavour::Nix,
        (None, None) => {
            return Err(StepError::new("no system in", object())
                .cure("it has neither boot (Guix) nor init (NixOS)"));
        }
    };
    if !facts.bare_metal.is_empty() {
        let cure = match flavour {
            Flavour::Guix => {
                "build it with \"guix system container config.scm\" and set System= to the script that prints"
            }
            Flavour::Nix => "build it with boot.isContainer = true",
        };
        let what = format!(
            "made for a machine of its own, with {}:",
            facts.bare_metal.join(", ")
        );
        return Err(StepError::new(what, object()).cure(cure));
    }
    let argv = match (facts.boot, facts.init, &facts.guile) {
        (Some(Program::Direct), ..) => vec![path("boot")],
        (Some(Program::Text), _, Some(guile)) => vec![
            guile.to_string_lossy().into_owned(),
            "--no-auto-compile".to_owned(),
            path("boot"),
        ],
        (Some(Program::Text), _, None) => {
            return Err(StepError::new("no Guile to run", path("boot"))
                .cure("neither the system's profile nor its Shepherd names one"));
        }
        (None, Some(Program::Direct), _) => vec![path("init")],
        (None, ..) => {
            return Err(StepError::new("not an executable program:", path("init")));
        }
    };
    Ok(SystemPlan {
        path: facts.path.clone(),
        flavour,
        argv,
        os: facts.os.clone(),
    })
}

/// Adds to `plan` what a store and a system in it need. The init is planned already, from [`SystemPlan::init`].
pub fn add_store(
    plan: &mut LaunchPlan,
    spec: &ContainerSpec,
    system: Option<SystemPlan>,
    view: Option<View>,
) {
    // First: the declaration's own mounts may then cover parts of it.
    let mut ops = Vec::new();
    if system.is_some() {
        let directory = |(path, mode): (&str, u32)| MountOp::Directory {
            path: path.into(),
            mode,
        };
        ops.extend(DIRECTORIES.map(directory));
    }
    ops.extend(view.map(MountOp::Store));
    plan.mounts.splice(0..0, ops);
    if let Some(system) = system {
        plan.os = system.os.clone().or_else(|| plan.os.take());
        plan.init.argv.splice(0..1, system.argv.iter().cloned());
        if system.flavour == Flavour::Guix {
            plan.init.environment = guix_environment(plan, spec, &system);
        }
        plan.system = Some(system);
    }
}

/// What a Guix boot program has: nothing beyond what it needs, and the declaration's own.
fn guix_environment(plan: &LaunchPlan, spec: &ContainerSpec, system: &SystemPlan) -> Vec<String> {
    const KEPT: [&str; 4] = ["HOME", "PATH", "TERM", "container"];
    let declared = |name: &str| {
        spec.environment
            .iter()
            .any(|variable| variable.name == name)
            || spec.pass_environment.iter().any(|passed| passed == name)
    };
    let kept = |entry: &&String| {
        let name = entry
            .split_once('=')
            .map_or(entry.as_str(), |(name, _)| name);
        KEPT.contains(&name)
            || declared(name)
            || (name == "NOTIFY_SOCKET" && spec.notify_ready == Some(true))
    };
    let own = [
        ("TMPDIR", "/tmp".into()),
        ("GUIX_NEW_SYSTEM", system.path.to_string_lossy()),
    ];
    let own = own
        .into_iter()
        .filter(|(name, _)| {
            !spec
                .environment
                .iter()
                .any(|variable| variable.name == *name)
        })
        .map(|(name, value)| format!("{name}={value}"));
    plan.init
        .environment
        .iter()
        .filter(kept)
        .cloned()
        .chain(own)
        .collect()
}

/// The store directory that `path` is an item of: `declared`, or a known one.
pub fn store_of(path: &Path, declared: Option<&Path>) -> Option<PathBuf> {
    let parent = path.parent()?;
    let known = match declared {
        Some(store) => parent == store,
        None => STORES.iter().any(|store| parent == Path::new(store)),
    };
    let name = path.file_name()?.to_str()?;
    (known && is_item(name)).then(|| parent.to_owned())
}

/// Whether `name` may be an item of a store: the characters that Nix and Guix allow, and no hidden file.
fn is_item(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

/// The system that a script made by `guix system container` boots: the one path of an item named `-system` in its text.
pub fn system_of_script(text: &str) -> Result<PathBuf, String> {
    let start = format!("{GUIX_STORE}/");
    let found: BTreeSet<&str> = text
        .match_indices(&start)
        .filter_map(|(at, _)| {
            let rest = text.get(at + start.len()..)?;
            let end = rest
                .find(|c: char| !is_item(&format!("x{c}")))
                .unwrap_or(rest.len());
            rest.get(..end)
                .filter(|name| name.ends_with("-system") && is_item(name))
        })
        .collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(Path::new(GUIX_STORE).join(name)),
        (None, _) => Err("it names no item of the store that ends in -system".into()),
        (Some(one), Some(other)) => {
            Err(format!("it names more than one system: {one} and {other}"))
        }
    }
}

/// The program of that name in a store that stands first in `text`, such as the Shepherd of a boot program.
pub fn program_in<'a>(text: &'a str, store: &Path, program: &str) -> Option<&'a Path> {
    let end = format!("/bin/{program}");
    text.split(|c: char| c.is_whitespace() || "\"'()!#".contains(c))
        .map(Path::new)
        .find(|path| {
            let item = path.ancestors().nth(2);
            path.to_str().is_some_and(|text| text.ends_with(&end))
                && item.is_some_and(|item| store_of(item, Some(store)).is_some())
        })
}

/// The items that a text lists, separated by white space. `system` must be among them. `source` names the text.
pub fn parse_items(
    text: &str,
    store: &Path,
    system: Option<&Path>,
    source: &str,
) -> Result<Vec<String>, StepError> {
    let mut items = BTreeSet::new();
    for word in text.split_ascii_whitespace() {
        let path = Path::new(word);
        let name = store_of(path, Some(store)).and_then(|_| path.file_name()?.to_str());
        let Some(name) = name else {
            let word = crate::log::printable(word, 128);
            let what = format!("{source}: not an item of {}:", store.display());
            return Err(StepError::new(what, format_args!("{word:?}")));
        };
        items.insert(name.to_owned());
        if items.len() > MAX_ITEMS {
            return Err(StepError::new("too many items in", source)
                .cure(format!("{MAX_ITEMS} can be mounted; use Store=yes")));
        }
    }
    let name = system
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    match (system, name) {
        (Some(system), Some(name)) if !items.contains(name) => {
            Err(StepError::new("the system itself is not in", source)
                .cure(format!("add {}", system.display())))
        }
        _ if items.is_empty() => Err(StepError::new("no store item in", source)),
        _ => Ok(items.into_iter().collect()),
    }
}

impl fmt::Display for SystemPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flavour = match self.flavour {
            Flavour::Guix => "Guix System",
            Flavour::Nix => "NixOS",
        };
        writeln!(f, "system {} ({flavour})", self.path.display())
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store.display();
        match &self.items {
            None => write!(f, "store {store} ro, all of it"),
            Some(items) => write!(f, "store {store} ro, {} items", items.len()),
        }
    }
}

#[cfg(test)]
mod tests;
