//! What is remembered across boots: why the last one ended.
//!
//! The state file goes with the unit's runtime directory, so this one lies elsewhere. It is for `skep status` only; a
//! container runs without it, so a failure to write is logged and no more. A supervisor that is killed leaves the start of
//! its boot without an end, which the next one finds.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use skep_spec::{ENDS_DIR, End, Ended, Ends, VERSION};

use crate::document::{now, replace_state};
use crate::log::printable;
use crate::step::{At, StepError};
use crate::supervise::Ending;
use crate::supervise::state::Outcome;

/// Longest file that is read.
const LIMIT: u64 = 64 << 10;

/// Longest reason that is kept, in characters.
const REASON: usize = 500;

/// The memory of one boot.
#[derive(Debug)]
pub struct Memory {
    since: u64,
    ends: Ends,
}

impl Memory {
    /// A boot begins.
    pub fn begin(name: &str) -> Memory {
        let since = now();
        let before = load(name);
        let lost = before.as_ref().and_then(|ends| ends.running);
        let last = match lost {
            Some(since) => Some(Ended {
                since,
                at: None,
                ready: false,
                end: End::Lost,
            }),
            None => before.and_then(|ends| ends.last),
        };
        let memory = Memory {
            since,
            ends: Ends {
                version: VERSION,
                name: name.to_owned(),
                running: Some(since),
                last,
            },
        };
        memory.write();
        memory
    }

    /// The boot has ended.
    pub fn end(mut self, result: &Result<Ending, StepError>) {
        self.ends.running = None;
        self.ends.last = Some(Ended {
            since: self.since,
            at: Some(now()),
            ready: matches!(result, Ok(ending) if ending.ready),
            end: match result {
                Ok(ending) => end(&ending.outcome),
                Err(error) => End::NotSetUp(printable(&error.to_string(), REASON)),
            },
        });
        self.write();
    }

    fn write(&self) {
        if let Err(error) = self.try_write() {
            crate::log::line(error);
        }
    }

    fn try_write(&self) -> Result<(), StepError> {
        let path = path(&self.ends.name);
        match DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(ENDS_DIR)
        {
            Err(err) if err.kind() != ErrorKind::AlreadyExists => {
                Err(err).at("create", ENDS_DIR)?;
            }
            _ => {}
        }
        // No name of a container starts with a dot.
        let temporary = path.with_file_name(format!(".{}.new", self.ends.name));
        replace_state(&path, &temporary, &self.ends)
    }
}

fn load(name: &str) -> Option<Ends> {
    let mut bytes = Vec::new();
    File::open(path(name))
        .ok()?
        .take(LIMIT)
        .read_to_end(&mut bytes)
        .ok()?;
    let ends: Ends = serde_json::from_slice(&bytes).ok()?;
    (ends.version == VERSION && ends.name == name).then_some(ends)
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(ENDS_DIR).join(format!("{name}.json"))
}

fn end(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Stopped => End::Stopped,
        Outcome::PoweredOff => End::PoweredOff,
        Outcome::Reboot => End::Rebooted,
        Outcome::Failed(status) => End::Exited(*status),
        Outcome::Crashed(signal) => End::Killed(*signal as i32),
    }
}
