//! `--closure`: paths of a store, each seen at its own place.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::problem::quoted;

/// Stores by name.
const STORES: [&str; 2] = ["/gnu/store", "/nix/store"];

/// Characters of the hash that starts the name of a store item.
const HASH: usize = 32;

/// The paths of a list, once each, without those below another one.
pub(super) fn parse(text: &str) -> Result<Vec<PathBuf>, String> {
    let all: BTreeSet<PathBuf> = text
        .split_ascii_whitespace()
        .map(item)
        .collect::<Result<_, _>>()?;
    let mut paths: Vec<PathBuf> = Vec::with_capacity(all.len());
    // In order of components what lies below a path follows it.
    for path in all {
        if !paths.last().is_some_and(|above| path.starts_with(above)) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn item(word: &str) -> Result<PathBuf, String> {
    let path: PathBuf = Path::new(word).components().collect();
    if !path.is_absolute() {
        return Err(format!("not absolute: {}", quoted(word)));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("contains \"..\": {}", quoted(word)));
    }
    let in_store = STORES
        .iter()
        .any(|store| path.starts_with(store) && path != Path::new(store));
    let looks_like = path.components().skip(2).any(|part| match part {
        Component::Normal(name) => name.to_str().is_some_and(is_item),
        _ => false,
    });
    if in_store || looks_like {
        Ok(path)
    } else {
        Err(format!(
            "not below a store such as /gnu/store or /nix/store: {}",
            quoted(word)
        ))
    }
}

/// `HASH-NAME`
fn is_item(name: &str) -> bool {
    name.split_once('-').is_some_and(|(hash, rest)| {
        hash.len() == HASH
            && !rest.is_empty()
            && hash
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn paths_of_a_store() {
        let hash = "0123456789abcdfghijklmnpqrsvwxyz";
        for (text, want) in [
            ("", vec![]),
            (
                "/nix/store/b\n /gnu/store/a\t/nix/store/b",
                vec!["/gnu/store/a", "/nix/store/b"],
            ),
            ("/gnu/store/a/bin/x /gnu/store/a/", vec!["/gnu/store/a"]),
            (
                "/gnu/store/a /gnu/store/a-b /gnu/store/a/x",
                vec!["/gnu/store/a", "/gnu/store/a-b"],
            ),
        ] {
            let want: Vec<PathBuf> = want.into_iter().map(PathBuf::from).collect();
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        assert!(parse(&format!("/srv/own/store/{hash}-hello-1.0")).is_ok());
        for text in [
            "gnu/store/a",
            "/gnu/store",
            "/nix/store/",
            "/",
            "/etc/passwd",
            "/gnu/store/../../etc",
            &format!("/{hash}-x"),
            &format!("/srv/{hash}"),
            &format!("/srv/{hash}-"),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ten_thousand_paths_are_quick() {
        let text: String = (0..10_000)
            .map(|n| format!("/gnu/store/{n:032}-package-{n}\n"))
            .collect();
        let begin = Instant::now();
        assert_eq!(parse(&text).unwrap().len(), 10_000);
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
}
