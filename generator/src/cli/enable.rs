//! `skep enable` and `skep disable`: a drop-in with `[Install]`.
//!
//! `systemctl enable` turns transient units down, so the declaration itself says what starts it. Nothing is applied
//! afterwards: no property of a unit comes from `[Install]`, `skep boot` reads it, and so both verbs work without a bus.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::apply::Layout;
use crate::declaration::{Facts, LoadState, Loaded, load_all};
use crate::name;
use crate::problem::shown;
use crate::report;

use super::{FAILED, OK};

const FILE: &str = "50-skep-enable.conf";
const ENABLED: &str = "# Written by \"skep enable\".\n[Install]\nWantedBy=machines.target\n";
const DISABLED: &str =
    "# Written by \"skep disable\".\n[Install]\nWantedBy=\nRequiredBy=\nUpheldBy=\n";

/// `skep enable`
pub(super) fn enable(layout: &Layout, names: &[String]) -> u8 {
    each(names, |name| enable_one(&layout.root, name))
}

/// `skep disable`
pub(super) fn disable(layout: &Layout, names: &[String]) -> u8 {
    each(names, |name| disable_one(&layout.root, name))
}

fn each(names: &[String], change: impl Fn(&str) -> Result<String, String>) -> u8 {
    let mut status = OK;
    for name in names {
        match change(name) {
            Ok(message) => report::line(&message),
            Err(message) => {
                report::error_line(&format!("{name}: {message}"));
                status = FAILED;
            }
        }
    }
    status
}

fn enable_one(root: &Path, name: &str) -> Result<String, String> {
    instantiate(root, name)?;
    let wanted_by = wanted_by(root, name)?;
    if !wanted_by.is_empty() {
        return Ok(format!(
            "{name} already starts with {}",
            wanted_by.join(" ")
        ));
    }
    let file = dropin(root, name);
    if fs::read_to_string(&file).is_ok_and(|text| text == DISABLED) {
        remove(&file)?;
        if let Some(targets) =
            Some(self::wanted_by(root, name)?).filter(|targets| !targets.is_empty())
        {
            return Ok(format!("{name} starts with {}", targets.join(" ")));
        }
    }
    write(&file, ENABLED)?;
    expect(root, name, true, &file)?;
    Ok(format!(
        "{name} starts with machines.target ({})",
        shown(&file)
    ))
}

/// Makes an instance that there is not yet: a link to its template, which it returns.
pub(super) fn instantiate(root: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let Some((prefix, _)) = name::instance(name) else {
        return Ok(None);
    };
    let all = load_all(root, &Facts::of_host(None));
    let template = format!("{prefix}@");
    let is_template = |one: &&Loaded| one.name == template && one.state != LoadState::Masked;
    let Some(template) = all.iter().find(is_template) else {
        return Ok(None);
    };
    if all.iter().any(|one| one.name == name) {
        return Ok(None);
    }
    let directory = root.join("etc/skep");
    let link = directory.join(format!("{name}.container"));
    // Beside the template a relative link; for one elsewhere its path on the host.
    let source = &template.source;
    let to = match source.strip_prefix(&directory) {
        Ok(file) => file.to_owned(),
        Err(_) => Path::new("/").join(source.strip_prefix(root).unwrap_or(source)),
    };
    fs::create_dir_all(&directory)
        .and_then(|()| std::os::unix::fs::symlink(to, &link))
        .map_err(|error| format!("{}: {error}", shown(&link)))?;
    Ok(Some(link))
}

fn disable_one(root: &Path, name: &str) -> Result<String, String> {
    if wanted_by(root, name)?.is_empty() {
        return Ok(format!("{name} does not start at boot"));
    }
    let file = dropin(root, name);
    if fs::read_to_string(&file).is_ok_and(|text| text == ENABLED) {
        remove(&file)?;
        if wanted_by(root, name)?.is_empty() {
            return Ok(format!("{name} no longer starts at boot"));
        }
    }
    write(&file, DISABLED)?;
    expect(root, name, false, &file)?;
    Ok(format!(
        "{name} no longer starts at boot ({})",
        shown(&file)
    ))
}

/// Takes back what `enable` and `disable` wrote: the container is no longer there.
pub(super) fn withdraw(root: &Path, name: &str) -> Result<(), String> {
    let file = dropin(root, name);
    let ours = fs::read_to_string(&file).is_ok_and(|text| text == ENABLED || text == DISABLED);
    if ours { remove(&file) } else { Ok(()) }
}

/// Whether the drop-in does what it should: one with a later name may undo it.
fn expect(root: &Path, name: &str, enabled: bool, file: &Path) -> Result<(), String> {
    match wanted_by(root, name)?.is_empty() {
        empty if empty != enabled => Ok(()),
        _ => Err(format!(
            "another drop-in overrides {}; see \"skep cat --origin {name}\"",
            shown(file)
        )),
    }
}

/// What starts a container now.
fn wanted_by(root: &Path, name: &str) -> Result<Vec<String>, String> {
    let loaded = load_all(root, &Facts::of_host(None))
        .into_iter()
        .find(|one| one.name == name);
    match loaded.map(|one| one.state) {
        None => Err("not declared".to_owned()),
        Some(LoadState::Template) => Err("it is a template".to_owned()),
        Some(LoadState::Masked) => Err("its declaration is masked".to_owned()),
        Some(LoadState::Valid(wanted)) => Ok(wanted.wanted_by),
        Some(LoadState::Invalid { wanted_by, .. }) => Ok(wanted_by),
    }
}

fn dropin(root: &Path, name: &str) -> PathBuf {
    root.join(format!("etc/skep/{name}.container.d")).join(FILE)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let written: io::Result<()> = (|| {
        fs::create_dir_all(directory)?;
        let mut temporary = NamedTempFile::new_in(directory)?;
        temporary.write_all(text.as_bytes())?;
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        temporary.persist(file)?;
        Ok(())
    })();
    written.map_err(|error| format!("{}: {error}", shown(file)))
}

fn remove(file: &Path) -> Result<(), String> {
    fs::remove_file(file).map_err(|error| format!("{}: {error}", shown(file)))?;
    if let Some(directory) = file.parent() {
        // Fails while the administrator has drop-ins of their own there.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}
