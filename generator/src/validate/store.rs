//! `System=`, `Store=` and `Closure=`: systems that boot from a store.

use std::path::{Path, PathBuf};

use skep_spec::{Access, Root, Store};

use super::{At, Reader};
use crate::declaration::value::boolean;
use crate::declaration::value::path::absolute;
use crate::problem::{Origin, quoted};

/// Where Guix and Nix have their items, and what leads to them.
const GUIX: [&str; 2] = ["/gnu", "/var/guix"];
const NIX: [&str; 1] = ["/nix"];

/// What the three keys say.
pub(super) struct Read {
    pub(super) system: Option<At<PathBuf>>,
    pub(super) store: Option<Store>,
}

/// `Store=` as written.
enum Whole {
    OfSystem,
    Directory(PathBuf),
}

/// `Closure=` as written.
enum Closure {
    No,
    File(PathBuf),
    Asked(Option<Tool>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Guix,
    Nix,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let system = reader.scalar("System", system);
    let whole = reader.scalar("Store", whole);
    let closure = reader
        .scalar("Closure", closure)
        .filter(|at| !matches!(at.value, Closure::No));
    if let (Some(whole), Some(closure)) = (&whole, &closure) {
        let why = "the container sees all of the store or a part of it";
        contradiction(
            reader,
            ("Store", whole.origin),
            ("Closure", closure.origin),
            why,
        );
    }
    if system.is_none() {
        let lacking = match (&whole, &closure) {
            (Some(at), _) if matches!(at.value, Whole::OfSystem) => Some(("Store", at.origin)),
            (_, Some(at)) => Some(("Closure", at.origin)),
            _ => None,
        };
        if let Some((key, origin)) = lacking {
            let message = || "needs System=, which says what boots from the store".to_owned();
            reader.problems.error(origin, Some(key), message);
        }
    }
    if let (Some(system), Some(closure)) = (&system, &closure) {
        check_tool(reader, &system.value, closure);
    }
    let store = match (whole.map(|at| at.value), closure.map(|at| at.value)) {
        (Some(Whole::Directory(path)), _) => Some(Store::Whole(path)),
        (_, Some(Closure::File(path))) => Some(Store::Listed(path)),
        (_, Some(Closure::Asked(_))) => Some(Store::Computed),
        _ => None,
    };
    Read { system, store }
}

/// The rules between a system and the keys of a tree: `root` is `Root=`, `read_only` `ReadOnly=`, when given.
pub(super) fn check_root(
    reader: &mut Reader<'_>,
    system: Origin,
    root: Option<At<&Path>>,
    read_only: Option<At<bool>>,
) {
    match (root, read_only) {
        (Some(root), _) if root.value == Path::new("/") => {
            let why = "Root=/ boots this host's own OS";
            contradiction(reader, ("Root", root.origin), ("System", system), why);
        }
        (
            None,
            Some(At {
                value: true,
                origin,
            }),
        ) => {
            let message = || "needs Root=: without it the root is empty at each start".to_owned();
            reader.problems.error(origin, Some("ReadOnly"), message);
        }
        _ => {}
    }
}

/// A system brings its init.
pub(super) fn check_init(reader: &mut Reader<'_>, system: Origin, init: Origin) {
    let why = "a system of a store brings its own init";
    contradiction(reader, ("Init", init), ("System", system), why);
}

/// The root of a system without `Root=`.
pub(super) fn fresh_root() -> Root {
    Root {
        path: None,
        template: None,
        access: Access::Write,
    }
}

/// Reports two keys that exclude each other, at the one that stands later.
pub(super) fn contradiction(
    reader: &mut Reader<'_>,
    a: (&str, Origin),
    b: (&str, Origin),
    why: &str,
) {
    let (first, second) = if a.1 < b.1 { (a, b) } else { (b, a) };
    let place = reader.problems.place(first.1);
    let message = || format!("contradicts {}= at {place}: {why}", first.0);
    reader.problems.error(second.1, Some(second.0), message);
}

/// A tool knows its own store only.
fn check_tool(reader: &mut Reader<'_>, system: &Path, closure: &At<Closure>) {
    let below = |places: &[&str]| places.iter().any(|place| system.starts_with(place));
    let (wrong, cure) = match closure.value {
        Closure::Asked(Some(Tool::Guix)) => (below(&NIX), "nix"),
        Closure::Asked(Some(Tool::Nix)) => (below(&GUIX), "guix"),
        _ => return,
    };
    if wrong {
        let message = || format!("does not know {}; use {cure}", system.display());
        reader
            .problems
            .error(closure.origin, Some("Closure"), message);
    }
}

fn system(text: &str) -> Result<PathBuf, String> {
    let path = absolute("the system", text)?;
    match path.parent() {
        None => Err("the system is /; set Root=/ to boot this host's own OS".into()),
        Some(_) => Ok(path),
    }
}

fn whole(text: &str) -> Result<Whole, String> {
    if !text.starts_with('/') {
        return match boolean(text) {
            Ok(true) => Ok(Whole::OfSystem),
            Ok(false) => Err(
                "a system cannot run without its store; set Closure= to show only a part of it"
                    .into(),
            ),
            Err(_) => Err(format!(
                "{} is neither yes nor the absolute path of a store",
                quoted(text)
            )),
        };
    }
    let path = absolute("the store", text)?;
    // Where the launcher mounts something else, or which hold secrets of the host.
    const REFUSED: [&str; 11] = [
        "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var",
    ];
    if path == Path::new("/") {
        return Err("the store is /, the whole host".into());
    }
    let refused = |top: &&str| path == Path::new(top);
    let kernel = |top: &&str| path.starts_with(top);
    if let Some(top) = REFUSED.iter().find(|top| refused(top)).or_else(|| {
        ["/dev", "/proc", "/run", "/sys", "/tmp"]
            .iter()
            .find(|top| kernel(top))
    }) {
        return Err(format!("no store is at or below {top}: {}", quoted(text)));
    }
    Ok(Whole::Directory(path))
}

fn closure(text: &str) -> Result<Closure, String> {
    match text {
        "guix" => Ok(Closure::Asked(Some(Tool::Guix))),
        "nix" => Ok(Closure::Asked(Some(Tool::Nix))),
        _ if text.starts_with('/') => absolute("the list", text).map(Closure::File),
        _ => match boolean(text) {
            Ok(true) => Ok(Closure::Asked(None)),
            Ok(false) => Ok(Closure::No),
            Err(_) => Err(format!(
                "{} is none of yes, guix, nix and the absolute path of a file",
                quoted(text)
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_directories_of_their_own() {
        for good in [
            "yes",
            "/gnu/store",
            "/nix/store",
            "/srv/store",
            "/var/store",
        ] {
            assert!(whole(good).is_ok(), "{good}");
        }
        for bad in [
            "no",
            "x",
            "/",
            "/etc",
            "/var",
            "/run/store",
            "/proc/1/root",
            "/a/../b",
        ] {
            assert!(whole(bad).is_err(), "{bad}");
        }
    }
}
