//! `--namespaces`: which of them a command gets of its own.

use std::collections::BTreeSet;

use crate::declaration::suggest::nearest;
use crate::problem::quoted;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    User,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
}

const KINDS: [(&str, Kind); 7] = [
    ("user", Kind::User),
    ("mount", Kind::Mount),
    ("pid", Kind::Pid),
    ("net", Kind::Net),
    ("ipc", Kind::Ipc),
    ("uts", Kind::Uts),
    ("cgroup", Kind::Cgroup),
];

/// All of them.
pub(super) fn all() -> BTreeSet<Kind> {
    KINDS.into_iter().map(|(_, kind)| kind).collect()
}

/// Parses a list, read from left to right. One that starts with an exclusion starts from all.
pub(super) fn parse(text: &str) -> Result<BTreeSet<Kind>, String> {
    let mut kinds = if text.trim_start().starts_with('-') {
        all()
    } else {
        BTreeSet::new()
    };
    for word in text.split(',').map(str::trim) {
        match (word, word.strip_prefix('-')) {
            ("all", _) => kinds = all(),
            ("none", _) => kinds.clear(),
            (_, Some(name)) => {
                kinds.remove(&kind(name)?);
            }
            (name, None) => {
                kinds.insert(kind(name)?);
            }
        }
    }
    Ok(kinds)
}

fn kind(name: &str) -> Result<Kind, String> {
    // What /proc/PID/ns and unshare(1) call some of them.
    let name = match name {
        "mnt" => "mount",
        "network" => "net",
        "users" => "user",
        other => other,
    };
    if let Some((_, kind)) = KINDS.into_iter().find(|(other, _)| *other == name) {
        return Ok(kind);
    }
    let names = KINDS.map(|(name, _)| name);
    Err(match nearest(name, names) {
        Some(near) => format!("{} is no namespace; did you mean {near}?", quoted(name)),
        None => format!(
            "{} is no namespace; there are {}, all and none",
            quoted(name),
            names.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let without = |kind| {
            let mut kinds = all();
            kinds.remove(&kind);
            kinds
        };
        for (text, want) in [
            ("all", all()),
            ("none", BTreeSet::new()),
            ("pid,net", BTreeSet::from([Kind::Pid, Kind::Net])),
            ("mnt", BTreeSet::from([Kind::Mount])),
            ("-net", without(Kind::Net)),
            ("all, -uts", without(Kind::Uts)),
            ("none,ipc", BTreeSet::from([Kind::Ipc])),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for text in ["", "pid,", "time", "-all", "PID"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("cgroups").is_err_and(|message| message.contains("did you mean cgroup?")));
    }
}
