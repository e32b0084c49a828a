//! A declared container on a test host, for the length of one test.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    host::{Done, Host, Snapshot},
    wait::{PATIENCE, timed, wait_until},
};

/// A start or a stop must fit in here, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// A container. [`Guest::finish`] is part of the test; a guest of a failed test is stopped and withdrawn all the same.
#[derive(Debug)]
pub struct Guest<'a> {
    host: &'a Host,
    name: String,
    before: Snapshot,
    finished: bool,
}

impl<'a> Guest<'a> {
    /// Writes `/etc/skep/NAME.container` and applies it.
    pub fn declare(host: &'a Host, name: &str, text: &str) -> Result<Guest<'a>> {
        let before = host.snapshot()?;
        let guest = Guest {
            host,
            name: name.to_owned(),
            before,
            finished: false,
        };
        guest.redeclare(text)?;
        Ok(guest)
    }

    /// Replaces the declaration and applies it.
    pub fn redeclare(&self, text: &str) -> Result<()> {
        self.host.write(&self.declaration(), text)?;
        self.host.exec(["skep", "apply"])?.ok().map(drop)
    }

    /// Path of the declaration in the host.
    pub fn declaration(&self) -> String {
        format!("/etc/skep/{}.container", self.name)
    }

    /// Name of its unit.
    pub fn unit(&self) -> String {
        format!("skep@{}.service", self.name)
    }

    /// Runs `systemctl VERB UNIT`, which must succeed in reasonable time; returns the time.
    pub fn systemctl(&self, verb: &str) -> Result<Duration> {
        let (done, time) = timed(|| self.host.exec(["systemctl", verb, &self.unit()]));
        if let Err(error) = done?.ok() {
            bail!("{error:#}, after {time:?}\n{}", self.status()?);
        }
        ensure!(time < LIMIT, "systemctl {verb} took {time:?}");
        Ok(time)
    }

    /// Runs a command in the container.
    pub fn exec(&self, command: &[&str]) -> Result<Done> {
        let argv = ["skep", "exec", &self.name, "--"]
            .into_iter()
            .chain(command.iter().copied());
        self.host.exec(argv)
    }

    /// What `systemctl status` says, with its journal lines.
    pub fn status(&self) -> Result<String> {
        Ok(self
            .host
            .exec([
                "systemctl",
                "status",
                "--no-pager",
                "--full",
                "--lines=40",
                &self.unit(),
            ])?
            .stdout())
    }

    /// A property of the unit.
    pub fn property(&self, name: &str) -> Result<String> {
        self.host
            .exec([
                "systemctl",
                "show",
                "--value",
                "--property",
                name,
                &self.unit(),
            ])?
            .ok()
    }

    /// All that the unit ever wrote to the journal.
    pub fn journal(&self) -> Result<String> {
        self.host
            .exec([
                "journalctl",
                "--no-pager",
                "--output=cat",
                "--unit",
                &self.unit(),
            ])?
            .ok()
    }

    /// Fails unless the container's own systemd says `running`, and names the units that failed in there.
    pub fn is_running(&self) -> Result<()> {
        let state = self.exec(&["systemctl", "is-system-running"])?.stdout();
        if state != "running" {
            let failed = self.exec(&[
                "systemctl",
                "list-units",
                "--failed",
                "--plain",
                "--no-legend",
            ])?;
            bail!(
                "the container is {state:?}, failed units:\n{}\n{}",
                failed.stdout(),
                failed.stderr()
            );
        }
        Ok(())
    }

    /// Stops and withdraws the container; fails when the host is not as it was before.
    pub fn finish(mut self) -> Result<()> {
        self.systemctl("stop")?;
        let state = (self.property("ActiveState")?, self.property("Result")?);
        ensure!(
            state == ("inactive".into(), "success".into()),
            "stopped, but {state:?}\n{}",
            self.status()?
        );
        self.finished = true;
        self.withdraw()?.ok()?;
        // What systemd frees after its reply takes a moment.
        let mut changes = Vec::new();
        wait_until(PATIENCE, "the host to be as before", || {
            changes = self.before.changes(&self.host.snapshot()?);
            Ok(changes.is_empty().then_some(()))
        })
        .with_context(|| changes.join("\n"))
    }

    fn withdraw(&self) -> Result<Done> {
        self.host.exec(["rm", "-f", &self.declaration()])?.ok()?;
        self.host.exec(["skep", "apply"])
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.host.exec(["systemctl", "stop", &self.unit()]);
            let _ = self.withdraw();
        }
    }
}

/// Runs a script in the container's shell; its output.
pub fn sh(guest: &Guest<'_>, script: &str) -> Result<String> {
    guest.exec(&["/bin/sh", "-c", script])?.ok()
}

/// Fails unless the script prints exactly `want`.
pub fn prints(guest: &Guest<'_>, script: &str, want: &str) -> Result<()> {
    let got = sh(guest, script)?;
    ensure!(got == want, "{script}\nprints {got:?}, not {want:?}");
    Ok(())
}

/// Starts a declared container.
pub fn started<'a>(host: &'a Host, name: &str, text: &str) -> Result<Guest<'a>> {
    let guest = Guest::declare(host, name, text)?;
    guest.systemctl("start")?;
    Ok(guest)
}
