//! Test hosts: machines in namespaces with real systemd as PID 1.
//!
//! This module is what callers see: bring a host up, run something in it, reboot it, take it down. `supervise` is the
//! process that stays with a host, `root` builds the file system that its PID 1 wakes up in, `prepare` makes a tree a
//! test host's own before its first boot.

mod cgroup;
mod enter;
mod prepare;
mod root;
mod snapshot;
mod state;
mod supervise;

use std::{
    env, fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use self::{
    cgroup::Node,
    state::{Boot, Config, Supervisor, load},
};
pub use self::{
    enter::Done,
    snapshot::Snapshot,
    state::Process,
    supervise::{boot, supervise, xtask},
};
use crate::{
    command::{capture, output, program, tail},
    place,
    progress::{note, step},
    tool,
    tree::{self, Tree},
    wait::wait_until,
};

pub use self::root::init;

/// Longest boot that we wait for, and longest orderly shutdown.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// What a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// This machine's own OS, seen through an overlay.
    #[value(name = "self")]
    Own,
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
    /// Debian unstable.
    Sid,
}

impl Os {
    /// The three systemd generations that everything is tested on.
    pub const DEBIAN: [Os; 3] = [Os::Bookworm, Os::Trixie, Os::Sid];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Os::Own => "self",
            Os::Bookworm => "bookworm",
            Os::Trixie => "trixie",
            Os::Sid => "sid",
        }
    }

    fn tree(self) -> Option<Tree> {
        Tree::named(&format!("{}-host", self.name()))
    }
}

impl fmt::Display for Os {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How a host is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it runs.
    pub os: Os,
    /// Its name; made from the OS when absent.
    pub name: Option<String>,
    /// Guest trees below `/var/lib/machines`.
    pub guests: Vec<String>,
    /// Root file system on a loop-mounted ext4 image instead of an overlay.
    pub image: bool,
    /// Package to install.
    pub package: Option<PathBuf>,
    /// Take the host down when the calling process ends, however it ends.
    pub owned: bool,
}

/// A test host.
#[derive(Clone, Debug)]
pub struct Host {
    config: Config,
    directory: PathBuf,
}

/// Every host that has a directory, up or off.
pub fn list() -> Result<Vec<Host>> {
    let entries = match fs::read_dir(place::hosts()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut hosts = Vec::new();
    for entry in entries {
        let directory = entry?.path();
        if let Some(config) = load(&directory.join("host.json"))? {
            hosts.push(Host { config, directory });
        }
    }
    hosts.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    Ok(hosts)
}

impl Host {
    /// Brings a host up and waits until its boot has settled.
    pub fn up(wanted: Wanted) -> Result<Host> {
        tool::ensure_host_tools()?;
        if wanted.os == Os::Own || wanted.guests.iter().any(|guest| guest == "host") {
            tool::ensure_self_tools()?;
        }
        let tree = wanted.os.tree().map(Tree::ready).transpose()?;
        let host = Host::claim(&wanted)?;
        let begun = host
            .fill(tree.as_deref())
            .and_then(|()| supervise::spawn(&host))
            .and_then(|()| host.settle(0));
        if let Err(error) = begun {
            let console = tail(&host.console(), 40);
            let cleaned = host.down();
            let error = error.context(format!(
                "host {} did not come up; its console says:\n{console}",
                host.name()
            ));
            return Err(cleaned
                .err()
                .map_or(error, |other| anyhow::anyhow!("{other:#}")));
        }
        Ok(host)
    }

    /// The host of that name.
    pub fn find(name: &str) -> Result<Host> {
        check_name(name)?;
        let directory = place::hosts().join(name);
        let config = load(&directory.join("host.json"))?.with_context(|| {
            format!("no test host is named {name}; `cargo xtask host list` shows all")
        })?;
        Ok(Host { config, directory })
    }

    /// The host that `cargo xtask test` shares between boot tests: `$SKEP_TEST_HOSTS` is the prefix of their names.
    pub fn shared(os: Os) -> Result<Host> {
        let prefix = env::var("SKEP_TEST_HOSTS")
            .context("SKEP_TEST_HOSTS is not set: run `cargo xtask test`")?;
        Host::find(&shared_name(&prefix, os))
    }

    /// Its name, also its host name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it runs.
    pub fn os(&self) -> Os {
        self.config.os
    }

    /// The guests it was brought up with.
    pub fn guests(&self) -> &[String] {
        &self.config.guests
    }

    /// Everything PID 1 wrote to its console, over all boots.
    pub fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// The host's `/var/lib/machines`, seen from the machine.
    pub fn machines(&self) -> PathBuf {
        self.directory.join("machines")
    }

    /// Root of the host's cgroups, seen from the machine.
    pub fn cgroup(&self) -> Result<PathBuf> {
        Ok(self.node()?.host())
    }

    /// PID 1 of the host, seen from the machine; `None` when it is off.
    pub fn init(&self) -> Result<Option<Process>> {
        Ok(load::<Boot>(&self.directory.join("boot.json"))?
            .map(|boot| boot.init)
            .filter(|init| init.is_alive()))
    }

    /// Whether the host is built on this tree and running.
    pub(crate) fn uses_tree(&self, tree: Tree) -> bool {
        self.config.os.tree() == Some(tree) && self.init().is_ok_and(|init| init.is_some())
    }

    /// Whether somebody else keeps this host: it has no owner, or one that lives and is not this process.
    pub(crate) fn is_of_others(&self) -> bool {
        let own = Process::current().ok();
        self.config
            .owner
            .is_none_or(|owner| owner.is_alive() && Some(owner) != own)
    }

    /// A fresh copy of a guest tree as `/var/lib/machines/NAME`.
    pub fn scratch_guest(&self, guest: &str, name: &str) -> Result<()> {
        let tree = Tree::named(guest).with_context(|| format!("no guest tree is named {guest}"))?;
        let target = self.machines().join(name);
        if target.exists() {
            bail!("{name} already is a guest of host {}", self.name());
        }
        tree::copy(&tree.ready()?, &target)
    }

    /// Removes a guest made by [`Host::scratch_guest`].
    pub fn remove_guest(&self, name: &str) -> Result<()> {
        check_name(name)?;
        tree::remove_tree(&self.machines().join(name))
    }

    /// Reboots the OS of the host, as `reboot` does, and waits until the next boot has settled.
    pub fn reboot(&self) -> Result<()> {
        let before = self.boot()?.context("the host is off")?;
        // The command may be killed by what it asks for.
        let _ = self.exec(["systemctl", "reboot"])?;
        wait_until(BOOT_LIMIT, "the shutdown of the host", || {
            Ok((!before.init.is_alive()).then_some(()))
        })
        .and_then(|()| self.settle(before.count))
        .with_context(|| {
            format!(
                "host {} did not reboot; its console says:\n{}",
                self.name(),
                tail(&self.console(), 40)
            )
        })
    }

    /// Shuts the host down and removes everything it had.
    pub fn down(&self) -> Result<()> {
        if let Some(init) = self.init()? {
            let _ = self.exec(["systemctl", "poweroff", "--no-wall"]);
            let off = wait_until(SHUTDOWN_LIMIT, "an orderly shutdown", || {
                Ok((!init.is_alive()).then_some(()))
            });
            if let Err(error) = off {
                note(format_args!(
                    "host {}: {error}; killed instead",
                    self.name()
                ));
                kill(init)?;
            }
        }
        if let Some(supervisor) = load::<Supervisor>(&self.directory.join("supervisor.json"))? {
            let gone = wait_until(
                Duration::from_secs(15),
                "the supervisor of the host",
                || Ok((!supervisor.process.is_alive()).then_some(())),
            );
            if gone.is_err() {
                kill(supervisor.process)?;
            }
            Node::at(supervisor.cgroup).remove()?;
        }
        self.remove_directory()
    }

    /// Removes the directory, and the loop device of the image should it have outlived its mount.
    fn remove_directory(&self) -> Result<()> {
        let image = self.directory.join("root.img");
        if image.exists() {
            wait_until(
                Duration::from_secs(10),
                "the loop device of the image to be freed",
                || {
                    let attached = capture(
                        program("losetup", ["--noheadings", "--output=NAME", "--associated"])
                            .arg(&image),
                    )?;
                    let Some(device) = attached.lines().next() else {
                        return Ok(Some(()));
                    };
                    output(&mut program("losetup", ["--detach", device]))?;
                    Ok(None)
                },
            )?;
        }
        tree::remove_tree(&self.directory)
    }

    /// Takes a name and makes its directory.
    fn claim(wanted: &Wanted) -> Result<Host> {
        fs::create_dir_all(place::hosts())
            .with_context(|| format!("cannot create {}", place::hosts().display()))?;
        let (name, directory) = match &wanted.name {
            Some(name) => {
                check_name(name)?;
                let directory = place::hosts().join(name);
                fs::create_dir(&directory).with_context(|| {
                    format!("cannot take the name {name}, see `cargo xtask host list`")
                })?;
                (name.clone(), directory)
            }
            None => first_free_name(wanted.os)?,
        };
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let config = Config {
            name,
            os: wanted.os,
            image: wanted.image,
            guests: wanted.guests.clone(),
            package: wanted.package.clone(),
            owner: if wanted.owned {
                Some(Process::current()?)
            } else {
                None
            },
            machine_id: uuid.trim().replace('-', ""),
        };
        state::store(&directory.join("host.json"), &config)?;
        Ok(Host { config, directory })
    }

    /// Everything that must be on disk before the first boot.
    fn fill(&self, tree: Option<&Path>) -> Result<()> {
        for name in ["root", "upper", "work", "machines"] {
            fs::create_dir(self.directory.join(name))?;
        }
        if let Some(package) = &self.config.package {
            fs::copy(package, self.directory.join("package.deb"))
                .with_context(|| format!("cannot copy {}", package.display()))?;
        }
        for guest in &self.config.guests {
            if guest == "host" {
                fs::create_dir(self.machines().join(guest))?;
            } else {
                self.scratch_guest(guest, guest)?;
            }
        }
        if self.config.image {
            let tree =
                tree.context("--image needs an OS of its own: --os bookworm, trixie or sid")?;
            step(format_args!("ext4 image of host {}", self.name()), || {
                make_image(tree, &self.directory)
            })?;
        }
        Ok(())
    }

    /// Waits until boot number `after + 1` or a later one has settled; warns when it is degraded.
    fn settle(&self, after: u32) -> Result<()> {
        let state = wait_until(BOOT_LIMIT, "the host to boot", || {
            let supervisor: Option<Supervisor> = load(&self.directory.join("supervisor.json"))?;
            if supervisor.is_some_and(|supervisor| !supervisor.process.is_alive()) {
                bail!("the host ended while it booted");
            }
            let Some(boot) = self
                .boot()?
                .filter(|boot| boot.count > after && boot.init.is_alive())
            else {
                return Ok(None);
            };
            if fs::read_link(format!("/proc/{}/exe", boot.init.pid))
                .is_ok_and(|exe| exe.ends_with("systemd"))
            {
                // Fails as long as systemd does not listen yet.
                let state = self
                    .exec(["systemctl", "is-system-running", "--wait"])?
                    .stdout();
                return Ok(["running", "degraded"]
                    .contains(&state.as_str())
                    .then_some(state));
            }
            Ok(None)
        })?;
        if state == "degraded" {
            note(format_args!(
                "warning: host {} is degraded, failed units:",
                self.name()
            ));
            eprintln!(
                "{}",
                self.exec([
                    "systemctl",
                    "list-units",
                    "--failed",
                    "--plain",
                    "--no-legend"
                ])?
                .stdout()
            );
        }
        Ok(())
    }

    fn boot(&self) -> Result<Option<Boot>> {
        load(&self.directory.join("boot.json"))
    }

    fn node(&self) -> Result<Node> {
        let supervisor: Option<Supervisor> = load(&self.directory.join("supervisor.json"))?;
        Ok(Node::at(
            supervisor
                .with_context(|| format!("host {} was never started", self.name()))?
                .cgroup,
        ))
    }
}

/// Name of a shared host.
pub fn shared_name(prefix: &str, os: Os) -> String {
    format!("{prefix}-{os}")
}

/// Names are directory names, host names and parts of cgroup names.
fn check_name(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.bytes().all(good) {
        bail!("{name:?} is no name: 1 to 63 lower-case letters, digits and dashes");
    }
    Ok(())
}

fn first_free_name(os: Os) -> Result<(String, PathBuf)> {
    for number in 1..1000 {
        let name = if number == 1 {
            os.name().to_owned()
        } else {
            format!("{os}-{number}")
        };
        let directory = place::hosts().join(&name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok((name, directory)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot create {}", directory.display()));
            }
        }
    }
    bail!("a thousand hosts run {os}")
}

/// A sparse file with an ext4 file system that holds the tree and has room to work in.
fn make_image(tree: &Path, directory: &Path) -> Result<()> {
    let image = directory.join("root.img");
    fs::File::create(&image)?.set_len(6 << 30)?;
    let mut command = program(
        "mkfs.ext4",
        [
            "-q",
            "-F",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
            "-d",
        ],
    );
    capture(command.arg(tree).arg(&image)).map(drop)
}

fn kill(process: Process) -> Result<()> {
    if process.is_alive() {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process.pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
    }
    Ok(())
}
