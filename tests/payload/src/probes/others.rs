//! Processes, sockets and shared memory of the host, and the container's own control sockets.

use std::{fs, os::fd::AsRawFd};

use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use super::Probe;
use crate::{
    attempt::{
        Attempt::{Code, Pair, Socket},
        Facts, Place, opened, text,
    },
    call::call,
    outcome::Outcome::{self, Absent, Allowed, Blocked},
    target,
};

pub(super) const PROBES: &[Probe] = &[
    ("process-seen", Code(process_seen)),
    ("process-signal", Code(signal)),
    ("process-descriptor", Code(descriptor)),
    ("process-trace", Code(trace)),
    ("process-memory", Code(memory)),
    ("process-root", Code(root)),
    ("process-priority", Code(priority)),
    ("shared-memory", Code(shared_memory)),
    ("abstract-socket", Code(abstract_socket)),
    (
        "manager-socket",
        Code(|facts| stream("/run/systemd/private", facts)),
    ),
    (
        "bus-socket",
        Code(|facts| stream("/run/dbus/system_bus_socket", facts)),
    ),
    (
        "manager-notify-socket",
        Code(|facts| datagram("/run/systemd/notify", facts)),
    ),
    (
        "journal-socket",
        Code(|facts| datagram("/run/systemd/journal/dev-log", facts)),
    ),
    ("links-of-the-host", Code(links)),
    ("cgroups-of-the-host", Code(cgroups)),
    ("cgroup-above", Code(cgroup_above)),
    ("socket-crypto", Socket(38, libc::SOCK_SEQPACKET, 0)),
    ("socket-vsock", Socket(40, libc::SOCK_STREAM, 0)),
    ("socket-audit", Socket(libc::AF_NETLINK, libc::SOCK_RAW, 9)),
    (
        "socket-netlink-crypto",
        Socket(libc::AF_NETLINK, libc::SOCK_RAW, 21),
    ),
    ("socket-key", Socket(15, libc::SOCK_RAW, 2)),
    ("socket-x25", Socket(9, libc::SOCK_SEQPACKET, 0)),
    ("socket-rds", Socket(21, libc::SOCK_SEQPACKET, 0)),
    ("socket-can", Socket(29, libc::SOCK_RAW, 1)),
    ("socket-tipc", Socket(30, libc::SOCK_SEQPACKET, 0)),
    ("socket-bluetooth", Socket(31, libc::SOCK_RAW, 1)),
    ("socket-xdp", Socket(44, libc::SOCK_RAW, 0)),
    ("socket-qipcrtr", Socket(42, libc::SOCK_DGRAM, 0)),
    ("socket-packet", Socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("socket-inet", Socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
    ("pair-inet", Pair(libc::AF_INET)),
    ("pair-tipc", Pair(30)),
    ("pair-vsock", Pair(40)),
    ("attribute-trusted", Code(attribute)),
    ("attribute-immutable", Code(immutable)),
    ("thaw-file-system", Code(thaw)),
];

fn is_target(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.trim().as_bytes() == target::NAME.to_bytes())
}

fn process_seen(_: &Facts) -> Outcome {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    match pids.find(|pid| is_target(*pid)) {
        Some(pid) => Allowed(format!("{pid}")),
        None => Blocked("not seen".into()),
    }
}

/// The attempt itself; a process of the container that happens to have this PID is not the target.
fn on_target(facts: &Facts, result: nix::Result<i64>) -> Outcome {
    match result {
        Ok(_) if !is_target(facts.target) => Blocked("another process".into()),
        other => Outcome::of(other, &[]),
    }
}

fn signal(facts: &Facts) -> Outcome {
    on_target(facts, call!(libc::SYS_kill, facts.target, 0))
}

fn descriptor(facts: &Facts) -> Outcome {
    on_target(facts, call!(libc::SYS_pidfd_open, facts.target, 0))
}

/// Seized, not stopped, and let go when this process ends.
fn trace(facts: &Facts) -> Outcome {
    if !is_target(facts.target) {
        return Blocked("not seen".into());
    }
    on_target(facts, call!(libc::SYS_ptrace, 0x4206, facts.target, 0, 0))
}

/// No bytes of it: the check comes first.
fn memory(facts: &Facts) -> Outcome {
    let path = format!("/proc/{}/mem", facts.target);
    if !is_target(facts.target) {
        return Blocked("not seen".into());
    }
    Outcome::of(opened(&path, nix::fcntl::OFlag::O_RDONLY), &[])
}

fn root(facts: &Facts) -> Outcome {
    if !is_target(facts.target) {
        return Blocked("not seen".into());
    }
    match fs::read_dir(format!("/proc/{}/root/etc", facts.target)) {
        Ok(_) => Allowed("the host's files".into()),
        Err(error) => Blocked(error.to_string()),
    }
}

fn priority(facts: &Facts) -> Outcome {
    on_target(facts, call!(libc::SYS_setpriority, 0, facts.target, 0))
}

fn shared_memory(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_shmget, target::SHARED_MEMORY, 0, 0), &[])
}

fn connected(address: nix::Result<UnixAddr>, kind: SockType) -> Outcome {
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None);
    match (address, socket) {
        (Ok(address), Ok(socket)) => Outcome::of(connect(socket.as_raw_fd(), &address), &[]),
        (Err(errno), _) | (_, Err(errno)) => Absent(format!("{errno:?}")),
    }
}

fn abstract_socket(_: &Facts) -> Outcome {
    connected(UnixAddr::new_abstract(target::SOCKET), SockType::Stream)
}

fn stream(path: &str, _: &Facts) -> Outcome {
    connected(UnixAddr::new(path), SockType::Stream)
}

/// Opened, not spoken to.
fn datagram(path: &str, _: &Facts) -> Outcome {
    connected(UnixAddr::new(path), SockType::Datagram)
}

fn links(_: &Facts) -> Outcome {
    let names: Vec<String> = fs::read_dir("/proc/sys/net/ipv4/conf")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !["all", "default", "lo"].contains(&name.as_str()))
        .collect();
    if names.contains(&"skep-evil".to_owned()) {
        Allowed(names.join(" "))
    } else {
        Blocked(names.join(" "))
    }
}

/// The target's unit, by its cgroup.
fn cgroups(facts: &Facts) -> Outcome {
    let place = "/sys/fs/cgroup/system.slice/skep-evil-target.service";
    let seen = fs::symlink_metadata(place).is_ok();
    match (seen, facts.place) {
        (true, _) => Allowed(place.into()),
        (false, Place::Outside) => Absent("not in this hierarchy".into()),
        (false, Place::Inside) => Blocked("not seen".into()),
    }
}

/// A cgroup of the host, through a new mount of the hierarchy.
fn cgroup_above(facts: &Facts) -> Outcome {
    let kind = text("cgroup2");
    let mounted = call!(libc::SYS_mount, c"none", c"/mnt", kind.as_c_str(), 0, 0);
    match mounted {
        Err(errno) => Blocked(format!("mount: {errno:?}")),
        Ok(_) if fs::symlink_metadata("/mnt/system.slice/skep-evil-target.service").is_ok() => {
            Allowed("through a new mount".into())
        }
        Ok(_) if facts.place == Place::Outside => Absent("not in this hierarchy".into()),
        Ok(_) => Blocked("its own only".into()),
    }
}

/// Of this probe's own file.
fn attribute(_: &Facts) -> Outcome {
    let path = c"/mnt/attribute";
    let _ = fs::write("/mnt/attribute", "");
    let result = call!(libc::SYS_setxattr, path, c"trusted.skep", c"1", 1, 0);
    let _ = fs::remove_file("/mnt/attribute");
    Outcome::of(result, &[])
}

fn immutable(_: &Facts) -> Outcome {
    let file = match fs::File::create("/mnt/flags") {
        Ok(file) => file,
        Err(error) => return Absent(error.to_string()),
    };
    let mut flags = 0x10_u32.to_ne_bytes().to_vec();
    flags.resize(64, 0);
    // FS_IOC_SETFLAGS with FS_IMMUTABLE_FL, and without it again.
    let request = 0x4008_6602_i64;
    let result = call!(libc::SYS_ioctl, file.as_raw_fd(), request, &mut flags);
    let _ = call!(libc::SYS_ioctl, file.as_raw_fd(), request, &mut vec![0; 64]);
    let _ = fs::remove_file("/mnt/flags");
    Outcome::of(result, &[])
}

/// FITHAW of a file system that is not frozen.
fn thaw(_: &Facts) -> Outcome {
    let file = match fs::File::open("/") {
        Ok(file) => file,
        Err(error) => return Absent(error.to_string()),
    };
    let request = 0xc004_5878_i64;
    let result = call!(libc::SYS_ioctl, file.as_raw_fd(), request, 0);
    Outcome::of(result, &[nix::errno::Errno::EINVAL])
}
