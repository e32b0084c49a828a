//! Running commands inside a test host.
//!
//! A command enters a cgroup below the host's before it joins the namespaces: seen from inside, its own cgroup would
//! otherwise lie above the root and confuse whatever reads /proc/self/cgroup there.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::Host;
use crate::command::{code, output, shown};

/// `$1` is a cgroup.procs file, `$2` the PID of the host's init; the rest is run. 125 as in env(1): we failed, not it.
const ENTER: &str = "echo $$ >\"$1\" || exit 125; init=$2; shift 2; \
     exec nsenter --target \"$init\" --mount --uts --ipc --net --pid --cgroup -- \"$@\"";

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Done {
    line: String,
    output: Output,
}

impl Done {
    /// Exit status, 128+N for signal N.
    pub fn status(&self) -> i32 {
        code(self.output.status)
    }

    /// Standard output without the blanks around it.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout)
            .trim()
            .to_owned()
    }

    /// Standard error without the blanks around it.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr)
            .trim()
            .to_owned()
    }

    /// Standard output of a success; an error with everything that was said otherwise.
    pub fn ok(self) -> Result<String> {
        match self.status() {
            0 => Ok(self.stdout()),
            status => bail!(
                "{}: status {status}\n{}\n{}",
                self.line,
                self.stdout(),
                self.stderr()
            ),
        }
    }
}

impl Host {
    /// Runs a command inside, without standard input, and waits for it. An error means that it could not be run at
    /// all.
    pub fn exec<I, S>(&self, argv: I) -> Result<Done>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(argv)?;
        Ok(Done {
            line: shown(&command),
            output: output(&mut command)?,
        })
    }

    /// Runs a shell script inside.
    pub fn sh(&self, script: &str) -> Result<Done> {
        self.exec(["/bin/sh", "-euc", script])
    }

    /// Fails unless a script, run by bash, prints exactly `want`.
    pub fn prints(&self, script: &str, want: &str) -> Result<()> {
        let done = self.exec(["timeout", "60", "bash", "-c", script])?;
        let said = done.stdout().replace('\r', "");
        ensure!(
            said == want,
            "{script}\nprints {said:?}, not {want:?}\n{}",
            done.stderr()
        );
        Ok(())
    }

    /// Does `work` between two scripts; the second always runs.
    pub fn between(
        &self,
        before: &str,
        after: &str,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let judged = self.sh(before)?.ok().and_then(|_| work());
        let cleaned = self.sh(after)?.ok();
        judged?;
        cleaned.map(drop)
    }

    /// Writes a file inside, with the directories above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<()> {
        // As editors do: a file that is read while it is rewritten is empty for a moment, and an empty declaration masks.
        let script = "mkdir -p \"$(dirname \"$1\")\" && case \"$1\" in \
             /etc/*|/run/*) cat >\"$1.new~\" && mv -fT \"$1.new~\" \"$1\" ;; *) cat >\"$1\" ;; esac";
        let mut command = self.command(["/bin/sh", "-c", script, "sh", path])?;
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        child
            .stdin
            .take()
            .context("pipe")?
            .write_all(text.as_ref())?;
        if !child.wait()?.success() {
            bail!("cannot write {path} in host {}", self.name());
        }
        Ok(())
    }

    /// A command that is going to run inside, with our standard streams unless the caller sets others.
    pub fn command<I, S>(&self, argv: I) -> Result<Command>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let init = self
            .init()?
            .with_context(|| format!("host {} is off", self.name()))?;
        let entered = self.node()?.entered();
        fs::create_dir_all(&entered)
            .with_context(|| format!("cannot create {}", entered.display()))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", ENTER, "enter"])
            .arg(entered.join("cgroup.procs"))
            .arg(init.pid.to_string())
            .args(argv);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("TERM", env::var_os("TERM").unwrap_or_else(|| "dumb".into()))
            .current_dir("/");
        Ok(command)
    }
}
