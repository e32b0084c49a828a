//! Stores of the host: finds the system that a declaration names, keeps the collector away from it, and learns what of the
//! store the container is to see.
//!
//! Decides nothing: `plan::store` does. A link is followed at every start, so that an upgraded system boots at the next
//! one. What stands in a store comes from whoever may build there: files are read only when they are regular, only up to a
//! limit, and only where their links end in the store.

mod closure;
mod root;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use skep_spec::{ContainerSpec, Store};

pub use self::root::GcRoot;
use crate::host::os_release_field;
use crate::plan::store::{
    Program, SystemFacts, SystemPlan, View, parse_items, plan_system, program_in, store_of,
    system_of_script,
};
use crate::step::{At, StepError};
use crate::supervise::signals::Signals;

/// Programs and scripts of a store that are looked into.
const TEXT_LIMIT: u64 = 1 << 20;

/// A list of store paths: about 100,000 of them.
const LIST_LIMIT: u64 = 16 << 20;

/// What of a store a container uses; nothing at all for most.
#[derive(Debug, Default)]
pub struct Opened {
    /// How the system boots.
    pub system: Option<SystemPlan>,
    /// What the container sees.
    pub view: Option<View>,
    /// Keeps the system from being collected.
    pub kept: Option<GcRoot>,
}

/// Opens what `spec` names for container `name`. With `signals` this is a start: the system is protected from the
/// collector, and a stop ends the wait for the store's tool with nothing.
pub fn open(
    name: &str,
    spec: &ContainerSpec,
    signals: Option<&Signals>,
) -> Result<Option<Opened>, StepError> {
    let Some(declared) = &spec.system else {
        return open_view(spec).map(|view| {
            Some(Opened {
                view,
                ..Opened::default()
            })
        });
    };
    let own = match &spec.store {
        Some(Store::Whole(store)) => Some(store.as_path()),
        _ => None,
    };
    let (store, path) = resolve(declared, own)?;
    // Before anything of it is read: from here on it stays.
    let kept = signals.and_then(|_| GcRoot::register(name, &store, &path));
    let facts = system_facts(&store, &path)?;
    let items = match &spec.store {
        None | Some(Store::Whole(_)) => None,
        Some(Store::Listed(list)) => {
            let text = read_list(list)?;
            Some(parse_items(&text, &store, Some(&path), &list_name(list))?)
        }
        Some(Store::Computed) => {
            let Some(text) = closure::compute(&store, &path, signals)? else {
                return Ok(None);
            };
            Some(parse_items(&text, &store, Some(&path), "the closure")?)
        }
    };
    Ok(Some(Opened {
        system: Some(plan_system(&facts)?),
        view: Some(View { store, items }),
        kept,
    }))
}

/// The view of a container without a system.
fn open_view(spec: &ContainerSpec) -> Result<Option<View>, StepError> {
    match &spec.store {
        None => Ok(None),
        Some(Store::Whole(store)) => Ok(Some(View {
            store: store.clone(),
            items: None,
        })),
        Some(Store::Listed(list)) => {
            let text = read_list(list)?;
            let first = text.split_ascii_whitespace().next().unwrap_or_default();
            let store = store_of(Path::new(first), None).ok_or_else(|| {
                StepError::new("no store item in", list_name(list))
                    .cure("it begins with no path in /gnu/store or /nix/store")
            })?;
            let items = parse_items(&text, &store, None, &list_name(list))?;
            Ok(Some(View {
                store,
                items: Some(items),
            }))
        }
        Some(Store::Computed) => {
            Err(StepError::new("a closure without a system", "").cure("set System="))
        }
    }
}

/// The store and the item that `declared` leads to.
fn resolve(declared: &Path, own: Option<&Path>) -> Result<(PathBuf, PathBuf), StepError> {
    let object = format!("System={}", declared.display());
    let path = fs::canonicalize(declared)
        .at("open", &object)
        .map_err(|err| {
            if err.is(Errno::ENOENT) {
                err.cure("there is no such file, or its links lead nowhere")
            } else {
                err
            }
        })?;
    let Some(store) = store_of(&path, own) else {
        let what = format!("{object} leads to {}, which is not in", path.display());
        return Err(match own {
            Some(store) => StepError::new(what, store.display()),
            None => StepError::new(what, "/gnu/store or /nix/store")
                .cure("set Store= to the directory of another store"),
        });
    };
    if path.is_dir() {
        return Ok((store, path));
    }
    let text = read_inside(&store, &path).unwrap_or_default();
    let system = system_of_script(&text).map_err(|why| {
        StepError::new("not a system, nor a script that boots one:", &object).cure(why)
    })?;
    match fs::symlink_metadata(&system) {
        Ok(meta) if meta.is_dir() && store_of(&system, Some(&store)).is_some() => {
            Ok((store, system))
        }
        _ => {
            Err(StepError::new("no system at", system.display()).cure(format!("{object} names it")))
        }
    }
}

fn system_facts(store: &Path, path: &Path) -> Result<SystemFacts, StepError> {
    // After the collector was told: it may have been faster.
    fs::symlink_metadata(path).at("open", path.display())?;
    let boot = path.join("boot");
    let has = |name: &&str| fs::symlink_metadata(path.join(name)).is_ok();
    let os_release = read_inside(store, &path.join("etc/os-release"));
    Ok(SystemFacts {
        path: path.to_owned(),
        bare_metal: ["kernel", "initrd", "parameters"]
            .into_iter()
            .filter(has)
            .collect(),
        guile: guile(store, path, &boot),
        boot: program(store, &boot),
        init: program(store, &path.join("init")),
        os: os_release.and_then(|text| os_release_field(&text, "PRETTY_NAME")),
    })
}

/// The Guile of the system's profile, else the one that runs the Shepherd which the boot program names.
fn guile(store: &Path, system: &Path, boot: &Path) -> Option<PathBuf> {
    let runs = |path: &Path| program(store, path) == Some(Program::Direct);
    let own = system.join("profile/bin/guile");
    if runs(&own) {
        return Some(own);
    }
    let text = read_inside(store, boot)?;
    let shepherd = program_in(&text, store, "shepherd")?;
    let text = read_inside(store, shepherd)?;
    let first = text.lines().next().filter(|line| line.starts_with("#!"))?;
    let guile = program_in(first, store, "guile")?;
    runs(guile).then(|| guile.to_owned())
}

/// What kind of program `path` leads to, if it is one and in the store.
fn program(store: &Path, path: &Path) -> Option<Program> {
    let file = open_inside(store, path)?;
    let executable = file.metadata().ok()?.permissions().mode() & 0o111 != 0;
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start).ok()?;
    let direct = executable && (start.starts_with(b"#!") || start == b"\x7fELF");
    Some(if direct {
        Program::Direct
    } else {
        Program::Text
    })
}

fn read_inside(store: &Path, path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = open_inside(store, path)?;
    file.take(TEXT_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The regular file of the store that `path` leads to.
fn open_inside(store: &Path, path: &Path) -> Option<File> {
    let path = fs::canonicalize(path).ok()?;
    if !path.starts_with(store) {
        return None;
    }
    open_regular(&path, libc::O_NOFOLLOW).ok()
}

fn open_regular(path: &Path, flags: i32) -> Result<File, StepError> {
    // A fifo would hold the start.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags)
        .open(path)
        .at("open", path.display())?;
    let meta = file.metadata().at("stat", path.display())?;
    if meta.is_file() {
        Ok(file)
    } else {
        Err(StepError::new("not a regular file:", path.display()))
    }
}

fn list_name(list: &Path) -> String {
    format!("Closure={}", list.display())
}

fn read_list(list: &Path) -> Result<String, StepError> {
    let file = open_regular(list, 0).map_err(|err| StepError {
        object: list_name(list),
        ..err
    })?;
    let mut bytes = Vec::new();
    file.take(LIST_LIMIT + 1)
        .read_to_end(&mut bytes)
        .at("read", list_name(list))?;
    if bytes.len() as u64 > LIST_LIMIT {
        return Err(StepError::new("longer than 16 MiB:", list_name(list)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
