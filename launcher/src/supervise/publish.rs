//! The state file: what is known about a running container, for `skep list` and for those who enter it.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use skep_spec::{State, VERSION};

use crate::document::{now, replace_state};
use crate::load::state_dir;
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};

/// Link to the sockets that the container exports.
const EXPORT: &str = "unix-export";

/// Writes the state file of one boot.
#[derive(Debug)]
pub struct Publisher {
    directory: PathBuf,
    begun: Instant,
    state: State,
}

impl Publisher {
    /// For the container of `plan`, started from spec `id`, with this leader. `begun`: when its start began.
    pub fn new(
        plan: &LaunchPlan,
        id: &str,
        leader: i32,
        begun: Instant,
    ) -> Result<Publisher, StepError> {
        let state = State {
            version: VERSION,
            name: plan.name.clone(),
            spec: id.to_owned(),
            leader: leader.unsigned_abs(),
            leader_start: start_time(leader)?,
            init: match plan.command {
                Some(_) => "command".to_owned(),
                None => plan.init.kind.to_string(),
            },
            init_version: plan.init_version.clone(),
            os: plan.os.clone(),
            base: plan.ids.picked().then_some(plan.ids.base),
            no_new_privileges: plan.limits.no_new_privileges,
            system_calls: plan.limits.system_calls.clone(),
            reboots: plan.init.reboot.is_some(),
            confinement: plan.limits.confinement.clone(),
            ready: false,
            boot: None,
            addresses: Vec::new(),
            since: now(),
        };
        Ok(Publisher {
            directory: state_dir(&plan.name),
            begun,
            state,
        })
    }

    /// Publishes that the container is ready.
    pub fn ready(&mut self) -> Result<(), StepError> {
        self.state.ready = true;
        self.state.boot = u64::try_from(self.begun.elapsed().as_millis()).ok();
        self.publish()
    }

    /// Publishes its addresses.
    pub fn addresses(&mut self, addresses: &[IpAddr]) -> Result<(), StepError> {
        self.state.addresses = addresses.to_vec();
        self.publish()
    }

    /// Replaces the file.
    pub fn publish(&self) -> Result<(), StepError> {
        let (temporary, path) = (
            self.directory.join("state.json.new"),
            self.directory.join("state.json"),
        );
        // systemd has made the directory; outside a unit there is none yet.
        fs::create_dir_all(&self.directory).at("create", self.directory.display())?;
        replace_state(&path, &temporary, &self.state)
    }

    /// Lets the host reach the sockets that the container exports, through this process: nothing is mounted on the host,
    /// and nothing is left when the process is gone. The container runs without it all the same.
    pub fn export(&mut self, directory: BorrowedFd) {
        let link = self.directory.join(EXPORT);
        let target = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd());
        let made = fs::create_dir_all(&self.directory)
            .and_then(|()| match fs::remove_file(&link) {
                Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
                _ => symlink(target, &link),
            })
            .at("link", link.display());
        if let Err(err) = made {
            crate::log::line(err);
        }
    }

    /// Removes the file. systemd removes the directory, which is its own in a unit.
    pub fn withdraw(self) {
        for name in ["state.json", EXPORT] {
            let _ = fs::remove_file(self.directory.join(name));
        }
        let _ = fs::remove_dir(self.directory);
    }
}

/// Start time of a process in clock ticks since boot: field 22 of proc_pid_stat(5).
pub fn start_time(pid: i32) -> Result<u64, StepError> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).at("read", &path)?;
    parse_start_time(&text).ok_or_else(|| StepError::new("not understood:", &path))
}

/// The process name, field 2, may hold blanks and parentheses.
fn parse_start_time(text: &str) -> Option<u64> {
    text.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_of_an_odd_name() {
        let text = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_start_time(text), Some(4242));
        assert!(start_time(std::process::id().cast_signed()).unwrap() > 0);
    }
}
