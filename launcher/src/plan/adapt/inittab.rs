//! inittab(5): no login on terminals that a container does not have, one on its console.

use super::{Adaptation, Effect, Entry};
use crate::plan::mounts::MountOp;
use crate::tree::services::Services;

/// Covers the table when it has logins on virtual consoles or serial lines. Then one on the console is added, unless
/// there is one.
pub(super) fn plan(services: &Services, adaptation: &mut Adaptation) {
    let Some(table) = services.inittab.as_deref() else {
        return;
    };
    let mut kept = String::new();
    let mut dropped = Vec::new();
    let mut console = false;
    for text in table.lines() {
        match terminal(text) {
            Some(name) if is_missing(name) => {
                kept.push_str(&format!("# Left out by skep, no such terminal: {text}\n"));
                dropped.push(Entry {
                    name: format!("/etc/inittab: login on {name}"),
                    effect: Effect::Masked,
                    reason: "there is no such terminal".to_owned(),
                });
            }
            found => {
                console |= found == Some("console");
                kept.extend([text, "\n"]);
            }
        }
    }
    if dropped.is_empty() {
        return;
    }
    if !console && has_levels(table) {
        kept.push_str("sk:2345:respawn:/sbin/getty 38400 console vt220\n");
    }
    adaptation.entries.extend(dropped);
    let path = "/etc/inittab".into();
    adaptation
        .mounts
        .push(MountOp::Cover(path, kept.into_bytes()));
}

/// BusyBox knows no run levels, which others must set.
fn has_levels(table: &str) -> bool {
    table.lines().any(|line| {
        !line.trim_start().starts_with('#') && line.split(':').nth(2) == Some("initdefault")
    })
}

/// The terminal on which a line starts a login.
fn terminal(text: &str) -> Option<&str> {
    let mut fields = text.splitn(4, ':');
    let id = fields
        .next()
        .filter(|id| !id.trim_start().starts_with('#'))?;
    let (_levels, action, process) = (fields.next()?, fields.next()?, fields.next()?);
    if !["respawn", "once", "wait", "askfirst", "ondemand"].contains(&action) {
        return None;
    }
    // BusyBox's first field is the terminal.
    if id == "console" || is_missing(id) {
        return Some(id);
    }
    let mut words = process.split_ascii_whitespace();
    let program = words.next()?.rsplit('/').next()?;
    if !program.contains("getty") && program != "openvt" && program != "sulogin" {
        return None;
    }
    words
        .map(|word| word.strip_prefix("/dev/").unwrap_or(word))
        .find(|word| *word == "console" || is_missing(word))
}

/// Whether a container lacks the terminal.
pub(super) fn is_missing(name: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    [
        "tty", "vc/", "ttyS", "ttyAMA", "ttyUSB", "hvc", "ttymxc", "ttySAC",
    ]
    .iter()
    .any(|prefix| name.strip_prefix(prefix).is_some_and(numbered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(table: &str) -> Option<String> {
        let services = Services {
            inittab: Some(table.into()),
            ..Services::default()
        };
        let mut adaptation = Adaptation::default();
        plan(&services, &mut adaptation);
        match adaptation.mounts.pop()? {
            MountOp::Cover(_, text) => Some(String::from_utf8(text).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn logins_move_to_the_console() {
        let table = "id:2:initdefault:\n1:2345:respawn:/sbin/getty --noclear 38400 tty1\nT0:23:respawn:/sbin/agetty -L ttyS0 9600\n\
                     x:23:respawn:/usr/bin/thing tty1\n#2:23:respawn:/sbin/getty 38400 tty2\n";
        let text = covered(table).unwrap();
        let left: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            left,
            [
                "id:2:initdefault:",
                "x:23:respawn:/usr/bin/thing tty1",
                "sk:2345:respawn:/sbin/getty 38400 console vt220"
            ]
        );
        let table = "id:2:initdefault:\nc:2:respawn:/sbin/agetty console\n1:2:respawn:/sbin/getty 9600 tty1\n";
        let text = covered(table).unwrap();
        assert!(!text.contains("sk:") && text.contains("\nc:2"), "{text}");
    }

    #[test]
    fn busybox_names_terminals_first() {
        let table = "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n::askfirst:/bin/sh\n::ctrlaltdel:/sbin/reboot\n";
        let text = covered(table).unwrap();
        assert!(
            text.contains("\n# Left out by skep, no such terminal: tty1::"),
            "{text}"
        );
        assert!(text.ends_with("::ctrlaltdel:/sbin/reboot\n"), "{text}");
        assert_eq!(covered("::askfirst:/bin/sh\n"), None);
    }
}
