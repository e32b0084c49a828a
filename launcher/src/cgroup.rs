//! The unit's delegated cgroup: `supervisor/` holds this process, `payload/` the container.
//!
//! Two leaves, because a cgroup with controllers enabled for its children may hold no process itself. systemd makes
//! `supervisor/` from version 254 on (`DelegateSubgroup=`); before that the launcher moves itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;

use crate::host::HostFacts;
use crate::step::{At, StepError};

/// Between two looks at a cgroup that is being emptied, should its notice get lost: milliseconds.
const LOOK: u8 = 100;

/// Levels below the container's cgroup. Names have 255 bytes, and a path that is longer than 4096 cannot be removed by
/// those who use paths, systemd among them: a container would leave cgroups behind for good.
const LEVELS: u32 = 15;

/// Cgroups below the container's: each costs memory of the kernel.
const CGROUPS: u32 = 4096;

/// The container's cgroup, ready for its first process.
#[derive(Debug)]
pub struct Payload {
    /// Descriptor for `CLONE_INTO_CGROUP`.
    pub fd: OwnedFd,
    /// Path of it.
    pub path: PathBuf,
}

impl Payload {
    /// Kills every process in it. Without a PID namespace of its own, the end of the first one ends no other.
    pub fn kill(&self) -> Result<(), StepError> {
        let path = self.path.join("cgroup.kill");
        fs::write(&path, "1").at("write", path.display())
    }

    /// Waits until no process is left in it.
    pub fn wait_until_empty(&self) -> Result<(), StepError> {
        let path = self.path.join("cgroup.events");
        let events = File::open(&path).at("open", path.display())?;
        let mut bytes = [0; 256];
        loop {
            // The kernel tells of changes since the last read by the same descriptor.
            let length = events.read_at(&mut bytes, 0).at("read", path.display())?;
            if !is_populated(&bytes[..length]) {
                return Ok(());
            }
            let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            let _ = poll(&mut fds, LOOK);
        }
    }

    /// Removes it with all that was made below it, once it is empty.
    pub fn remove(self) {
        remove_tree(&self.path);
    }
}

/// What cgroup.events says, cgroups(7).
fn is_populated(events: &[u8]) -> bool {
    events
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"populated 1")
}

/// The unit's cgroup directory.
pub fn unit_dir(host: &HostFacts) -> PathBuf {
    let unit = host
        .cgroup
        .strip_suffix("/supervisor")
        .unwrap_or(&host.cgroup);
    host.cgroup_mount.join(unit.trim_start_matches('/'))
}

/// Makes both leaves and gives the payload to `owner`, the host id of the container's root.
pub fn prepare(host: &HostFacts, owner: u32) -> Result<Payload, StepError> {
    let unit = unit_dir(host);
    if !host.cgroup.ends_with("/supervisor") {
        let supervisor = unit.join("supervisor");
        make_dir(&supervisor)?;
        fs::write(supervisor.join("cgroup.procs"), "0").at("enter cgroup", supervisor.display())?;
    }
    let payload = unit.join("payload");
    // What an earlier boot of the container left: empty, because its PID namespace is gone.
    remove_tree(&payload);
    make_dir(&payload)?;
    for file in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ] {
        let path = if file.is_empty() {
            payload.clone()
        } else {
            payload.join(file)
        };
        chown(&path, Some(owner), Some(owner))
            .at("give cgroup to the container:", path.display())
            .map_err(|err| {
                if err.is(Errno::EINVAL) {
                    err.cure(
                        "these ids do not exist here: in a container set PrivateUsers=identity",
                    )
                } else {
                    err
                }
            })?;
    }
    for (file, most) in [
        ("cgroup.max.depth", LEVELS),
        ("cgroup.max.descendants", CGROUPS),
    ] {
        let path = payload.join(file);
        fs::write(&path, most.to_string()).at("write", path.display())?;
    }
    enable_controllers(&unit)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd =
        nix::fcntl::open(&payload, flags, Mode::empty()).at("open cgroup", payload.display())?;
    Ok(Payload { fd, path: payload })
}

fn make_dir(path: &Path) -> Result<(), StepError> {
    match fs::create_dir(path) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.at("create cgroup", path.display()),
    }
}

/// Enables for the payload whatever the unit got.
fn enable_controllers(unit: &Path) -> Result<(), StepError> {
    let all = fs::read_to_string(unit.join("cgroup.controllers"))
        .at("read controllers of", unit.display())?;
    let request: Vec<String> = all
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    if request.is_empty() {
        return Ok(());
    }
    match fs::write(unit.join("cgroup.subtree_control"), request.join(" ")) {
        // A process that is not ours (ExecStartPre= of the unit) is still in the unit's own cgroup.
        Err(err) if err.raw_os_error() == Some(Errno::EBUSY as i32) => {
            crate::log::line(
                "cgroup controllers stay with the unit: another process is in its cgroup",
            );
            Ok(())
        }
        other => other.at("enable controllers of", unit.display()),
    }
}

/// Removes a tree of cgroups without processes; cgroupfs lets only directories be removed, leaves first.
fn remove_tree(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let below = entries.flatten().filter(is_dir).map(|entry| entry.path());
        // Paths, and this directory closed: a guest may have made more levels than may be open at once.
        let below: Vec<_> = below.collect();
        below.iter().for_each(|path| remove_tree(path));
        // An occupied one stays and the next make_dir finds it.
        let _ = fs::remove_dir(path);
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn events() {
        assert!(is_populated(b"populated 1\nfrozen 0\n"));
        assert!(!is_populated(b"populated 0\nfrozen 1\n"));
        assert!(!is_populated(b""));
    }

    #[test]
    fn a_deep_tree_is_removed() {
        let top = std::env::temp_dir().join(format!("skep-cgroup-{}", std::process::id()));
        fs::create_dir_all(top.join("a/".repeat(100))).unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        remove_tree(&top);
        assert!(!top.exists());
    }
}
