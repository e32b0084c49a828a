//! Whether a signal would reach an init.
//!
//! The kernel drops a signal that PID 1 of a namespace neither catches nor blocks (pid_namespaces(7)). A blocked one waits
//! for it: systemd reads such signals from a signalfd, BusyBox takes them by sigtimedwait(2). While that call sleeps the
//! blocked mask in `/proc/PID/status` does not show what it waits for, so the call's own set is read as well.
//!
//! Shells and posix_spawn(3) block all signals for the moment in which they start a program, too, and what comes then is
//! dropped when they unblock. So a blocked signal counts only of an init that sleeps: whoever starts a program runs, or is
//! in the uninterruptible sleep of vfork(2).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::libc;

/// What a signal would do to a process if it were no init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It takes it.
    Hears,
    /// It blocks it at the moment, to take it later or just to be left alone.
    Unsettled,
    /// It asked not to be told.
    Ignores,
    /// It never said anything about it: the default action applies, which the kernel does not take on an init.
    Default,
}

/// Between two looks at an init that does not hear yet.
pub const LOOK: Duration = Duration::from_millis(10);

/// How long an init keeps a signal blocked until it is believed to want it.
pub const DOUBT: Duration = Duration::from_secs(1);

impl Hearing {
    /// What is to be made of it by somebody who has looked for this long.
    #[must_use]
    pub fn after(self, looked: Duration) -> Hearing {
        match self {
            Hearing::Unsettled if looked >= DOUBT => Hearing::Hears,
            heard => heard,
        }
    }
}

/// What process `pid`, an init, would make of `signal` now.
pub fn hearing(pid: i32, signal: i32) -> Hearing {
    let look = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let earlier = look();
    let heard = judge(&earlier, &look(), signal);
    match waited_for(pid) {
        Some(set) if set & bit(signal) != 0 => Hearing::Hears,
        _ => heard,
    }
}

/// The same by two looks at proc_pid_status(5). If it sleeps at both and was not switched to in between, then it sleeps.
fn judge(earlier: &str, now: &str, signal: i32) -> Hearing {
    let has = |key| mask(now, key) & bit(signal) != 0;
    let switches = |status| value(status, "voluntary_ctxt_switches:");
    let sleeps = |status| value(status, "State:").is_some_and(|state| state.starts_with('S'));
    if has("SigCgt:") {
        Hearing::Hears
    } else if has("SigBlk:") {
        let settled = sleeps(earlier) && sleeps(now) && switches(earlier) == switches(now);
        if settled {
            Hearing::Hears
        } else {
            Hearing::Unsettled
        }
    } else if has("SigIgn:") {
        Hearing::Ignores
    } else {
        Hearing::Default
    }
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

/// A value of proc_pid_status(5).
fn value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value.map(str::trim)
}

/// A signal mask of proc_pid_status(5).
fn mask(status: &str, key: &str) -> u64 {
    let hex = value(status, key).unwrap_or_default();
    u64::from_str_radix(hex, 16).unwrap_or_default()
}

/// The signal in a mask: bit N-1 for signal N.
fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
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

/// What a 32-bit program calls on this kernel instead: rt_sigtimedwait(2) and its kin with a 64-bit time. Sets are the same.
const COMPAT: &[i64] = match cfg!(target_arch = "x86_64") {
    true => &[177, 421],
    false => &[],
};

/// Address of the set in a line of proc_pid_syscall(5): the call's number, then its arguments.
fn sigtimedwait_set(call: &str) -> Option<u64> {
    let mut fields = call.split(' ');
    let number: i64 = fields.next()?.parse().ok()?;
    let set = fields.next()?.strip_prefix("0x")?;
    if number == libc::SYS_rt_sigtimedwait || COMPAT.contains(&number) {
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
    fn a_blocked_signal_counts_while_the_init_sleeps() {
        let status = |state: &str, blocked: u64, caught: u64, ignored: u64, switches: u32| {
            format!(
                "State:\t{state}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n\
                 SigCgt:\t{caught:016x}\nvoluntary_ctxt_switches:\t{switches}\n"
            )
        };
        const TERM: u64 = 1 << 14;
        let sleeping = status("S (sleeping)", TERM, 0, 0, 7);
        let woken = status("S (sleeping)", TERM, 0, 0, 8);
        let spawning = status("D (disk sleep)", !0, 0, 0, 7);
        let running = status("R (running)", TERM, 0, 0, 7);
        let catching = status("R (running)", 0, TERM, 0, 7);
        let ignoring = status("S (sleeping)", 0, 0, TERM, 7);
        let silent = status("S (sleeping)", 1 << 16, 0, 0, 7);
        for (earlier, now, want) in [
            (&sleeping, &sleeping, Hearing::Hears),
            (&sleeping, &woken, Hearing::Unsettled),
            (&silent, &spawning, Hearing::Unsettled),
            (&spawning, &spawning, Hearing::Unsettled),
            (&running, &sleeping, Hearing::Unsettled),
            (&running, &running, Hearing::Unsettled),
            (&catching, &catching, Hearing::Hears),
            (&ignoring, &ignoring, Hearing::Ignores),
            (&spawning, &silent, Hearing::Default),
            (&silent, &String::new(), Hearing::Default),
        ] {
            assert_eq!(judge(earlier, now, libc::SIGTERM), want, "{now}");
        }
    }

    #[test]
    fn masks_and_calls() {
        let status = "SigBlk:\t0000001000000000\nSigCgt:\t0000000000004000\n";
        assert_eq!(mask(status, "SigBlk:"), bit(37));
        assert_eq!(mask(status, "SigIgn:"), 0);
        for number in COMPAT.iter().chain(&[libc::SYS_rt_sigtimedwait]) {
            let call = format!("{number} 0x7ffd10 0x0 0x0 0x8 0x0 0x0 0x7ffc 0x7f1");
            assert_eq!(sigtimedwait_set(&call), Some(0x7f_fd10), "{number}");
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(COMPAT, [177, 421]);
        assert_eq!(sigtimedwait_set("running"), None);
        assert_eq!(sigtimedwait_set("0 0x1 0x2"), None);
    }
}
