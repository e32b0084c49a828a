//! `cargo xtask try`: what skep does, shown on this machine's own OS, without leaving anything.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::{
    artifact,
    command::{capture, program, run, shown},
    host::{Host, Os, Wanted},
    leak::Machine,
    progress::{note, seconds, step},
    quiet::OWN_OS,
    tool,
    wait::timed,
};

const UNIT: &str = "skep@skep-try.service";
const DECLARATION: &str = "/run/skep/skep-try.container";

/// Where the container runs.
#[derive(Debug)]
enum Place {
    /// The systemd of this machine. The flag says whether the package was ours to install.
    Machine { installed: bool },
    /// A test host.
    Host(Host),
}

/// Builds, installs, boots, shows, and removes everything.
pub fn run_try() -> Result<()> {
    tool::require_root("containers")?;
    let package = artifact::package(&artifact::build()?)?;
    let before = Machine::now()?;
    let place = if Path::new("/run/systemd/system").exists() && Uid::effective().is_root() {
        step(
            "this machine runs systemd: the package is installed for the time being",
            || on_machine(&package),
        )?
    } else {
        step(
            "this machine runs no systemd: a test host of its own OS",
            || on_host(&package),
        )?
    };
    let shown = place.show();
    let removed = place.remove();
    shown.and(removed)?;
    let leaks = before.leaks()?;
    if !leaks.is_empty() {
        bail!("left behind:\n{}", leaks.join("\n"));
    }
    note("nothing is left: no process, mount, link, cgroup or file");
    Ok(())
}

fn on_machine(package: &Path) -> Result<Place> {
    let state = capture(&mut program(
        "dpkg-query",
        ["--show", "--showformat=${db:Status-Status}", "skep"],
    ));
    let installed = !state.is_ok_and(|state| state == "installed");
    if installed {
        let mut install = program("apt-get", ["install", "-y", "--no-install-recommends"]);
        run(install
            .arg(package)
            .env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    Ok(Place::Machine { installed })
}

fn on_host(package: &Path) -> Result<Place> {
    let wanted = Wanted {
        os: Os::Own,
        name: Some(format!("try-{}", std::process::id())),
        guests: vec!["host".into()],
        image: false,
        package: Some(package.to_owned()),
        owned: true,
    };
    Host::up(wanted).map(Place::Host)
}

impl Place {
    /// The declaration of the machine's own OS here, copy-on-write, without its services.
    fn declaration(&self) -> String {
        let root = match self {
            Place::Machine { .. } => "Root=/",
            Place::Host(_) => "Root=/var/lib/machines/host\nEphemeral=yes",
        };
        format!(
            "[Unit]\nDescription=This machine's own OS\n\n[Container]\n{root}\nHostname=skep-try\n{OWN_OS}"
        )
    }

    fn command<I, S>(&self, argv: I) -> Result<Command>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        match self {
            Place::Host(host) => host.command(argv),
            Place::Machine { .. } => {
                let mut words = argv.into_iter();
                let first = words.next().context("an empty command")?;
                let mut command = Command::new(first);
                command.args(words);
                Ok(command)
            }
        }
    }

    /// Runs a command with our streams, as a person would.
    fn perform(&self, argv: &[&str]) -> Result<()> {
        note(format_args!("# {}", argv.join(" ")));
        let (result, time) = timed(|| run(&mut self.command(argv)?));
        note(format_args!("took {}", seconds(time)));
        result.with_context(|| argv.join(" "))
    }

    fn show(&self) -> Result<()> {
        let text = self.declaration();
        note(format_args!("{DECLARATION}:"));
        for line in text.lines() {
            eprintln!("   {line}");
        }
        match self {
            Place::Host(host) => host.write(DECLARATION, &text)?,
            Place::Machine { .. } => {
                fs::create_dir_all("/run/skep")?;
                fs::write(DECLARATION, &text)?;
            }
        }
        self.perform(&["skep", "apply"])?;
        let started = self.perform(&["systemctl", "start", UNIT]);
        self.perform(&["systemctl", "status", "--no-pager", "--lines=0", UNIT])?;
        started.inspect_err(|_| {
            drop(self.perform(&["journalctl", "--no-pager", "--lines=60", "--unit", UNIT]))
        })?;
        self.perform(&["skep", "list"])?;
        let judged = self.judge();
        self.perform(&[
            "journalctl",
            "--no-pager",
            "--lines=12",
            "--output=cat",
            "--unit",
            UNIT,
        ])?;
        self.perform(&["systemctl", "stop", UNIT])?;
        judged
    }

    /// What the guest's own systemd says about itself.
    fn judge(&self) -> Result<()> {
        let argv = [
            "skep",
            "exec",
            "skep-try",
            "--",
            "systemctl",
            "is-system-running",
        ];
        note(format_args!("# {}", argv.join(" ")));
        let output = self
            .command(argv)?
            .output()
            .with_context(|| argv.join(" "))?;
        let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        eprintln!("{state}{}", String::from_utf8_lossy(&output.stderr));
        if state != "running" {
            self.perform(&[
                "skep",
                "exec",
                "skep-try",
                "--",
                "systemctl",
                "--no-pager",
                "--failed",
            ])?;
            bail!("the container says {state:?}");
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        match self {
            Place::Host(host) => step("the test host goes down", || host.down()),
            Place::Machine { installed } => step("removing container and package", || {
                let _ = crate::command::output(&mut program("systemctl", ["stop", UNIT]));
                let _ = fs::remove_file(DECLARATION);
                run(&mut program("skep", ["apply"]))?;
                if *installed {
                    let mut purge = program("dpkg", ["--purge", "skep"]);
                    run(&mut purge).with_context(|| shown(&purge))?;
                }
                Ok(())
            }),
        }
    }
}
