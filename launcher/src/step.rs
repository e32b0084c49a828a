//! The launcher's one error: which step failed, on which object, and why.
//!
//! A step never logs. Its error travels to the supervisor, over the barrier socket when it happened in another process,
//! and is printed once, there.

use std::fmt;
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sys::netlink;

/// A failed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// What was tried, e.g. `mount tmpfs on`.
    pub step: String,
    /// On what, e.g. `/run`.
    pub object: String,
    /// Error number of the system call; 0 when no call failed.
    pub errno: i32,
    /// What to do about it, when known.
    pub cure: Option<String>,
}

impl StepError {
    /// An error found by the launcher itself.
    pub fn new(step: impl Into<String>, object: impl fmt::Display) -> StepError {
        StepError {
            step: step.into(),
            object: object.to_string(),
            errno: 0,
            cure: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> StepError {
        self.cure = Some(cure.into());
        self
    }

    /// Whether the step failed with `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno as i32
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if self.errno != 0 {
            let errno = Errno::from_raw(self.errno);
            write!(f, ": {errno:?} ({})", errno.desc().to_lowercase())?;
        }
        if let Some(cure) = &self.cure {
            write!(f, "; {cure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepError {}

/// Names the step that a result belongs to.
pub trait At<T> {
    /// `step` is a verb phrase, `object` what it was done to.
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T, StepError>;
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T, StepError> {
        self.map_err(|errno| StepError {
            errno: errno as i32,
            ..StepError::new(step, object)
        })
    }
}

impl<T> At<T> for netlink::Result<T> {
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T, StepError> {
        self.map_err(|refused| StepError {
            errno: refused.errno as i32,
            cure: refused.said.map(|said| format!("the kernel says: {said}")),
            ..StepError::new(step, object)
        })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T, StepError> {
        self.map_err(|err| match err.raw_os_error() {
            Some(errno) => StepError {
                errno,
                ..StepError::new(step, object)
            },
            None => StepError::new(step, format!("{object}: {err}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_step_object_and_cause() {
        let err = nix::Result::<()>::Err(Errno::EPERM)
            .at("mount tmpfs on", "/run")
            .unwrap_err();
        assert_eq!(
            err.to_string(),
            "mount tmpfs on /run: EPERM (operation not permitted)"
        );
        assert_eq!(
            StepError::new("no init in", "/srv")
                .cure("set Init=")
                .to_string(),
            "no init in /srv; set Init="
        );
    }
}
