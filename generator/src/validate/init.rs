//! Keys of the first process: what it is, and how it is talked to.

use std::path::PathBuf;

use skep_spec::FORWARDED;

use super::{At, Reader, store};
use crate::declaration::value::path::absolute;
use crate::declaration::value::{boolean, signal};
use crate::declaration::words;
use crate::problem::{Origin, quoted};

/// Longest value of `container`.
const MAX_MANAGER: usize = 32;

/// What `[Container]` says of the first process.
pub(super) struct Read {
    pub(super) init: Option<PathBuf>,
    pub(super) parameters: Vec<String>,
    pub(super) kill_signal: Option<i32>,
    pub(super) reboot_signal: Option<i32>,
    pub(super) manager: Option<String>,
    pub(super) process_two: bool,
    pub(super) notify_ready: Option<bool>,
}

pub(super) fn read(reader: &mut Reader<'_>, system: Option<Origin>) -> Read {
    let init = reader.scalar("Init", init);
    if let (Some(system), Some(init)) = (system, &init) {
        store::check_init(reader, system, init.origin);
    }
    let parameters = reader.list("Parameters", words::split);
    let kill_signal = reader.scalar("KillSignal", signal::signal);
    let reboot_signal = reader.scalar("RebootSignal", signal::signal);
    let manager = reader.scalar("ContainerManager", manager);
    let notify_ready = reader.scalar("NotifyReady", boolean);
    let process_two = reader.scalar("ProcessTwo", boolean);
    if let Some(two) = process_two.as_ref().filter(|two| two.value) {
        let given = init.as_ref().map(|init| init.origin);
        check_program(reader, two.origin, given, system);
        for (key, signal) in [
            ("KillSignal", &kill_signal),
            ("RebootSignal", &reboot_signal),
        ] {
            check_signal(reader, key, signal.as_ref());
        }
        if let Some(ready) = notify_ready.as_ref().filter(|ready| ready.value) {
            reader
                .problems
                .error(ready.origin, Some("NotifyReady"), || {
                    "only the first process is heard, and with ProcessTwo=yes that is skep's own"
                        .into()
                });
        }
    }
    Read {
        init: value(init),
        parameters: parameters.into_iter().map(|at| at.value).collect(),
        kill_signal: value(kill_signal),
        reboot_signal: value(reboot_signal),
        manager: value(manager),
        process_two: value(process_two).unwrap_or(false),
        notify_ready: value(notify_ready),
    }
}

fn value<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

/// An init of an OS is no second process, so the program must be named.
fn check_program(
    reader: &mut Reader<'_>,
    two: Origin,
    init: Option<Origin>,
    system: Option<Origin>,
) {
    if let Some(system) = system {
        let why = "the init of a system is its first process";
        store::contradiction(reader, ("ProcessTwo", two), ("System", system), why);
    } else if init.is_none() {
        reader.problems.error(two, Some("ProcessTwo"), || {
            "no program is named; set Init=, and its arguments by Parameters=".into()
        });
    }
}

fn check_signal(reader: &mut Reader<'_>, key: &'static str, signal: Option<&At<i32>>) {
    if let Some(signal) = signal.filter(|signal| !FORWARDED.contains(&signal.value)) {
        reader.problems.error(signal.origin, Some(key), || {
            "not passed on with ProcessTwo=yes; use SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPWR, SIGCONT or SIGWINCH"
                .into()
        });
    }
}

fn init(text: &str) -> Result<PathBuf, String> {
    if text.ends_with('/') {
        return Err(format!("the init is a directory: {}", quoted(text)));
    }
    absolute("the init", text)
}

/// Programs compare the value with those they know, so it is one word.
fn manager(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if text.len() > MAX_MANAGER || !text.chars().all(plain) {
        return Err(format!(
            "not a word of at most {MAX_MANAGER} lower-case letters, digits, \"-\" and \"_\": {}",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn managers() {
        for good in ["lxc", "skep", "systemd-nspawn", "wsl_2"] {
            assert_eq!(manager(good).unwrap(), good);
        }
        for bad in ["two words", "LXC", "a=b", "\u{e4}", &"a".repeat(33)] {
            assert!(manager(bad).is_err(), "{bad}");
        }
    }
}
