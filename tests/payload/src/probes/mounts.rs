//! Mounts that show or change what is the host's, and the undoing of masks.

use std::fs;

use nix::libc;

use super::Probe;
use crate::{
    attempt::{
        Attempt::{Code, Mount, Remount, Unmount, UnmountNested},
        Facts, nested,
    },
    call::call,
    outcome::Outcome::{self, Allowed, Blocked},
};

pub(super) const PROBES: &[Probe] = &[
    ("mount-devtmpfs", Mount("devtmpfs", "")),
    ("mount-debugfs", Mount("debugfs", "")),
    ("mount-tracefs", Mount("tracefs", "")),
    ("mount-securityfs", Mount("securityfs", "")),
    ("mount-selinuxfs", Mount("selinuxfs", "")),
    ("mount-configfs", Mount("configfs", "")),
    ("mount-pstore", Mount("pstore", "")),
    ("mount-efivarfs", Mount("efivarfs", "")),
    ("mount-hugetlbfs", Mount("hugetlbfs", "")),
    ("mount-cgroup-v1", Mount("cgroup", "memory")),
    ("write-cgroup-v1", Code(write_cgroup_v1)),
    ("mount-proc", Mount("proc", "")),
    ("mount-sysfs", Mount("sysfs", "")),
    ("mount-proc-nested", Code(proc_nested)),
    ("mount-sysfs-nested", Code(sysfs_nested)),
    ("bind-proc-without-masks", Code(|_| bare("/proc"))),
    ("bind-sys-without-masks", Code(|_| bare("/sys"))),
    ("unmount-kcore", Unmount("/proc/kcore")),
    ("unmount-kallsyms", Unmount("/proc/kallsyms")),
    ("unmount-keys", Unmount("/proc/keys")),
    ("unmount-timer-list", Unmount("/proc/timer_list")),
    ("unmount-interrupts", Unmount("/proc/interrupts")),
    ("unmount-acpi", Unmount("/proc/acpi")),
    ("unmount-sysrq-trigger", Unmount("/proc/sysrq-trigger")),
    ("unmount-proc-sys", Unmount("/proc/sys")),
    ("unmount-proc-bus", Unmount("/proc/bus")),
    ("unmount-proc-irq", Unmount("/proc/irq")),
    ("unmount-proc", Unmount("/proc")),
    ("unmount-sys", Unmount("/sys")),
    ("unmount-sys-firmware", Unmount("/sys/firmware")),
    ("unmount-dev", Unmount("/dev")),
    ("unmount-run-host", Unmount("/run/host")),
    ("unmount-kallsyms-nested", UnmountNested("/proc/kallsyms")),
    ("unmount-proc-sys-nested", UnmountNested("/proc/sys")),
    ("unmount-firmware-nested", UnmountNested("/sys/firmware")),
    ("remount-proc-sys", Remount("/proc/sys")),
    ("remount-proc-bus", Remount("/proc/bus")),
    ("remount-proc-irq", Remount("/proc/irq")),
    ("remount-proc-fs", Remount("/proc/fs")),
    ("remount-sys", Remount("/sys")),
    ("remount-run-host", Remount("/run/host")),
    ("device-on-root", Code(device_on_root)),
    ("new-root-shows-the-old", Code(pivot)),
    ("chroot-break", Code(chroot_break)),
    ("detach-root", Code(detach_root)),
];

/// Whether a path holds what only the host has.
fn sees_host() -> bool {
    [
        "./run/skep-evil",
        "../run/skep-evil",
        "../../../../../run/skep-evil",
    ]
    .iter()
    .any(|path| fs::symlink_metadata(path).is_ok())
}

fn proc_nested(_: &Facts) -> Outcome {
    nested(|| Mount("proc", "").run(&NOWHERE))
}

fn sysfs_nested(_: &Facts) -> Outcome {
    nested(|| {
        let _ = call!(libc::SYS_unshare, libc::CLONE_NEWNET);
        Mount("sysfs", "").run(&NOWHERE)
    })
}

/// For attempts that ask for no fact.
const NOWHERE: Facts = Facts {
    target: 0,
    place: crate::attempt::Place::Inside,
};

/// The hierarchies of a hybrid host are not namespaced by delegation: what counts is that none of it can be changed.
fn write_cgroup_v1(_: &Facts) -> Outcome {
    if let Err(errno) = call!(libc::SYS_mount, c"none", c"/mnt", c"cgroup", 0, c"memory") {
        return Blocked(format!("mount: {errno:?}"));
    }
    for file in [
        "release_agent",
        "cgroup.procs",
        "memory.limit_in_bytes",
        "tasks",
    ] {
        let path = format!("/mnt/{file}");
        if crate::attempt::opened(&path, nix::fcntl::OFlag::O_WRONLY).is_ok() {
            return Allowed(path);
        }
    }
    Blocked("mounted, but read-only for this root".into())
}

/// A bind that is not recursive leaves what is mounted below behind. On the host there is nothing to leave.
fn bare(path: &str) -> Outcome {
    let bind = i64::try_from(libc::MS_BIND).unwrap_or(0);
    let path = crate::attempt::text(path);
    let result = call!(libc::SYS_mount, path.as_c_str(), c"/mnt", c"", bind, 0);
    Outcome::of(result, &[])
}

/// Device nodes of the tree come to life when the root lacks `nodev`. The loop control has no other use here, and opening
/// it does nothing.
fn device_on_root(_: &Facts) -> Outcome {
    Outcome::of_object(crate::attempt::opened(
        "/node-loop-control",
        nix::fcntl::OFlag::O_RDONLY,
    ))
}

/// A new root of its own, and a look at what was above the old one.
fn pivot(facts: &Facts) -> Outcome {
    if facts.place == crate::attempt::Place::Outside {
        return Allowed("the host is here".into());
    }
    let mounted = call!(libc::SYS_mount, c"none", c"/mnt", c"tmpfs", 0, 0);
    if let Err(errno) = mounted {
        return Blocked(format!("mount: {errno:?}"));
    }
    let _ = fs::create_dir("/mnt/old");
    if let Err(errno) = call!(libc::SYS_pivot_root, c"/mnt", c"/mnt/old") {
        return Blocked(format!("pivot_root: {errno:?}"));
    }
    let _ = std::env::set_current_dir("/old");
    seen()
}

/// Out of a chroot by a directory that was left outside of it.
fn chroot_break(facts: &Facts) -> Outcome {
    if facts.place == crate::attempt::Place::Outside {
        return Allowed("the host is here".into());
    }
    if let Err(errno) = call!(libc::SYS_chroot, c"/proc") {
        return Blocked(format!("chroot: {errno:?}"));
    }
    for _ in 0..64 {
        let _ = call!(libc::SYS_chdir, c"..");
    }
    let _ = call!(libc::SYS_chroot, c".");
    seen()
}

fn detach_root(facts: &Facts) -> Outcome {
    if facts.place == crate::attempt::Place::Outside {
        return Allowed("the host is here".into());
    }
    if let Err(errno) = call!(libc::SYS_umount2, c"/", libc::MNT_DETACH) {
        return Blocked(format!("umount: {errno:?}"));
    }
    for _ in 0..64 {
        let _ = call!(libc::SYS_chdir, c"..");
    }
    seen()
}

fn seen() -> Outcome {
    if sees_host() {
        Allowed("the host's files".into())
    } else {
        Blocked("nothing of the host".into())
    }
}
