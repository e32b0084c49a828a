//! The kinds of attempts that the tables of `probes` are made of.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Read,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc,
    sys::stat::Mode,
};

use crate::{
    call::call,
    outcome::{Outcome, isolated},
};

/// Where the payload runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a container.
    Inside,
    /// On the host, unconfined, to show that a probe can succeed at all.
    Outside,
}

/// What a probe knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// PID on the host of the process that is aimed at.
    pub(crate) target: i32,
    pub(crate) place: Place,
}

/// One attempt.
#[derive(Clone, Copy)]
pub(crate) enum Attempt {
    /// The capability of this number is within reach.
    Capability(u32),
    /// Something can be read here.
    Read(&'static str),
    /// A directory has entries.
    List(&'static str),
    /// The file can be opened for writing; nothing is written.
    Write(&'static str),
    /// The node can be opened.
    Open(&'static str),
    /// A node of this kind and number can be made.
    Node(u32, u32, u32),
    /// A file system of this type, with these options, can be mounted.
    Mount(&'static str, &'static str),
    /// What is mounted here can be unmounted.
    Unmount(&'static str),
    /// As `Unmount`, in a user and mount namespace of its own.
    UnmountNested(&'static str),
    /// What is mounted here can be made writable.
    Remount(&'static str),
    /// A socket of this family, type and protocol can be made.
    Socket(i32, i32, i32),
    /// The kernel is asked for a pair of sockets of this family; that the family has none counts as reached.
    Pair(i32),
    /// Anything else.
    Code(fn(&Facts) -> Outcome),
}

const MNT: &std::ffi::CStr = c"/mnt";

/// A mount namespace of its own, where that is to be had: what one probe mounts or unmounts is no other one's.
pub(crate) fn seclude() {
    let _ = call!(libc::SYS_unshare, libc::CLONE_NEWNS);
    let private = i64::try_from(libc::MS_REC | libc::MS_PRIVATE).unwrap_or(0);
    let _ = call!(libc::SYS_mount, c"none", c"/", c"", private, 0);
}

impl Attempt {
    pub(crate) fn run(self, facts: &Facts) -> Outcome {
        match self {
            Attempt::Capability(number) => capability(number),
            Attempt::Read(path) => read(path),
            Attempt::List(path) => list(path),
            Attempt::Write(path) => Outcome::of_object(opened(path, OFlag::O_WRONLY)),
            Attempt::Open(path) => Outcome::of_object(opened(path, OFlag::O_RDONLY)),
            Attempt::Node(kind, major, minor) => node(kind, major, minor),
            Attempt::Mount(kind, options) => mount(kind, options),
            Attempt::Unmount(path) => unmount(path, facts),
            Attempt::UnmountNested(path) => {
                let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
                match call!(libc::SYS_unshare, flags) {
                    Err(errno) => Outcome::Blocked(format!("unshare: {errno:?}")),
                    Ok(_) => unmount(path, facts),
                }
            }
            Attempt::Remount(path) => remount(path, facts),
            Attempt::Socket(family, kind, protocol) => {
                Outcome::of(call!(libc::SYS_socket, family, kind, protocol), &[])
            }
            Attempt::Pair(family) => {
                let result = call!(
                    libc::SYS_socketpair,
                    family,
                    libc::SOCK_STREAM,
                    0,
                    &mut vec![0; 8]
                );
                Outcome::of(result, &[Errno::EOPNOTSUPP, Errno::ESOCKTNOSUPPORT])
            }
            Attempt::Code(code) => code(facts),
        }
    }
}

pub(crate) fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

pub(crate) fn opened(path: &str, flags: OFlag) -> nix::Result<()> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    open(path, flags, Mode::empty()).map(drop)
}

fn capability(number: u32) -> Outcome {
    let bounding = call!(libc::SYS_prctl, libc::PR_CAPBSET_READ, i64::from(number));
    match bounding {
        Ok(0) => Outcome::Blocked("not in the bounding set".into()),
        Ok(_) => Outcome::Allowed("in the bounding set".into()),
        Err(errno) => Outcome::Absent(format!("{errno:?}")),
    }
}

fn read(path: &str) -> Outcome {
    let mut byte = [0; 256];
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = open(path, flags, Mode::empty()).map(File::from);
    match file {
        Err(errno) => Outcome::of_object::<()>(Err(errno)),
        Ok(mut file) => match file.read(&mut byte) {
            Ok(0) => Outcome::Blocked("nothing to read".into()),
            Ok(bytes) => Outcome::Allowed(format!("{bytes} bytes")),
            Err(error) => Outcome::Blocked(error.to_string()),
        },
    }
}

fn list(path: &str) -> Outcome {
    match fs::read_dir(path) {
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            Outcome::of_object::<()>(Err(errno))
        }
        Ok(entries) => match entries.count() {
            0 => Outcome::Blocked("empty".into()),
            entries => Outcome::Allowed(format!("{entries} entries")),
        },
    }
}

/// Removed again; it lies on a file system that the probe's own process mounted.
fn node(kind: u32, major: u32, minor: u32) -> Outcome {
    let device = i64::try_from(libc::makedev(major, minor)).unwrap_or(0);
    // Not on a tmpfs of its own, which would refuse nodes by itself.
    let path = c"/mnt/node";
    let made = call!(
        libc::SYS_mknodat,
        libc::AT_FDCWD,
        path,
        i64::from(kind | 0o600),
        device
    );
    let outcome = Outcome::of(made, &[]);
    let _ = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0);
    outcome
}

fn mount(kind: &str, options: &str) -> Outcome {
    let result = call!(
        libc::SYS_mount,
        c"none",
        MNT,
        text(kind).as_c_str(),
        0,
        text(options).as_c_str()
    );
    match result {
        Err(Errno::ENODEV) => Outcome::Absent("ENODEV".into()),
        other => Outcome::of(other, &[]),
    }
}

/// On the host there is no mask: one is made first.
fn cover(path: &str, read_only: bool) {
    let path = text(path);
    let bind = i64::try_from(libc::MS_BIND).unwrap_or(0);
    let ro = i64::try_from(libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY).unwrap_or(0);
    let _ = call!(
        libc::SYS_mount,
        path.as_c_str(),
        path.as_c_str(),
        c"",
        bind,
        0
    );
    if read_only {
        let _ = call!(libc::SYS_mount, c"none", path.as_c_str(), c"", ro, 0);
    }
}

fn unmount(path: &str, facts: &Facts) -> Outcome {
    if facts.place == Place::Outside {
        cover(path, false);
    }
    if fs::symlink_metadata(path).is_err() {
        return Outcome::Absent("ENOENT".into());
    }
    let path = text(path);
    Outcome::of(
        call!(libc::SYS_umount2, path.as_c_str(), libc::MNT_DETACH),
        &[],
    )
}

fn remount(path: &str, facts: &Facts) -> Outcome {
    if facts.place == Place::Outside {
        cover(path, true);
    }
    if fs::symlink_metadata(path).is_err() {
        return Outcome::Absent("ENOENT".into());
    }
    let flags = i64::try_from(libc::MS_BIND | libc::MS_REMOUNT).unwrap_or(0);
    let path = text(path);
    Outcome::of(
        call!(libc::SYS_mount, c"none", path.as_c_str(), c"", flags, 0),
        &[],
    )
}

/// Runs the rest in the first process of a user, PID and mount namespace of its own.
pub(crate) fn nested(work: impl FnOnce() -> Outcome) -> Outcome {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    match call!(libc::SYS_unshare, flags) {
        Err(errno) => Outcome::Blocked(format!("unshare: {errno:?}")),
        Ok(_) => isolated(work),
    }
}
