//! Capabilities, ids, limits and keys.

use std::{
    fs::{self, File},
    io::{Read, Write},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, pause, pipe},
};

use super::Probe;
use crate::{
    attempt::{
        Attempt::{Capability, Code},
        Facts,
    },
    call::{call, fork},
    outcome::Outcome::{self, Allowed, Blocked},
};

pub(super) const PROBES: &[Probe] = &[
    ("cap-linux-immutable", Capability(9)),
    ("cap-ipc-lock", Capability(14)),
    ("cap-sys-module", Capability(16)),
    ("cap-sys-rawio", Capability(17)),
    ("cap-sys-ptrace", Capability(19)),
    ("cap-sys-pacct", Capability(20)),
    ("cap-sys-admin", Capability(21)),
    ("cap-sys-time", Capability(25)),
    ("cap-mknod", Capability(27)),
    ("cap-lease", Capability(28)),
    ("cap-audit-control", Capability(30)),
    ("cap-mac-override", Capability(32)),
    ("cap-mac-admin", Capability(33)),
    ("cap-syslog", Capability(34)),
    ("cap-wake-alarm", Capability(35)),
    ("cap-block-suspend", Capability(36)),
    ("cap-audit-read", Capability(37)),
    ("cap-perfmon", Capability(38)),
    ("cap-bpf", Capability(39)),
    ("cap-checkpoint-restore", Capability(40)),
    ("initial-user-namespace", Code(initial_users)),
    ("initial-cgroup-namespace", Code(initial_cgroups)),
    ("setuid-outside-the-map", Code(foreign_id)),
    ("raise-hard-limit", Code(hard_limit)),
    ("lower-oom-score", Code(oom_score)),
    ("realtime-scheduling", Code(realtime)),
    ("negative-nice", Code(nice)),
    ("realtime-io-priority", Code(io_priority)),
    ("alarm-timer", Code(alarm_timer)),
    ("alarm-timerfd", Code(alarm_timerfd)),
    ("key-add", Code(|_| key(libc::SYS_add_key))),
    ("key-request", Code(|_| key(libc::SYS_request_key))),
    ("key-control", Code(keyctl)),
    ("user-namespace", Code(|_| namespace(libc::CLONE_NEWUSER))),
    ("mount-namespace", Code(|_| namespace(libc::CLONE_NEWNS))),
    ("user-namespaces-without-end", Code(many_namespaces)),
    ("set-namespace", Code(set_namespace)),
    ("trace-a-child", Code(trace)),
];

fn initial_users(_: &Facts) -> Outcome {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    match words.as_slice() {
        ["0", "0", ..] => Allowed("root is the host's root".into()),
        _ => Blocked(words.join(" ")),
    }
}

fn initial_cgroups(facts: &Facts) -> Outcome {
    let own = fs::read_link("/proc/self/ns/cgroup");
    let path = format!("/proc/{}/ns/cgroup", facts.target);
    match (own, fs::read_link(path)) {
        (Ok(own), Ok(theirs)) if own == theirs => Allowed("the host's".into()),
        (Ok(own), _) => Blocked(own.to_string_lossy().into_owned()),
        (Err(error), _) => Blocked(error.to_string()),
    }
}

fn foreign_id(_: &Facts) -> Outcome {
    let id = 3_000_000_000_i64;
    Outcome::of(call!(libc::SYS_setresuid, id, id, id), &[])
}

fn hard_limit(_: &Facts) -> Outcome {
    let mut limit = [i64::MAX.to_ne_bytes(), i64::MAX.to_ne_bytes()].concat();
    let resource = i64::from(libc::RLIMIT_MSGQUEUE);
    Outcome::of(call!(libc::SYS_prlimit64, 0, resource, &mut limit, 0), &[])
}

fn oom_score(_: &Facts) -> Outcome {
    match fs::write("/proc/self/oom_score_adj", "-1000") {
        Ok(()) => Allowed("never killed".into()),
        Err(error) => Blocked(error.to_string()),
    }
}

fn realtime(_: &Facts) -> Outcome {
    let mut parameters = 1_i32.to_ne_bytes().to_vec();
    Outcome::of(
        call!(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_FIFO,
            &mut parameters
        ),
        &[],
    )
}

fn nice(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_setpriority, 0, 0, -20), &[])
}

fn io_priority(_: &Facts) -> Outcome {
    // Class "real time" in the upper bits.
    Outcome::of(call!(libc::SYS_ioprio_set, 1, 0, 1 << 13), &[])
}

fn alarm_timer(_: &Facts) -> Outcome {
    let mut id = vec![0; 64];
    Outcome::of(
        call!(
            libc::SYS_timer_create,
            libc::CLOCK_REALTIME_ALARM,
            0,
            &mut id
        ),
        &[],
    )
}

fn alarm_timerfd(_: &Facts) -> Outcome {
    Outcome::of(
        call!(libc::SYS_timerfd_create, libc::CLOCK_BOOTTIME_ALARM, 0),
        &[],
    )
}

/// Without a type the kernel gets no further than to look for one.
fn key(number: libc::c_long) -> Outcome {
    Outcome::of(call!(number, 0, 0, 0, 0, 0), &[Errno::EFAULT])
}

fn keyctl(_: &Facts) -> Outcome {
    // KEYCTL_GET_KEYRING_ID of the user's keyring, which all processes of one id share.
    Outcome::of(call!(libc::SYS_keyctl, 0, -4, 0), &[Errno::ENOKEY])
}

fn namespace(kind: i32) -> Outcome {
    Outcome::of(call!(libc::SYS_unshare, kind), &[])
}

/// More at a time than a guest with every sandbox has. A process holds each.
fn many_namespaces(_: &Facts) -> Outcome {
    const MANY: usize = 300;
    let mut holders = Vec::new();
    let mut refused = None;
    while holders.len() < MANY && refused.is_none() {
        let Ok((reader, writer)) = pipe() else {
            break;
        };
        match fork() {
            Ok(ForkResult::Child) => {
                drop(reader);
                let result = call!(libc::SYS_unshare, libc::CLONE_NEWUSER);
                let errno = result.err().map_or(0, |errno| errno as i32);
                let _ = File::from(writer).write_all(&errno.to_ne_bytes());
                loop {
                    pause();
                }
            }
            Ok(ForkResult::Parent { child }) => {
                drop(writer);
                holders.push(child);
                let mut errno = [0; 4];
                let _ = File::from(reader).read_exact(&mut errno);
                match i32::from_ne_bytes(errno) {
                    0 => {}
                    errno => refused = Some(Errno::from_raw(errno)),
                }
            }
            Err(errno) => refused = Some(errno),
        }
    }
    for holder in &holders {
        let _ = kill(*holder, Signal::SIGKILL);
        let _ = waitpid(*holder, None);
    }
    match refused {
        Some(errno) => Blocked(format!("{errno:?} after {}", holders.len())),
        None => Allowed(format!("{MANY} at a time")),
    }
}

fn set_namespace(_: &Facts) -> Outcome {
    match fs::File::open("/proc/self/ns/uts") {
        Err(error) => Outcome::Absent(error.to_string()),
        Ok(file) => {
            use std::os::fd::AsRawFd;
            Outcome::of(call!(libc::SYS_setns, file.as_raw_fd(), 0), &[])
        }
    }
}

/// A process that does not exist: after the filter there is nothing to find.
fn trace(_: &Facts) -> Outcome {
    Outcome::of(
        call!(libc::SYS_ptrace, 0x4206, 0x3fff_ffff, 0, 0),
        &[Errno::ESRCH],
    )
}
