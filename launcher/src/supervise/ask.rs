//! Asking an init to shut down or to reboot: by a signal, or by a program of the container.
//!
//! The program is entered like any other that `launcher exec` runs: with the container's ids and limits and nothing of
//! ours, so that it can do there no more than the container's root can. It is a child of the supervisor, never waited for
//! while it runs: a guest that holds it holds nobody else. What it prints is the guest's, and would get into the journal past
//! what cleans the console.

use std::io;
use std::process::{Child, Command, Stdio};

use crate::step::{At, StepError};

/// Exit status of entering, when the program was not found or may not be run (env(1)).
const NOT_RUN: [i32; 2] = [126, 127];

/// The program that was run last.
#[derive(Debug, Default)]
pub struct Asking {
    child: Option<Child>,
}

impl Asking {
    /// Runs `argv` inside container `name`, unless the last one still runs.
    pub fn run(&mut self, name: &str, argv: &[&str]) -> Result<(), StepError> {
        if self.child.is_some() {
            return Ok(());
        }
        let child = Command::new("/proc/self/exe")
            .args(["exec", name, "--"])
            .args(argv)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.at("run", argv.join(" "))?);
        Ok(())
    }

    /// Takes the status of one that has ended: whether it could not be run at all.
    pub fn failed(&mut self) -> bool {
        let ended = self.child.as_mut().map(Child::try_wait);
        match ended {
            Some(Ok(Some(status))) => {
                self.child = None;
                status.code().is_some_and(|code| NOT_RUN.contains(&code))
            }
            _ => false,
        }
    }

    /// Waits for one that still runs: the container is gone, and it with it.
    pub fn finish(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _: io::Result<()> = child.kill();
            let _ = child.wait();
        }
    }
}
