//! The state file: what is known about a running container, for `skep list` and for those who enter it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use skep_spec::{State, VERSION};

use crate::load::state_dir;
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};

/// Writes the state file of one boot.
#[derive(Debug)]
pub struct Publisher {
    directory: PathBuf,
    state: State,
}

impl Publisher {
    /// For the container of `plan`, started from spec `id`, with this leader.
    pub fn new(plan: &LaunchPlan, id: &str, leader: i32) -> Result<Publisher, StepError> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
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
            os: plan.os.clone(),
            base: plan.ids.picked().then_some(plan.ids.base),
            no_new_privileges: plan.limits.no_new_privileges,
            system_calls: plan.limits.system_calls.clone(),
            confinement: plan.limits.confinement.clone(),
            ready: false,
            since,
        };
        Ok(Publisher {
            directory: state_dir(&plan.name),
            state,
        })
    }

    /// Replaces the file.
    pub fn publish(&mut self, ready: bool) -> Result<(), StepError> {
        self.state.ready = ready;
        let text =
            serde_json::to_vec(&self.state).map_err(|err| StepError::new("write state", err))?;
        let (temporary, path) = (
            self.directory.join("state.json.new"),
            self.directory.join("state.json"),
        );
        // systemd has made the directory; outside a unit there is none yet.
        fs::create_dir_all(&self.directory).at("create", self.directory.display())?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .at("write", temporary.display())?;
        file.write_all(&text).at("write", temporary.display())?;
        fs::rename(&temporary, &path).at("write", path.display())
    }

    /// Removes the file. systemd removes the directory, which is its own in a unit.
    pub fn withdraw(self) {
        let _ = fs::remove_file(self.directory.join("state.json"));
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
