//! Network namespaces that are there already.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use skep_spec::{Join, State};

use crate::load::state_dir;
use crate::plan::net::NetPlan;
use crate::step::{At, StepError};
use crate::supervise::publish::start_time;
use crate::supervise::signals::Signals;
use crate::sys::pidfd;

/// How long another container may take to boot again.
const PATIENCE: Duration = Duration::from_secs(20);

/// Enters the namespace that a container is to have, when it is not one of its own.
pub fn enter(plan: &NetPlan) -> Result<(), StepError> {
    let Some(join) = &plan.join else {
        return Ok(());
    };
    let (file, what) = match join {
        Join::Path(path) => (open(path)?, path.display().to_string()),
        Join::Container(name) => (await_container(name)?, format!("container {name}")),
    };
    let own = File::open(OWN).at("open", OWN)?;
    if same(&own, &file) {
        return Err(
            StepError::new("no network of its own has", what).cure("use Network=host instead")
        );
    }
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .at("join the network of", &what)
        .map_err(|err| match err.is(Errno::EINVAL) {
            true => err.cure("it is not a network namespace"),
            false => err,
        })
}

const OWN: &str = "/proc/self/ns/net";

/// The leader of the container whose network container `guest` shares: the links end with it.
pub(super) fn owner(plan: &NetPlan, guest: Pid) -> Result<Option<OwnedFd>, StepError> {
    let Some(Join::Container(name)) = &plan.join else {
        return Ok(None);
    };
    let path = format!("/proc/{guest}/ns/net");
    let shared = File::open(&path).at("open", &path)?;
    match of_container(name)? {
        Some((file, leader)) if same(&file, &shared) => Ok(Some(leader)),
        _ => Err(StepError::new("ended or restarted meanwhile:", name)),
    }
}

fn open(path: &Path) -> Result<File, StepError> {
    // One that is no namespace may be a FIFO.
    let mut options = File::options();
    let opened = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
    opened
        .at("open", path.display())
        .map_err(|err| match err.is(Errno::ENOENT) {
            true => err.cure("make it with \"ip netns add NAME\", before the container starts"),
            false => err,
        })
}

fn same(a: &File, b: &File) -> bool {
    let id = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
    id(a).is_some() && id(a) == id(b)
}

/// A container that boots again is between two namespaces for a moment.
fn await_container(name: &str) -> Result<File, StepError> {
    let begun = Instant::now();
    loop {
        match of_container(name)? {
            Some((file, _)) => return Ok(file),
            None if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(50)),
            None => {
                return Err(StepError::new("not running:", name)
                    .cure(format!("start it with \"systemctl start skep@{name}\"")));
            }
        }
    }
}

/// What there is of the container whose network is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It runs or boots, or the network is not another container's.
    There,
    /// It has ended, or a stop was asked for while it was waited for.
    Gone,
}

/// Waits, in a boot that follows another one, for the container whose network is shared: it boots again, too, or it has
/// ended and its directory is gone for good.
pub fn await_owner(plan: &NetPlan, signals: &Signals) -> Result<Owner, StepError> {
    let Some(Join::Container(name)) = &plan.join else {
        return Ok(Owner::There);
    };
    let begun = Instant::now();
    while of_container(name)?.is_none() {
        if signals.stop_requested()? {
            return Ok(Owner::Gone);
        }
        if begun.elapsed() >= PATIENCE {
            return Ok(match state_dir(name).exists() {
                true => Owner::There,
                false => Owner::Gone,
            });
        }
        sleep(Duration::from_millis(50));
    }
    Ok(Owner::There)
}

/// The namespace of a running container, and its leader. Both are opened before the leader is looked at once more, so that
/// they are not those of another process with the same PID.
fn of_container(name: &str) -> Result<Option<(File, OwnedFd)>, StepError> {
    let path = state_dir(name).join("state.json");
    let text = match std::fs::read_to_string(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("read", path.display())?,
    };
    let state: State = serde_json::from_str(&text)
        .map_err(|err| StepError::new("not understood:", format!("{}: {err}", path.display())))?;
    let Ok(pid) = i32::try_from(state.leader) else {
        return Ok(None);
    };
    let file = File::open(format!("/proc/{pid}/ns/net"));
    let (Ok(file), Ok(leader)) = (file, pidfd::open(Pid::from_raw(pid))) else {
        return Ok(None);
    };
    let lives = start_time(pid).is_ok_and(|start| start == state.leader_start);
    Ok(lives.then_some((file, leader)))
}
