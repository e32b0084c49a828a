//! Kinds of init: how each is found, becomes ready and is asked to shut down.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::libc;
use skep_spec::{Access, ContainerSpec};

use crate::host::HostFacts;
use crate::plan::environment::plan_environment;
use crate::tree::TreeFacts;
use crate::tree::services::Runner;

/// Where an init is looked for, in this order. First what a kernel would execute: a system with another init may have
/// systemd installed, too.
pub const CANDIDATES: [&str; 5] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/init",
    "/bin/init",
];

/// SIGRTMIN as glibc counts: the kernel's 32 and 33 belong to the threads library.
const SIGRTMIN: i32 = 34;

/// What kind of init runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitKind {
    /// systemd: halts on SIGRTMIN+3, says when it is ready.
    Systemd,
    /// BusyBox init: powers off on SIGUSR2.
    Busybox,
    /// System V init: reads a halt request from SIGPWR's inittab entry, which distributions rarely have; SIGINT is its
    /// ctrl-alt-del entry, which they have.
    Sysvinit,
    /// OpenRC, started by its own init or by System V's, which both take SIGINT for ctrl-alt-del.
    Openrc,
    /// GNU Shepherd: stops its services on SIGTERM and then the machine, which in a container is itself.
    Shepherd,
    /// Any other program: ends on SIGTERM.
    Other,
}

impl InitKind {
    /// The kind of the program with this file name, all links resolved, that is called as `called`: the name by which
    /// BusyBox runs as one of its other applets.
    pub fn of_program(name: &str, called: &Path) -> InitKind {
        match name {
            "busybox" | "busybox.static"
                if !["init", "linuxrc", name]
                    .iter()
                    .any(|init| called.ends_with(init)) =>
            {
                InitKind::Other
            }
            "systemd" => InitKind::Systemd,
            "busybox" | "busybox.static" => InitKind::Busybox,
            "init" => InitKind::Sysvinit,
            "openrc-init" => InitKind::Openrc,
            "shepherd" => InitKind::Shepherd,
            _ => InitKind::Other,
        }
    }

    /// The kind once it is known what starts the services.
    #[must_use]
    pub fn run_by(self, runner: Runner) -> InitKind {
        match (self, runner) {
            (InitKind::Sysvinit, Runner::Openrc) => InitKind::Openrc,
            _ => self,
        }
    }

    /// The signal that asks it to shut down.
    pub fn kill_signal(self) -> i32 {
        match self {
            InitKind::Systemd => SIGRTMIN + 3,
            InitKind::Busybox => libc::SIGUSR2,
            InitKind::Sysvinit | InitKind::Openrc => libc::SIGINT,
            InitKind::Shepherd | InitKind::Other => libc::SIGTERM,
        }
    }

    /// Whether it says on the notify socket when the boot is complete.
    pub fn notifies(self) -> bool {
        self == InitKind::Systemd
    }

    /// Whether the shutdown signal may be sent again. systemd loses one while it executes itself anew, a Guix boot program
    /// one that comes before it has become the Shepherd.
    pub fn repeats(self) -> bool {
        matches!(self, InitKind::Systemd | InitKind::Shepherd)
    }

    /// Whether it installs its signal handlers for certain, if given the time.
    pub fn will_hear(self) -> bool {
        self != InitKind::Other
    }
}

impl fmt::Display for InitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InitKind::Systemd => "systemd",
            InitKind::Busybox => "busybox",
            InitKind::Sysvinit => "sysvinit",
            InitKind::Openrc => "openrc",
            InitKind::Shepherd => "shepherd",
            InitKind::Other => "other",
        })
    }
}

/// The first process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Path inside the container.
    pub path: PathBuf,
    /// What it is.
    pub kind: InitKind,
    /// Arguments, the program's name included.
    pub argv: Vec<String>,
    /// `NAME=VALUE` strings.
    pub environment: Vec<String>,
    /// The signal that asks it to shut down.
    pub kill_signal: i32,
    /// Ready when it says so, or as soon as it runs.
    pub notify_ready: bool,
}

/// Plans the first process.
pub fn plan_init(
    spec: &ContainerSpec,
    host: &HostFacts,
    tree: &TreeFacts,
    machine_id: &str,
    own: impl Fn(&str) -> Option<String>,
) -> Init {
    let (path, kind) = tree.init.clone();
    let mut argv = vec![path.to_string_lossy().into_owned()];
    argv.extend(spec.parameters.iter().cloned());
    argv.extend(no_wizard(spec, kind));
    Init {
        kind,
        argv,
        environment: plan_environment(spec, host, tree.services.runner, machine_id, own),
        kill_signal: spec.kill_signal.unwrap_or(kind.kill_signal()),
        notify_ready: spec.notify_ready.unwrap_or(kind.notifies()),
        path,
    }
}

/// Each boot from an empty `/etc` is a first one, and systemd would ask questions that nobody is there to answer.
fn no_wizard(spec: &ContainerSpec, kind: InitKind) -> Option<String> {
    const KEY: &str = "systemd.firstboot=";
    let said = spec.parameters.iter().any(|word| word.starts_with(KEY));
    let wizard = kind == InitKind::Systemd && spec.root.access == Access::Volatile && !said;
    wizard.then(|| format!("{KEY}no"))
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for variable in &self.environment {
            writeln!(f, "environment {variable:?}")?;
        }
        let ready = if self.notify_ready {
            "when it says so"
        } else {
            "when it runs"
        };
        writeln!(
            f,
            "init {:?} ({}), ready {ready}, shut down by signal {}",
            self.argv, self.kind, self.kill_signal
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busybox_is_what_it_is_called() {
        for (name, called, want) in [
            ("busybox", "/sbin/init", InitKind::Busybox),
            ("busybox", "/linuxrc", InitKind::Busybox),
            ("busybox.static", "/bin/busybox.static", InitKind::Busybox),
            ("busybox", "/bin/sh", InitKind::Other),
            ("systemd", "/sbin/init", InitKind::Systemd),
            ("openrc-init", "/sbin/init", InitKind::Openrc),
        ] {
            let got = InitKind::of_program(name, Path::new(called));
            assert_eq!(got, want, "{called}");
        }
    }
}
