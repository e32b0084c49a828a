//! The first process: how it is found, becomes ready and is asked to shut down or to reboot.

mod kind;

use std::fmt;
use std::path::PathBuf;

use skep_spec::{Access, ContainerSpec};

use crate::host::HostFacts;
use crate::plan::environment::plan_environment;
use crate::tree::TreeFacts;

pub use kind::{Ask, InitKind, SIGRTMIN};

/// Where an init is looked for, in this order. First what a kernel would execute: a system with another init may have
/// systemd installed, too.
pub const CANDIDATES: [&str; 5] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/init",
    "/bin/init",
];

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
    /// How it is asked to shut down.
    pub shutdown: Ask,
    /// How it is asked to reboot, if it can be.
    pub reboot: Option<Ask>,
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
        shutdown: spec.kill_signal.map_or(kind.shutdown(), Ask::Signal),
        reboot: spec.reboot_signal.map(Ask::Signal).or(kind.reboot()),
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
        write!(
            f,
            "init {:?} ({}), ready {ready}, shut down {}",
            self.argv, self.kind, self.shutdown
        )?;
        match self.reboot {
            Some(ask) if ask == self.shutdown => writeln!(f, ", for a reboot too"),
            Some(ask) => writeln!(f, ", rebooted {ask}"),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;
    use crate::tree::services::{Runner, Services};

    const KINDS: [InitKind; 11] = [
        InitKind::Systemd,
        InitKind::Busybox,
        InitKind::Sysvinit,
        InitKind::Openrc,
        InitKind::Runit,
        InitKind::S6,
        InitKind::S6LinuxInit,
        InitKind::Dinit,
        InitKind::Shepherd,
        InitKind::Own,
        InitKind::Other,
    ];

    fn planned(spec: &ContainerSpec, kind: InitKind) -> Init {
        let runner = match kind {
            InitKind::Systemd => Runner::Systemd,
            InitKind::Sysvinit => Runner::Sysv,
            InitKind::Openrc => Runner::Openrc,
            _ => Runner::Own,
        };
        let tree = TreeFacts {
            init: ("/sbin/init".into(), kind),
            init_version: None,
            os: None,
            machine_id: None,
            services: Services {
                runner,
                ..Services::default()
            },
        };
        let id = "0".repeat(32);
        plan_init(spec, &HostFacts::default(), &tree, &id, |_| None)
    }

    fn says(init: &Init, entry: &str) -> bool {
        init.environment.iter().any(|it| it == entry)
    }

    #[test]
    fn what_is_declared_overrides_every_kind() {
        let mut declared = spec();
        declared.kill_signal = Some(10);
        declared.reboot_signal = Some(12);
        declared.manager = Some("oci".into());
        for kind in KINDS {
            for notify in [false, true] {
                declared.notify_ready = Some(notify);
                let init = planned(&declared, kind);
                assert_eq!(init.shutdown, Ask::Signal(10), "{kind}");
                assert_eq!(init.reboot, Some(Ask::Signal(12)), "{kind}");
                assert_eq!(init.notify_ready, notify, "{kind}");
                assert!(says(&init, "container=oci"), "{kind}");
            }
            let manager = match kind {
                InitKind::Openrc => "container=lxc",
                _ => "container=skep",
            };
            let init = planned(&spec(), kind);
            assert_eq!(init.shutdown, kind.shutdown(), "{kind}");
            assert_eq!(init.reboot, kind.reboot(), "{kind}");
            assert_eq!(init.notify_ready, kind == InitKind::Systemd, "{kind}");
            assert!(says(&init, manager), "{kind}");
        }
    }
}
