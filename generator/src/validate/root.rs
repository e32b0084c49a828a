//! `Root=`, `Template=` and what the container may do to its tree.

use std::path::{Path, PathBuf};

use skep_spec::{Access, Root, Tmpfs};

use super::{At, Reader, store};
use crate::declaration::value::boolean;
use crate::declaration::value::path::absolute;
use crate::problem::{Origin, quoted};
use crate::tree::TREES;

/// `Volatile=`, with the meaning of systemd-nspawn's option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Volatile {
    No,
    /// Only `/usr` is the tree's.
    Yes,
    /// The tree is read-only, `/var` fresh.
    State,
    /// As `Ephemeral=yes`.
    Overlay,
}

/// What a key asks of the tree.
#[derive(Clone, Copy)]
struct Asked {
    key: &'static str,
    at: At<Access>,
}

/// What the keys say.
pub(super) struct Read {
    pub(super) root: Root,
    /// The tmpfs on `/var` that `Volatile=state` means.
    pub(super) fresh_var: Option<Tmpfs>,
    /// Where the tree is named.
    pub(super) at: Option<Origin>,
}

/// `system` is where a system of a store is named, which needs no tree.
pub(super) fn read(reader: &mut Reader<'_>, system: Option<Origin>) -> Read {
    let given = reader.scalar("Root", tree);
    let path = given
        .as_ref()
        .map_or_else(|| Path::new(TREES).join(reader.name), |at| at.value.clone());
    let is_host = path == Path::new("/");
    let template = template(reader, &path);
    let ephemeral = reader.scalar("Ephemeral", boolean);
    let read_only = reader.scalar("ReadOnly", boolean);
    let volatile = reader.scalar("Volatile", volatile);
    let asked = access(reader, ephemeral, read_only, volatile);
    if let (true, None, Some(at @ At { value: false, .. })) = (is_host, asked, ephemeral) {
        let message = || "Root=/ is always copy-on-write; remove Ephemeral=no".to_owned();
        reader.problems.error(at.origin, Some("Ephemeral"), message);
    }
    let default = if is_host {
        Access::Ephemeral
    } else {
        Access::Write
    };
    if let Some(system) = system {
        let root = given.as_ref().map(|at| At {
            value: at.value.as_path(),
            origin: at.origin,
        });
        store::check_root(reader, system, root, read_only);
    }
    if given.is_none() && system.is_some() {
        return Read {
            root: store::fresh_root(),
            fresh_var: None,
            at: None,
        };
    }
    let state = volatile.is_some_and(|at| at.value == Volatile::State);
    let root = Root {
        path: Some(path),
        template,
        access: asked.unwrap_or(default),
    };
    Read {
        root,
        fresh_var: state.then(fresh_var),
        at: given.map(|at| at.origin),
    }
}

/// What the three keys ask for together.
fn access(
    reader: &mut Reader<'_>,
    ephemeral: Option<At<bool>>,
    read_only: Option<At<bool>>,
    volatile: Option<At<Volatile>>,
) -> Option<Access> {
    let flag = |key, at: Option<At<bool>>, value| {
        at.filter(|at| at.value).map(|at| Asked {
            key,
            at: At {
                value,
                origin: at.origin,
            },
        })
    };
    let of_volatile = volatile.and_then(|at| {
        let value = match at.value {
            Volatile::No => return None,
            Volatile::Yes => Access::Volatile,
            Volatile::State => Access::ReadOnly,
            Volatile::Overlay => Access::Ephemeral,
        };
        Some(Asked {
            key: "Volatile",
            at: At {
                value,
                origin: at.origin,
            },
        })
    });
    let asked = [
        flag("Ephemeral", ephemeral, Access::Ephemeral),
        flag("ReadOnly", read_only, Access::ReadOnly),
        of_volatile,
    ];
    let mut asked: Vec<Asked> = asked.into_iter().flatten().collect();
    asked.sort_by_key(|asked| asked.at.origin);
    let (first, rest) = asked.split_first()?;
    for other in rest.iter().filter(|other| other.at.value != first.at.value) {
        let place = reader.problems.place(first.at.origin);
        let message = || {
            format!("contradicts {place}: a tree is either read-only, volatile or copy-on-write")
        };
        reader
            .problems
            .error(other.at.origin, Some(other.key), message);
    }
    // A "no" is a contradiction only when another key says yes to the same.
    for (key, at, value) in [
        ("Ephemeral", ephemeral, Access::Ephemeral),
        ("ReadOnly", read_only, Access::ReadOnly),
    ] {
        if let (Some(at @ At { value: false, .. }), Some(volatile)) = (at, of_volatile)
            && volatile.at.value == value
        {
            let place = reader.problems.place(volatile.at.origin);
            let message = || format!("contradicts {place}");
            reader.problems.error(at.origin, Some(key), message);
        }
    }
    Some(first.at.value)
}

fn template(reader: &mut Reader<'_>, root: &Path) -> Option<PathBuf> {
    let at = reader.scalar("Template", |text| {
        let path = absolute("the template", text)?;
        refuse_api("template", &path)?;
        if path == Path::new("/") {
            return Err(
                "the template is /, the whole host; use Root=/ for the host's own OS".into(),
            );
        }
        Ok(path)
    })?;
    let wrong = if root == Path::new("/") {
        Some("Root=/ is there already; remove Template=".to_owned())
    } else if root.starts_with("/dev") {
        Some("a block device is not made from a template".to_owned())
    } else if root == at.value {
        Some("the template is the tree itself".to_owned())
    } else if root.starts_with(&at.value) {
        Some(format!("the tree {} lies in the template", root.display()))
    } else {
        None
    };
    if let Some(message) = wrong {
        reader
            .problems
            .error(at.origin, Some("Template"), || message);
    }
    Some(at.value)
}

fn tree(text: &str) -> Result<PathBuf, String> {
    let path = absolute("the tree", text)?;
    check_tree(&path)?;
    Ok(path)
}

/// Refuses what is no tree.
pub(crate) fn check_tree(path: &Path) -> Result<(), String> {
    refuse_api("OS tree", path)?;
    if path == Path::new("/dev") {
        return Err("the tree is a directory of devices; name one of them".into());
    }
    Ok(())
}

fn refuse_api(what: &str, path: &Path) -> Result<(), String> {
    match ["/proc", "/sys"]
        .into_iter()
        .find(|api| path.starts_with(api))
    {
        Some(api) => Err(format!(
            "no {what} can be below {api}: {}",
            quoted(&path.to_string_lossy())
        )),
        None => Ok(()),
    }
}

fn volatile(text: &str) -> Result<Volatile, String> {
    match text {
        "state" => Ok(Volatile::State),
        "overlay" => Ok(Volatile::Overlay),
        _ => match boolean(text) {
            Ok(true) => Ok(Volatile::Yes),
            Ok(false) => Ok(Volatile::No),
            Err(_) => Err(format!("not yes, no, state or overlay: {}", quoted(text))),
        },
    }
}

/// Limited as the fresh root of `Volatile=yes`.
fn fresh_var() -> Tmpfs {
    Tmpfs {
        target: "/var".into(),
        options: vec!["size=25%".into(), "nr_inodes=1048576".into()],
        read_only: false,
        noexec: false,
    }
}

/// Whether `path` names a disk image, which needs loop devices. The launcher looks at the file; this only sees its name.
pub(crate) fn names_image(path: &Path) -> bool {
    const ENDS: [&str; 5] = ["raw", "img", "squashfs", "sqfs", "erofs"];
    path.starts_with("/dev")
        || path
            .extension()
            .is_some_and(|end| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trees() {
        for good in ["/", "/srv/a.raw", "/dev/vg/root", "/dev/loop3"] {
            assert_eq!(tree(good).unwrap(), Path::new(good));
        }
        for (bad, said) in [
            ("/dev", "name one of them"),
            ("/proc/1/root", "below /proc"),
            ("a", "not absolute"),
        ] {
            assert!(tree(bad).unwrap_err().contains(said), "{bad}");
        }
    }

    #[test]
    fn images() {
        for (path, image) in [
            ("/srv/a.raw", true),
            ("/srv/a.IMG", true),
            ("/srv/a.squashfs", true),
            ("/dev/vg/root", true),
            ("/srv/a", false),
            ("/srv/raw", false),
            ("/srv/.raw", false),
            ("/srv/a.raw/tree", false),
        ] {
            assert_eq!(names_image(Path::new(path)), image, "{path}");
        }
    }

    #[test]
    fn volatiles() {
        assert_eq!(volatile("on"), Ok(Volatile::Yes));
        assert_eq!(volatile("0"), Ok(Volatile::No));
        assert_eq!(volatile("state"), Ok(Volatile::State));
        assert!(volatile("State").is_err());
    }
}
