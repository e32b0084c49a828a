//! Network namespaces that are there already.

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use skep_spec::{Join, State};

use crate::load::state_dir;
use crate::plan::net::NetPlan;
use crate::step::{At, StepError};
use crate::supervise::publish::start_time;

/// Enters the namespace that a container is to have, when it is not one of its own.
pub fn enter(plan: &NetPlan) -> Result<(), StepError> {
    let Some(join) = &plan.join else {
        return Ok(());
    };
    let (file, what) = match join {
        Join::Path(path) => {
            let file = File::open(path).at("open", path.display()).map_err(|err| {
                match err.is(Errno::ENOENT) {
                    true => {
                        err.cure("make it with \"ip netns add NAME\", before the container starts")
                    }
                    false => err,
                }
            })?;
            (file, path.display().to_string())
        }
        Join::Container(name) => (of_container(name)?, format!("container {name}")),
    };
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .at("join the network of", &what)
        .map_err(|err| match err.is(Errno::EINVAL) {
            true => err.cure("it is not a network namespace"),
            false => err,
        })
}

/// The namespace of a running container. It is opened before the leader is looked at once more, so that it is not that of
/// another process with the same PID.
fn of_container(name: &str) -> Result<File, StepError> {
    let not_running = || {
        StepError::new("not running:", name)
            .cure(format!("start it with \"systemctl start skep@{name}\""))
    };
    let path = state_dir(name).join("state.json");
    let text = match std::fs::read_to_string(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Err(not_running()),
        other => other.at("read", path.display())?,
    };
    let state: State = serde_json::from_str(&text)
        .map_err(|err| StepError::new("not understood:", format!("{}: {err}", path.display())))?;
    let pid = i32::try_from(state.leader).map_err(|_| not_running())?;
    let file = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| not_running())?;
    match start_time(pid) {
        Ok(start) if start == state.leader_start => Ok(file),
        _ => Err(not_running()),
    }
}
