//! What is known of each kind of init: by what it is recognized, and how it is talked to.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nix::libc;

use crate::tree::services::Runner;

/// SIGRTMIN as glibc counts: the kernel's 32 and 33 belong to the threads library.
pub const SIGRTMIN: i32 = 34;

/// What kind of init runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitKind {
    /// systemd: halts on SIGRTMIN+3, reboots on SIGRTMIN+5, says when it is ready.
    Systemd,
    /// BusyBox init: powers off on SIGUSR2, reboots on SIGTERM.
    Busybox,
    /// System V init: reads a halt request from SIGPWR's inittab entry, which distributions rarely have; SIGINT is its
    /// ctrl-alt-del entry, which they have.
    Sysvinit,
    /// OpenRC, started by its own init or by System V's, which both take SIGINT for ctrl-alt-del.
    Openrc,
    /// runit: its SIGCONT counts only when a file says so, and its SIGINT runs a script that waits or reboots as the
    /// distribution likes. What both are made for is its own program.
    Runit,
    /// s6-svscan as first process: SIGTERM brings all services down, then it ends, or executes what it is to end as.
    S6,
    /// s6-linux-init: has s6-svscan power off on SIGUSR1 and reboot on SIGINT; on bare metal's scripts SIGTERM does nothing.
    S6LinuxInit,
    /// dinit: halts on SIGTERM, reboots on SIGINT.
    Dinit,
    /// GNU Shepherd: stops its services on SIGTERM and then the machine, which in a container is itself.
    Shepherd,
    /// Our own small init above one program, which gets the signals.
    Own,
    /// Any other program: ends on SIGTERM.
    Other,
}

/// How an init is asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By this signal.
    Signal(i32),
    /// By a program of the container, run inside by its root: only runit's, which listens at certain times.
    Program(&'static [&'static str]),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Signal(signal) => write!(f, "by signal {signal}"),
            Ask::Program(argv) => write!(f, "by {argv:?}"),
        }
    }
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
            "runit" | "runit-init" => InitKind::Runit,
            "s6-svscan" => InitKind::S6,
            "s6-linux-init" => InitKind::S6LinuxInit,
            "dinit" => InitKind::Dinit,
            "shepherd" => InitKind::Shepherd,
            _ => InitKind::Other,
        }
    }

    /// The kind of a script, by the program that it names: s6 has an init made for each system.
    pub fn of_script(text: &str) -> InitKind {
        let names = |program: &str| {
            text.lines()
                .any(|line| !line.trim_start().starts_with("# ") && line.contains(program))
        };
        if names("s6-linux-init") {
            InitKind::S6LinuxInit
        } else if names("s6-svscan") || names("s6-overlay") {
            InitKind::S6
        } else {
            InitKind::Other
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

    /// How it is asked to shut down.
    pub fn shutdown(self) -> Ask {
        Ask::Signal(match self {
            InitKind::Runit => return Ask::Program(&["/sbin/runit-init", "0"]),
            InitKind::Systemd => SIGRTMIN + 3,
            InitKind::Busybox => libc::SIGUSR2,
            InitKind::S6LinuxInit => libc::SIGUSR1,
            InitKind::Sysvinit | InitKind::Openrc => libc::SIGINT,
            InitKind::S6
            | InitKind::Dinit
            | InitKind::Shepherd
            | InitKind::Own
            | InitKind::Other => libc::SIGTERM,
        })
    }

    /// How it is asked to reboot, if it knows such a thing. One that ends in another way than by a reboot is booted again
    /// all the same.
    pub fn reboot(self) -> Option<Ask> {
        Some(Ask::Signal(match self {
            InitKind::Runit => return Some(Ask::Program(&["/sbin/runit-init", "6"])),
            InitKind::Systemd => SIGRTMIN + 5,
            InitKind::Busybox | InitKind::Shepherd => libc::SIGTERM,
            InitKind::Sysvinit
            | InitKind::Openrc
            | InitKind::S6
            | InitKind::S6LinuxInit
            | InitKind::Dinit => libc::SIGINT,
            InitKind::Own | InitKind::Other => return None,
        }))
    }

    /// Whether it says on the notify socket when the boot is complete.
    pub fn notifies(self) -> bool {
        self == InitKind::Systemd
    }

    /// After which time it may be asked again; doubled each time. systemd loses a signal while it executes itself anew, a
    /// Guix boot program one that comes before it has become the Shepherd, and runit takes no request in its first stage.
    pub fn again(self) -> Option<Duration> {
        match self {
            InitKind::Systemd | InitKind::Shepherd | InitKind::Runit => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
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
            InitKind::Runit => "runit",
            InitKind::S6 => "s6",
            InitKind::S6LinuxInit => "s6-linux-init",
            InitKind::Dinit => "dinit",
            InitKind::Shepherd => "shepherd",
            InitKind::Own => "skep",
            InitKind::Other => "other",
        })
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
            ("runit-init", "/sbin/init", InitKind::Runit),
            ("dinit", "/sbin/init", InitKind::Dinit),
            ("s6-svscan", "/init", InitKind::S6),
        ] {
            let got = InitKind::of_program(name, Path::new(called));
            assert_eq!(got, want, "{called}");
        }
    }

    #[test]
    fn scripts_are_what_they_execute() {
        for (text, want) in [
            (
                "#!/bin/execlineb -S0\n\n/bin/s6-linux-init -c /etc/s6-linux-init/current -- $@\n",
                InitKind::S6LinuxInit,
            ),
            (
                "#!/bin/sh -e\nexec /package/admin/s6-overlay-3.2.0.0/libexec/preinit \"$@\"\n",
                InitKind::S6,
            ),
            ("#!/bin/sh\nexec s6-svscan /run/service\n", InitKind::S6),
            (
                "#!/bin/sh\n# not for s6-svscan\nexec sleep 9\n",
                InitKind::Other,
            ),
        ] {
            assert_eq!(InitKind::of_script(text), want, "{text}");
        }
    }
}
