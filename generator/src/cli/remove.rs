//! `skep remove`: the tree of a container, and with `--declaration` the container.
//!
//! What is refused is refused before anything is removed. The tree goes first: when that fails, its declaration still says
//! whose it is.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use skep_spec::{ContainerSpec, Upper};

use crate::apply::{Failed, Layout, release};
use crate::declaration::{Facts, LoadState, Loaded, load_all};
use crate::manager::Systemd;
use crate::problem::{escaped, shown};
use crate::report;
use crate::tree::{self, Interrupts, TREES, leftover};
use crate::unit::unit_name;

use super::enable::withdraw;
use super::{FAILED, OK, RemoveArgs, USAGE};

/// `skep remove`
pub(super) fn remove(layout: &Layout, arguments: &RemoveArgs) -> u8 {
    let name = arguments.name.as_str();
    let all = load_all(&layout.root, &Facts::of_host(None));
    let planned = plan(layout, arguments, &all);
    let plan = match planned {
        Ok(plan) => plan,
        Err(message) => return failed(name, &message),
    };
    match confirmed(arguments, &plan) {
        Ok(true) => {}
        Ok(false) => return failed(name, "nothing was removed"),
        Err(message) => {
            report::error_line(&message);
            return USAGE;
        }
    }
    match carry_out(layout, name, &plan) {
        Ok(()) => OK,
        Err(message) => failed(name, &message),
    }
}

fn failed(name: &str, message: &str) -> u8 {
    report::error_line(&format!("{name}: {message}"));
    FAILED
}

/// What goes.
struct Plan {
    tree: Option<PathBuf>,
    declaration: Option<PathBuf>,
}

fn plan(layout: &Layout, arguments: &RemoveArgs, all: &[Loaded]) -> Result<Plan, String> {
    let name = arguments.name.as_str();
    let own = all.iter().find(|one| one.name == name);
    if running(name)? {
        let unit = unit_name(name);
        return Err(format!("it runs; stop it first: systemctl stop {unit}"));
    }
    let tree = match arguments.keep_tree {
        true => None,
        false => Some(tree_of(name, own.map(|one| &one.state))?),
    };
    if let Some(tree) = &tree {
        refuse_users(name, tree, all)?;
    }
    let declaration = match (arguments.declaration, own) {
        (true, Some(own)) => Some(own_file(layout, name, own)?),
        _ => None,
    };
    if arguments.keep_tree && declaration.is_none() {
        return Err("it is not declared".to_owned());
    }
    Ok(Plan { tree, declaration })
}

/// Whether the unit is in use. Without a bus nothing of systemd's runs, and the tree's locks tell the rest.
fn running(name: &str) -> Result<bool, String> {
    zbus::block_on(async {
        let Ok(systemd) = Systemd::connect().await else {
            return Ok(false);
        };
        match systemd.state(&unit_name(name)).await {
            Ok(unit) => Ok(!matches!(unit.active.as_str(), "inactive" | "failed")),
            Err(error) if error.is_answer() => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// The tree that a declaration names, or that has the container's name.
fn tree_of(name: &str, state: Option<&LoadState>) -> Result<PathBuf, String> {
    match state {
        Some(LoadState::Valid(wanted)) => match wanted.spec.root.path.as_deref() {
            None => Err("it has no tree of its own: see --keep-tree".to_owned()),
            Some(root) if root == Path::new("/") => {
                Err("its tree is this host's own OS: see --keep-tree".to_owned())
            }
            Some(root) => Ok(root.to_owned()),
        },
        Some(LoadState::Invalid { .. }) => Err(format!(
            "its declaration is wrong, so nobody knows which tree it means; see \"skep check\", or remove the declaration and name the tree by {TREES}/{name}"
        )),
        Some(LoadState::Masked | LoadState::Template) | None => {
            let places =
                ["", ".raw"].map(|suffix| Path::new(TREES).join(format!("{name}{suffix}")));
            let there =
                |path: &PathBuf| fs::symlink_metadata(path).is_ok() || leftover(path).is_some();
            let found = places.iter().find(|path| there(path));
            found
                .cloned()
                .ok_or_else(|| format!("there is no {TREES}/{name}"))
        }
    }
}

/// Fails when another declaration needs what is at or below the tree, or has a tree that holds it.
fn refuse_users(name: &str, tree: &Path, all: &[Loaded]) -> Result<(), String> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let tree = real(tree);
    let mut users = Vec::new();
    for one in all.iter().filter(|one| one.name != name) {
        match &one.state {
            LoadState::Valid(wanted) => {
                let holds = |path: &Path| path != Path::new("/") && tree.starts_with(real(path));
                let root = wanted.spec.root.path.as_deref();
                if root.is_some_and(holds)
                    || paths(&wanted.spec).any(|path| real(path).starts_with(&tree))
                {
                    users.push(one.name.as_str());
                }
            }
            LoadState::Invalid { .. } if one.unit => report::warning(&format!(
                "{} is wrong: whether it needs {} is not known",
                shown(&one.source),
                shown(&tree)
            )),
            LoadState::Invalid { .. } | LoadState::Masked | LoadState::Template => {}
        }
    }
    match users.as_slice() {
        [] => Ok(()),
        users => Err(format!(
            "{} is also used by {}; --declaration --keep-tree removes the container alone",
            shown(&tree),
            users.join(", ")
        )),
    }
}

/// Every path of the host that a container needs.
fn paths(spec: &ContainerSpec) -> impl Iterator<Item = &Path> {
    let overlays = spec.overlays.iter().flat_map(|overlay| {
        let upper = match &overlay.upper {
            Upper::Directory(path) => Some(path),
            Upper::Memory | Upper::ReadOnly => None,
        };
        overlay.lower.iter().chain(upper)
    });
    let root = spec.root.path.iter().chain(&spec.root.template);
    let binds = spec.binds.iter().map(|bind| &bind.source);
    root.chain(binds)
        .chain(overlays)
        .chain(&spec.system)
        .map(PathBuf::as_path)
}

/// The file in /etc/skep that declares the container. One of a package, or a template's word, is not ours to remove.
fn own_file(layout: &Layout, name: &str, own: &Loaded) -> Result<PathBuf, String> {
    let file = layout.root.join(format!("etc/skep/{name}.container"));
    match fs::symlink_metadata(&file) {
        Ok(_) => Ok(file),
        Err(_) => Err(format!(
            "declared by {}, which is not its own file in /etc/skep; to switch it off: ln -s /dev/null /etc/skep/{name}.container",
            shown(&own.source)
        )),
    }
}

/// Asks; an error when there is nobody to ask.
fn confirmed(arguments: &RemoveArgs, plan: &Plan) -> Result<bool, String> {
    if arguments.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err("nobody to ask: add --yes to remove without a question".to_owned());
    }
    let things: Vec<String> = [&plan.tree, &plan.declaration]
        .into_iter()
        .flatten()
        .map(|path| shown(path))
        .collect();
    let question = format!("Remove {} for good? [y/N] ", things.join(" and "));
    // Without an answer nothing happens.
    let _ = write!(io::stderr(), "{}", escaped(&question));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let word = answer.trim().to_ascii_lowercase();
    Ok(read.is_ok() && (word == "y" || word == "yes"))
}

fn carry_out(layout: &Layout, name: &str, plan: &Plan) -> Result<(), String> {
    if let Some(tree) = &plan.tree {
        let is_there = fs::symlink_metadata(tree).is_ok() || leftover(tree).is_some();
        if is_there || plan.declaration.is_none() {
            let removed = Interrupts::hold().and_then(|interrupts| tree::remove(tree, &interrupts));
            removed.map_err(|error| error.to_string())?;
            report::line(&format!("removed {}", shown(tree)));
        }
    }
    let Some(file) = &plan.declaration else {
        return Ok(());
    };
    fs::remove_file(file).map_err(|error| format!("{}: {error}", shown(file)))?;
    withdraw(&layout.root, name)?;
    report::line(&format!("removed {}", shown(file)));
    let forgotten: Result<(), Failed> = zbus::block_on(async {
        release(Systemd::connect().await.ok().as_ref(), layout, name).await
    });
    forgotten.map_err(|error| error.to_string())
}
