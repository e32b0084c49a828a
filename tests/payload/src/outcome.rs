//! What came of a probe, and a process of its own for each.

use std::{
    fs::File,
    io::{Read, Write},
    process,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, alarm, pipe},
};

use crate::call::fork;

/// What came of a probe.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was not permitted.
    Blocked(String),
    /// It was permitted.
    Allowed(String),
    /// There is nothing here that it could be tried on.
    Absent(String),
}

use Outcome::{Absent, Allowed, Blocked};

impl Outcome {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Blocked(_) => "blocked",
            Allowed(_) => "allowed",
            Absent(_) => "absent",
        }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Blocked(text) | Allowed(text) | Absent(text) => text,
        }
    }

    /// Success is permission, and so is an error that comes after the check.
    pub(crate) fn of<T: std::fmt::Debug>(result: Result<T, Errno>, after: &[Errno]) -> Outcome {
        match result {
            Ok(value) => Allowed(format!("{value:?}")),
            Err(errno) if after.contains(&errno) => Allowed(format!("{errno:?}")),
            Err(errno) => Blocked(format!("{errno:?}")),
        }
    }

    /// As [`Outcome::of`] for something that may not exist.
    pub(crate) fn of_object<T: std::fmt::Debug>(result: Result<T, Errno>) -> Outcome {
        match result {
            Err(errno @ (Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOTDIR)) => {
                Absent(format!("{errno:?}"))
            }
            other => Outcome::of(other, &[]),
        }
    }
}

/// Runs a probe in a process of its own: it may be killed for it, hang, or lose what it needs to go on.
pub(crate) fn isolated(probe: impl FnOnce() -> Outcome) -> Outcome {
    let (reader, writer) = match pipe() {
        Ok((reader, writer)) => (reader, writer),
        Err(errno) => return Absent(format!("pipe: {errno:?}")),
    };
    match fork() {
        Err(errno) => Absent(format!("fork: {errno:?}")),
        Ok(ForkResult::Child) => {
            drop(reader);
            alarm::set(5);
            let outcome = probe();
            let line = format!("{} {}", outcome.word(), outcome.detail());
            let written = File::from(writer).write_all(line.as_bytes());
            // The child must not go on with its parent's work.
            #[allow(clippy::exit)]
            process::exit(i32::from(written.is_err()))
        }
        Ok(ForkResult::Parent { child }) => {
            drop(writer);
            let mut line = String::new();
            let _ = File::from(reader).read_to_string(&mut line);
            let status = waitpid(child, None);
            match (line.split_once(' '), status) {
                (Some(("blocked", detail)), _) => Blocked(detail.into()),
                (Some(("allowed", detail)), _) => Allowed(detail.into()),
                (Some((_, detail)), _) => Absent(detail.into()),
                (None, Ok(WaitStatus::Signaled(_, signal, _))) => Blocked(format!("{signal:?}")),
                (None, other) => Blocked(format!("no word: {other:?}")),
            }
        }
    }
}
