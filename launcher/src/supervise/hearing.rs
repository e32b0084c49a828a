//! Whether a signal would reach an init.
//!
//! The kernel drops a signal that PID 1 of a namespace neither catches nor blocks (pid_namespaces(7)). A blocked one waits
//! for it: systemd reads such signals from a signalfd, BusyBox takes them by sigtimedwait(2). While that call sleeps the
//! blocked mask in `/proc/PID/status` does not show what it waits for, so the call's own set is read as well.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;

use nix::libc;

/// What a signal would do to a process if it were no init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It takes it.
    Hears,
    /// It asked not to be told.
    Ignores,
    /// It never said anything about it: the default action applies, which the kernel does not take on an init.
    Default,
}

/// What process `pid`, an init, would make of `signal` now.
pub fn hearing(pid: i32, signal: i32) -> Hearing {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    match hears(pid, signal) {
        true => Hearing::Hears,
        false if mask(&status, "SigIgn:") & (1 << (signal - 1)) != 0 => Hearing::Ignores,
        false => Hearing::Default,
    }
}

/// Whether process `pid`, an init, would receive `signal` now.
pub(super) fn hears(pid: i32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks =
        mask(&status, "SigCgt:") | mask(&status, "SigBlk:") | waited_for(pid).unwrap_or_default();
    masks & (1 << (signal - 1)) != 0
}

/// Longest command line that is looked at.
const COMMAND_LINE: u64 = 256;

/// Whether runit, as process `pid`, takes a request now: it does so while its second stage runs and drops it otherwise.
/// Its stages are programs of known names; the second one becomes another. What the guest makes of these names is its own
/// affair: they only decide when it is asked, and for so long.
pub(super) fn runit_listens(pid: i32) -> bool {
    let Ok(children) = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) else {
        // A kernel without this file (CONFIG_PROC_CHILDREN) cannot tell: it is asked, and asked again.
        return true;
    };
    let mut lines = children.split_ascii_whitespace().map(|child| {
        let mut line = String::new();
        let file = File::open(format!("/proc/{child}/cmdline"));
        let read = file.and_then(|file| file.take(COMMAND_LINE).read_to_string(&mut line));
        read.map(|_| line).unwrap_or_default()
    });
    second_stage(&mut lines)
}

fn second_stage(children: &mut dyn Iterator<Item = String>) -> bool {
    let mut any = false;
    for line in children {
        let mut words = line.split('\0');
        let name = words.clone().next().unwrap_or_default();
        // Forked, but not executed yet.
        if name == "runit" || name.ends_with("/runit") {
            return false;
        }
        if words.any(|word| ["/etc/runit/1", "/etc/runit/3"].contains(&word)) {
            return false;
        }
        any |= !line.is_empty();
    }
    any
}

/// A signal mask of proc_pid_status(5): hexadecimal, bit N-1 for signal N.
fn mask(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

/// The set of the rt_sigtimedwait(2) call in which `pid` sleeps, if it does.
fn waited_for(pid: i32) -> Option<u64> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let address = sigtimedwait_set(&call)?;
    let mut set = [0; 8];
    // The guest's memory, read once and into a mask only.
    File::open(format!("/proc/{pid}/mem"))
        .ok()?
        .read_exact_at(&mut set, address)
        .ok()?;
    Some(u64::from_ne_bytes(set))
}

/// Address of the set in a line of proc_pid_syscall(5): the call's number, then its arguments.
fn sigtimedwait_set(call: &str) -> Option<u64> {
    let mut fields = call.split(' ');
    let number: i64 = fields.next()?.parse().ok()?;
    let set = fields.next()?.strip_prefix("0x")?;
    if number == libc::SYS_rt_sigtimedwait {
        u64::from_str_radix(set, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runit_is_asked_in_its_second_stage_only() {
        for (lines, want) in [
            (&[][..], false),
            (&["/bin/sh\0/etc/runit/1\0"], false),
            (&["runit\0"], false),
            (&["/bin/sh\0/etc/runit/2\0"], true),
            (&["runsvdir\0-P\0/etc/service\0", "", "crond\0"], true),
            (&["crond\0", "/bin/sh\0/etc/runit/3\0"], false),
        ] {
            let mut lines = lines.iter().map(ToString::to_string);
            assert_eq!(second_stage(&mut lines), want);
        }
    }

    #[test]
    fn masks_and_calls() {
        let status = "SigBlk:\t0000001000000000\nSigCgt:\t0000000000004000\n";
        assert_eq!(mask(status, "SigBlk:"), 1 << 36);
        assert_eq!(mask(status, "SigIgn:"), 0);
        let call = format!(
            "{} 0x7ffd10 0x0 0x0 0x8 0x0 0x0 0x7ffc 0x7f1",
            libc::SYS_rt_sigtimedwait
        );
        assert_eq!(sigtimedwait_set(&call), Some(0x7f_fd10));
        assert_eq!(sigtimedwait_set("running"), None);
        assert_eq!(sigtimedwait_set("0 0x1 0x2"), None);
    }
}
