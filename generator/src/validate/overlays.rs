//! `Overlay=` and `OverlayReadOnly=`.

use std::path::PathBuf;

use skep_spec::{Overlay, Upper};

use super::mounts::{check_source, check_target, fields};
use super::{At, Reader};
use crate::declaration::value::path::absolute;

/// More do not fit into the kernel's mount option.
const MAX_LOWER: usize = 64;

/// The overlays with the keys that declared them.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<(&'static str, At<Overlay>)> {
    let mut all = Vec::new();
    for (key, parse) in [
        ("Overlay", changing as fn(&str) -> Result<Overlay, String>),
        ("OverlayReadOnly", read_only),
    ] {
        let read = reader.list(key, |text| Ok(vec![parse(text)?]));
        all.extend(read.into_iter().map(|at| (key, at)));
    }
    all
}

/// `LOWER[:LOWER...]:UPPER:TARGET`, or `LOWER:UPPER` for an upper layer that is the target, too.
fn changing(text: &str) -> Result<Overlay, String> {
    let (mut layers, target) = layers(text)?;
    let upper = match layers.pop() {
        Some(upper) if upper.is_empty() => Upper::Memory,
        Some(upper) => Upper::Directory(source("upper layer", &upper)?),
        None => Upper::Memory,
    };
    let overlay = Overlay {
        lower: lower(&layers)?,
        upper,
        target,
    };
    if let Upper::Directory(upper) = &overlay.upper
        && let Some(other) = overlay
            .lower
            .iter()
            .find(|lower| lower.starts_with(upper) || upper.starts_with(lower))
    {
        return Err(format!(
            "layers {} and {} overlap",
            other.display(),
            upper.display()
        ));
    }
    Ok(overlay)
}

/// `LOWER:LOWER[:LOWER...]:TARGET`, or `LOWER:LOWER` for a topmost layer that is the target, too.
fn read_only(text: &str) -> Result<Overlay, String> {
    let (layers, target) = layers(text)?;
    let lower = lower(&layers)?;
    if lower.len() < 2 {
        return Err("one layer alone is no overlay; use BindReadOnly=".into());
    }
    Ok(Overlay {
        lower,
        upper: Upper::ReadOnly,
        target,
    })
}

/// All layers, and the target. With two paths the second one is both, as systemd-nspawn has it.
fn layers(text: &str) -> Result<(Vec<String>, PathBuf), String> {
    let mut paths = fields(text);
    let target = match paths.len() {
        0 | 1 => return Err("at least two paths are needed: LOWER:UPPER:TARGET".into()),
        2 => paths[1].clone(),
        _ => paths.pop().unwrap_or_default(),
    };
    if paths.iter().any(|path| path.starts_with('+')) {
        return Err("layers relative to the tree (+) are not supported in this version".into());
    }
    let target = absolute("target", &target)?;
    check_target(&target)?;
    Ok((paths, target))
}

fn lower(paths: &[String]) -> Result<Vec<PathBuf>, String> {
    if paths.is_empty() {
        return Err("no lower layer; use Bind=".into());
    }
    if paths.len() > MAX_LOWER {
        return Err(format!(
            "{} lower layers, {MAX_LOWER} are allowed",
            paths.len()
        ));
    }
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let path = source("lower layer", path)?;
        if all.contains(&path) {
            return Err(format!("layer {} twice", path.display()));
        }
        all.push(path);
    }
    Ok(all)
}

fn source(what: &str, text: &str) -> Result<PathBuf, String> {
    let path = absolute(what, text)?;
    check_source(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paths(all: &[&str]) -> Vec<PathBuf> {
        all.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn forms() {
        let directory = |path: &str| Upper::Directory(path.into());
        for (text, lower, upper, target) in [
            ("/a:/b:/c", &["/a"][..], directory("/b"), "/c"),
            ("/a:/b", &["/a"], directory("/b"), "/b"),
            ("/a:/b:/c:/d", &["/a", "/b"], directory("/c"), "/d"),
            ("/a::/c", &["/a"], Upper::Memory, "/c"),
            (r"/a\:b::/c", &["/a:b"], Upper::Memory, "/c"),
        ] {
            let overlay = changing(text).unwrap();
            assert_eq!(overlay.lower, paths(lower), "{text}");
            assert_eq!((overlay.upper, overlay.target), (upper, target.into()));
        }
        for (text, lower) in [("/a:/b:/c", ["/a", "/b"]), ("/a:/b", ["/a", "/b"])] {
            assert_eq!(read_only(text).unwrap().lower, paths(&lower), "{text}");
        }
    }

    #[test]
    fn wrong_forms() {
        for (text, said) in [
            ("/a", "at least two paths"),
            ("/a:", "target is empty"),
            ("a::/c", "lower layer is not absolute"),
            ("/a:b:/c", "upper layer is not absolute"),
            ("::/c", "lower layer is empty"),
            ("/a:/b:/", "use Root="),
            ("/a:/b:/proc", "made by skep"),
            ("/:/b:/c", "whole host"),
            ("/a:/a/b:/c", "overlap"),
            ("/a:/a:/b:/c", "twice"),
            ("+/a:/b:/c", "not supported"),
        ] {
            let err = changing(text).unwrap_err();
            assert!(err.contains(said), "{text}: {err}");
        }
        assert!(read_only("/a::/c").unwrap_err().contains("is empty"));
        assert!(read_only("/a:/a").unwrap_err().contains("twice"));
        let many = "/x:".repeat(70) + "/t";
        assert!(changing(&many).unwrap_err().contains("64 are allowed"));
    }
}
