//! `skep import`: a systemd.nspawn(5) file as a declaration.

use std::path::{Path, PathBuf};

use crate::declaration::file::{Contents, read_named};
use crate::declaration::{Facts, LoadState, Loaded, load_all};
use crate::import;
use crate::name;
use crate::problem::shown;
use crate::report;

use super::unit_set::print_problem;
use super::{FAILED, ImportArgs, OK, systemd_version};

/// `skep import`
pub(super) fn import(arguments: &ImportArgs) -> u8 {
    let path = arguments.file.as_path();
    let facts = Facts::of_host(systemd_version());
    // What does not exist is told below.
    if let Ok(real) = path.canonicalize()
        && let Some(tree) = tree_around(&real, &declared_trees(&facts))
    {
        let tree = shown(&tree);
        let message = format!(
            "lies in {tree}, where whoever made the tree may have put it: read it, and copy it to /etc/systemd/nspawn if it is yours"
        );
        return failed(path, &message);
    }
    let bytes = match read_named(path) {
        Ok(Contents::Text(bytes)) => bytes,
        Ok(Contents::Mask) => Vec::new(),
        Ok(Contents::Absent) => return failed(path, "no such file"),
        Err(message) => return failed(path, &message),
    };
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = stem
        .filter(|stem| name::check(stem).is_ok())
        .unwrap_or("imported");
    let imported = import::import(&bytes, path, name, &facts);
    imported.remarks.iter().for_each(print_problem);
    report::print(&imported.declaration);
    OK
}

/// Where systemd-nspawn and machined look for trees; settings may lie beside them.
const MACHINES: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// The trees of all declarations, but the host's own.
fn declared_trees(facts: &Facts) -> Vec<PathBuf> {
    let root_of = |loaded: Loaded| match loaded.state {
        LoadState::Valid(wanted) => wanted.spec.root.path,
        _ => None,
    };
    let all = load_all(Path::new("/"), facts).into_iter();
    all.filter_map(root_of)
        .filter_map(|root| root.canonicalize().ok())
        .filter(|root| root != Path::new("/"))
        .collect()
}

/// The tree, or the directory of trees, that holds the file.
fn tree_around(file: &Path, declared: &[PathBuf]) -> Option<PathBuf> {
    let machines = MACHINES.iter().map(PathBuf::from);
    let mut all = machines.chain(declared.iter().cloned());
    all.find(|tree| file.starts_with(tree))
}

fn failed(path: &Path, message: &str) -> u8 {
    report::error_line(&format!("{}: {message}", shown(path)));
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_trees_maker() {
        let declared = [PathBuf::from("/srv/tree")];
        for (file, tree) in [
            ("/etc/systemd/nspawn/web.nspawn", None),
            ("/home/me/web.nspawn", None),
            ("/srv/tree.nspawn", None),
            ("/var/lib/machines/web.nspawn", Some("/var/lib/machines")),
            ("/var/lib/machines/web/x.nspawn", Some("/var/lib/machines")),
            ("/srv/tree/etc/x.nspawn", Some("/srv/tree")),
        ] {
            let found = tree_around(Path::new(file), &declared);
            assert_eq!(found.as_deref(), tree.map(Path::new), "{file}");
        }
    }
}
