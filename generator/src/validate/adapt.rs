//! `Adapt=`, `Mask=` and `Unmask=`.

use std::collections::HashMap;

use skep_spec::Adapt;

use super::{At, Reader};
use crate::declaration::value::boolean;
use crate::declaration::words;
use crate::distinct;
use crate::problem::quoted;

/// Longest name of a unit.
const MAX: usize = 255;

pub(super) fn read(reader: &mut Reader<'_>) -> Adapt {
    let enabled = reader.scalar("Adapt", boolean);
    let mask = reader.list("Mask", names);
    let unmask = reader.list("Unmask", names);
    let mut masked = HashMap::new();
    for at in &mask {
        masked.entry(service(&at.value)).or_insert(at);
    }
    for At { value, origin } in &unmask {
        if let Some(other) = masked.get(service(value)) {
            let (first, second, key) = if other.origin < *origin {
                (other.origin, *origin, "Unmask")
            } else {
                (*origin, other.origin, "Mask")
            };
            let place = reader.problems.place(first);
            let message = || {
                format!(
                    "contradicts {place}: {} is either masked or not",
                    quoted(value)
                )
            };
            reader.problems.error(second, Some(key), message);
        }
    }
    Adapt {
        enabled: enabled.is_none_or(|at| at.value),
        mask: values(mask),
        unmask: values(unmask),
    }
}

fn values(names: Vec<At<String>>) -> Vec<String> {
    let mut all = Vec::new();
    distinct::extend(&mut all, names.into_iter().map(|at| at.value));
    all
}

/// A name without its suffix means a service.
fn service(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}

fn names(text: &str) -> Result<Vec<String>, String> {
    words::split(text)?.into_iter().map(name).collect()
}

/// The name of a unit or of a script: it becomes the name of a file.
fn name(word: String) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if word.contains('/') {
        return Err(format!(
            "a path, not the name of a service: {}",
            quoted(&word)
        ));
    }
    if word.contains(['*', '?', '[']) {
        return Err(format!(
            "patterns are not supported: {}; name each service",
            quoted(&word)
        ));
    }
    if word.is_empty() || word.starts_with(['.', '@']) || !word.chars().all(known) {
        return Err(format!(
            "not the name of a service or unit: {}",
            quoted(&word)
        ));
    }
    // A service without its suffix gets it.
    if word.len() + ".service".len() > MAX {
        return Err(format!(
            "the name has {} characters, too many for a unit",
            word.len()
        ));
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_services() {
        let good = r"smartd smartd.service getty@tty1.service net.eth0 home-a\\x20b.mount";
        assert_eq!(names(good).unwrap().len(), 5);
        for bad in [
            "a/b",
            "/etc/init.d/x",
            "*",
            "a*",
            "\"a b\"",
            ".x",
            "@x",
            "\u{e4}",
            &"a".repeat(250),
            "\"\"",
        ] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }
}
