//! System calls by name, or by the group names of systemd.exec(5).

use skep_spec::SystemCalls;
use syscalls::Sysno;

use crate::declaration::suggest::nearest;
use crate::problem::quoted;

/// The groups of what a container is refused by default; the calls in them that every container may make are left out.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "@clock",
        &["adjtimex", "clock_adjtime", "clock_settime", "settimeofday"],
    ),
    ("@cpu-emulation", &["modify_ldt"]),
    (
        "@io-uring",
        &["io_uring_setup", "io_uring_enter", "io_uring_register"],
    ),
    ("@keyring", &["add_key", "keyctl", "request_key"]),
    ("@module", &["delete_module", "finit_module", "init_module"]),
    (
        "@obsolete",
        &[
            "_sysctl",
            "create_module",
            "get_kernel_syms",
            "query_module",
            "sysfs",
            "uselib",
            "ustat",
        ],
    ),
    ("@pkey", &["pkey_alloc", "pkey_free", "pkey_mprotect"]),
    ("@raw-io", &["ioperm", "iopl"]),
    ("@swap", &["swapoff", "swapon"]),
];

/// What a declaration says about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    name: &'static str,
    refused: bool,
}

/// `[~]NAME...`: what is allowed, with `~` what is refused.
pub(crate) fn system_calls(text: &str) -> Result<Vec<Said>, String> {
    let (refused, words) = match text.strip_prefix('~') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut all = Vec::new();
    for word in words.split_ascii_whitespace() {
        let said = |name| Said { name, refused };
        all.extend(names(word)?.into_iter().map(said));
    }
    if all.is_empty() {
        return Err("no system call is named".into());
    }
    Ok(all)
}

/// The last word about each call counts.
pub(crate) fn merged(said: &[Said]) -> SystemCalls {
    let mut calls = SystemCalls::default();
    for (index, Said { name, refused }) in said.iter().enumerate() {
        if said[index + 1..].iter().any(|later| later.name == *name) {
            continue;
        }
        let list = match refused {
            true => &mut calls.refused,
            false => &mut calls.allowed,
        };
        list.push((*name).to_owned());
    }
    calls
}

/// The calls of a group that every container is refused by default.
pub(crate) fn group(name: &str) -> &'static [&'static str] {
    let found = GROUPS.iter().find(|(group, _)| *group == name);
    found.map_or(&[], |(_, calls)| calls)
}

fn names(word: &str) -> Result<Vec<&'static str>, String> {
    if word.starts_with('@') {
        let group = GROUPS.iter().find(|(group, _)| *group == word);
        return group.map(|(_, names)| names.to_vec()).ok_or_else(|| {
            let all: Vec<&str> = GROUPS.iter().map(|(group, _)| *group).collect();
            format!(
                "unknown group {}; there are {}",
                quoted(word),
                all.join(", ")
            )
        });
    }
    if word.contains(':') {
        return Err(format!(
            "{}: an error number cannot be chosen",
            quoted(word)
        ));
    }
    if word.starts_with('~') {
        return Err("\"~\" stands in front of the whole list only".into());
    }
    // The iterator of the table ends before the last one (syscalls 0.8).
    let all = || Sysno::iter().chain([Sysno::last()]);
    let known = || all().map(|call| call.name());
    // Calls of other architectures stand in the groups and are passed over by the launcher.
    let listed = GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
    match known().chain(listed).find(|name| *name == word) {
        Some(name) => Ok(vec![name]),
        None => {
            let hint = nearest(word, known())
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            Err(format!("unknown system call {}{hint}", quoted(word)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists() {
        let read = |lines: &[&str]| -> Result<(String, String), String> {
            let mut said = Vec::new();
            for line in lines {
                said.extend(system_calls(line)?);
            }
            let calls = merged(&said);
            Ok((calls.allowed.join(" "), calls.refused.join(" ")))
        };
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        for (lines, want) in [
            (&["keyctl bpf"][..], pair("keyctl bpf", "")),
            (&["@keyring"], pair("add_key keyctl request_key", "")),
            (&["~mount umount2"], pair("", "mount umount2")),
            (&["bpf keyctl", "~keyctl"], pair("bpf", "keyctl")),
            (&["~bpf", "bpf bpf"], pair("bpf", "")),
            (&[Sysno::last().name()], pair(Sysno::last().name(), "")),
        ] {
            assert_eq!(read(lines), want, "{lines:?}");
        }
        for (line, want) in [
            ("", "no system call"),
            ("~", "no system call"),
            ("bfp", "did you mean bpf?"),
            ("@keyrings", "there are @clock"),
            ("bpf ~mount", "whole list"),
            ("bpf:EPERM", "error number"),
        ] {
            let error = read(&[line]).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
