//! A person at a terminal of a test host: types, reads, and does not type on before the right thing was said.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{command::code, host::Host, wait::wait_until};

/// How long something may take to appear.
const LIMIT: Duration = Duration::from_secs(20);

/// A shell script on a terminal of its own. Dropping hangs up.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
    read: usize,
}

impl Terminal {
    /// Runs `script` with the host's shell on a terminal of 33 lines and 99 columns.
    pub fn open(host: &Host, script: &str) -> Result<Terminal> {
        let script = format!("stty rows 33 cols 99; {script}");
        let mut child = host
            .command(["script", "-qefc", &script, "/dev/null"])?
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let keys = child.stdin.take();
        let mut output = child.stdout.take().context("a pipe")?;
        let seen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend(&bytes[..length]);
            }
        });
        Ok(Terminal {
            child,
            keys,
            screen,
            read: 0,
        })
    }

    /// Types.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let pipe = self.keys.as_mut().context("hung up already")?;
        Ok(pipe.write_all(keys.as_bytes())?)
    }

    /// Everything that has been on the screen.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Reads on until `text`; what was there until then.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let found = wait_until(LIMIT, text, || {
            let screen = self.screen();
            let rest = screen.get(self.read..).unwrap_or_default();
            let end = rest.find(text).map(|at| at + text.len());
            Ok(end.map(|end| rest[..end].to_owned()))
        });
        match found {
            Ok(found) => {
                self.read += found.len();
                Ok(found)
            }
            Err(error) => bail!("{error:#}; on the screen is\n{:?}", self.screen()),
        }
    }

    /// Waits for the script's end: its exit status, and all that was on the screen.
    pub fn finish(mut self) -> Result<(i32, String)> {
        let status = wait_until(LIMIT, "the end of a terminal", || {
            Ok(self.child.try_wait()?)
        });
        match status {
            Ok(status) => {
                // What it said last is still on its way.
                thread::sleep(Duration::from_millis(100));
                Ok((code(status), self.screen()))
            }
            Err(error) => bail!("{error:#}; on the screen is\n{:?}", self.screen()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.keys = None;
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
