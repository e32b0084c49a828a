//! A single command instead of an OS: which of the container's parts it gets, and how its first process runs.
//!
//! Each part belongs to a namespace; without that namespace the part is left out, since it would show the host's.

use std::fmt;
use std::path::{Path, PathBuf};

use skep_spec::{Access, Bind, Command, ContainerSpec, Missing, Namespace, Network, Streams};

use crate::exec::program::PATH;
use crate::plan::environment::with_declared;
use crate::plan::ids::Ids;
use crate::plan::init::{Init, InitKind};
use crate::plan::mounts::{
    MountOp, cgroups, masks, message_queues, plan_declared, plan_dev, plan_proc, sysfs,
    temporary_files,
};
use crate::step::StepError;

/// Names of a network namespace that has a loopback link only.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// What look-ups of names read; with the host's network a command sees the host's. They have one kind of reader, so their
/// owner is of no interest, and their file system need not be mappable.
const NAME_FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/services",
];

fn name_file(path: &str) -> MountOp {
    MountOp::Bind(Bind {
        source: path.into(),
        target: path.into(),
        read_only: true,
        missing: Missing::Skip,
        recursive: false,
        idmap: false,
        nosuid: true,
        nodev: true,
    })
}

/// The first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The command itself.
    Command,
    /// A small init of ours, which starts the command.
    OwnInit,
}

/// How a single command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandPlan {
    /// User and group id inside.
    pub user: (u32, u32),
    /// Working directory.
    pub directory: PathBuf,
    /// The first process.
    pub first: First,
    /// Where its standard streams lead.
    pub streams: Streams,
    /// File of the host that gets the first process's PID.
    pub pid_file: Option<PathBuf>,
}

impl CommandPlan {
    /// As the spec says.
    pub fn of(command: &Command) -> CommandPlan {
        CommandPlan {
            user: command.user,
            directory: command.directory.clone().unwrap_or_else(|| "/".into()),
            first: if command.init {
                First::OwnInit
            } else {
                First::Command
            },
            streams: command.streams,
            pid_file: command.pid_file.clone(),
        }
    }
}

/// Refuses what cannot be: without a mount namespace of its own the command has no root to put anything into.
pub fn check(spec: &ContainerSpec) -> Result<(), StepError> {
    if !spec.shared.contains(&Namespace::Mount) {
        return Ok(());
    }
    let without = |what: &str, there: bool| match there {
        true => Err(StepError::new(what, "needs a mount namespace").cure("do not share it")),
        false => Ok(()),
    };
    without("a root of its own", spec.root.path.is_some())?;
    without("a read-only root", spec.root.access != Access::Write)?;
    without("a bind", !spec.binds.is_empty())?;
    without("an overlay", !spec.overlays.is_empty())?;
    without("a temporary file system", !spec.temporary.is_empty())
}

/// Plans all mounts.
pub fn plan_mounts(spec: &ContainerSpec, command: &Command, ids: &Ids) -> Vec<MountOp> {
    let owns = |namespace| !spec.shared.contains(&namespace);
    let mut ops = Vec::new();
    if !owns(Namespace::Mount) {
        return ops;
    }
    let profile = spec.confinement.profile;
    let mut hidden = Vec::new();
    if owns(Namespace::Pid) {
        plan_proc(spec.network, profile, &mut ops);
        hidden.push("/proc");
    }
    if spec.network == Network::Private {
        ops.push(sysfs(profile));
        if owns(Namespace::Cgroup) {
            ops.push(cgroups());
        }
        hidden.push("/sys");
    }
    let hides = |mask: &MountOp| match mask {
        MountOp::Mask(path) => hidden.iter().any(|part| Path::new(path).starts_with(part)),
        _ => hidden.contains(&"/sys"),
    };
    ops.extend(masks(profile).into_iter().filter(hides));
    plan_dev(ids, &mut ops);
    ops.extend(spec.devices.iter().cloned().map(MountOp::Node));
    if owns(Namespace::Ipc) {
        ops.push(message_queues());
    }
    if command.streams == Streams::Terminal {
        ops.push(MountOp::Console);
    }
    ops.push(temporary_files(ids));
    let fresh = spec.root.path.is_none();
    if fresh && spec.network == Network::Private {
        let path = PathBuf::from("/etc");
        ops.push(MountOp::Directory { path, mode: 0o755 });
        ops.push(MountOp::File("/etc/hosts".into(), HOSTS.into()));
    }
    if fresh && spec.network == Network::Host {
        ops.extend(NAME_FILES.map(name_file));
    }
    plan_declared(spec, ids, &mut ops);
    // A tree is mounted read-only; a fresh root had to be populated first.
    if fresh && spec.root.access == Access::ReadOnly {
        ops.push(MountOp::Freeze("/".into()));
    }
    ops
}

/// Plans the first process.
pub fn plan_init(
    spec: &ContainerSpec,
    command: &Command,
    own: impl Fn(&str) -> Option<String>,
) -> Init {
    Init {
        path: command.argv.first().map(PathBuf::from).unwrap_or_default(),
        kind: InitKind::Other,
        argv: command.argv.clone(),
        environment: plan_environment(spec, command, own),
        shutdown: InitKind::Other.shutdown(),
        reboot: None,
        notify_ready: false,
    }
}

/// `NAME=VALUE` strings, a clean set: nothing of the caller's but the type of its terminal.
fn plan_environment(
    spec: &ContainerSpec,
    command: &Command,
    own: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let root = command.user.0 == 0;
    let mut variables = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        (
            "HOME".to_owned(),
            if root { "/root" } else { "/" }.to_owned(),
        ),
        ("TMPDIR".to_owned(), "/tmp".to_owned()),
        ("container".to_owned(), "skep".to_owned()),
    ];
    if root {
        variables.extend(["USER", "LOGNAME"].map(|name| (name.to_owned(), "root".to_owned())));
    }
    if command.streams == Streams::Terminal {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
        let term = own("TERM").filter(|term| !term.is_empty() && term.chars().all(plain));
        variables.push((
            "TERM".to_owned(),
            term.unwrap_or_else(|| "vt220".to_owned()),
        ));
    }
    with_declared(variables, spec, own)
}

impl fmt::Display for CommandPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = match self.first {
            First::Command => "the command",
            First::OwnInit => "an init of ours that starts the command",
        };
        let streams = match self.streams {
            Streams::Terminal => "a terminal",
            Streams::Pipes => "pipes",
        };
        let ((user, group), directory) = (self.user, self.directory.display());
        writeln!(
            f,
            "first process {first}, user {user} group {group}, in {directory}, on {streams}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_spec::{Root, Users};

    fn command() -> Command {
        Command {
            argv: vec!["true".into()],
            user: (0, 0),
            directory: None,
            init: false,
            pid_file: None,
            streams: Streams::Pipes,
        }
    }

    fn spec(access: Access) -> ContainerSpec {
        let root = Root {
            path: None,
            template: None,
            access,
        };
        ContainerSpec::of(root, Users::Private { base: 655_360 })
    }

    fn mounts(spec: &ContainerSpec, command: &Command) -> Vec<String> {
        let ops = plan_mounts(spec, command, &Ids::of(spec.users));
        ops.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parts_follow_their_namespaces() {
        let full = mounts(&spec(Access::Write), &command());
        for (namespace, part) in [
            (Namespace::Pid, "mount proc"),
            (Namespace::Ipc, "mount mqueue"),
            (Namespace::Cgroup, "mount cgroup2"),
        ] {
            let mut spec = spec(Access::Write);
            spec.shared = vec![namespace];
            let has = |ops: &[String], part: &str| ops.iter().any(|op| op.starts_with(part));
            assert!(has(&full, part), "{part}");
            assert!(!has(&mounts(&spec, &command()), part), "{part}");
        }
        let mut spec = spec(Access::Write);
        spec.network = Network::Host;
        let shared = mounts(&spec, &command());
        assert!(
            !shared
                .iter()
                .any(|op| op.contains("/sys/") || op.starts_with("file /etc"))
        );
        assert!(
            shared
                .iter()
                .any(|op| op.starts_with("bind /etc/resolv.conf"))
        );
        spec.shared = vec![Namespace::Mount];
        assert!(mounts(&spec, &command()).is_empty());
    }

    #[test]
    fn a_fresh_root_is_read_only_last_and_a_console_needs_a_terminal() {
        let ops = mounts(&spec(Access::ReadOnly), &command());
        assert_eq!(ops.last().unwrap(), "read-only from now on /");
        let has_console = |ops: &[String]| ops.iter().any(|op| op.starts_with("console"));
        assert!(!has_console(&ops));
        let terminal = Command {
            streams: Streams::Terminal,
            ..command()
        };
        assert!(has_console(&mounts(&spec(Access::Write), &terminal)));
    }

    #[test]
    fn nothing_is_put_where_there_is_no_root() {
        let mut shared = spec(Access::Write);
        shared.shared = vec![Namespace::Mount];
        assert!(check(&shared).is_ok());
        shared.root.access = Access::ReadOnly;
        let error = check(&shared).unwrap_err().to_string();
        assert!(error.starts_with("a read-only root needs"), "{error}");
        assert!(check(&spec(Access::ReadOnly)).is_ok());
    }

    #[test]
    fn the_environment_is_clean() {
        let own = |name: &str| Some(format!("own {name}"));
        let got = plan_environment(&spec(Access::Write), &command(), own);
        let want = [
            &format!("PATH={PATH}"),
            "HOME=/root",
            "TMPDIR=/tmp",
            "container=skep",
            "USER=root",
            "LOGNAME=root",
        ];
        assert_eq!(got, want);
        let other = Command {
            user: (1000, 1000),
            streams: Streams::Terminal,
            ..command()
        };
        let got = plan_environment(&spec(Access::Write), &other, own);
        assert!(got.contains(&"HOME=/".to_owned()) && got.contains(&"TERM=vt220".to_owned()));
        assert!(!got.iter().any(|entry| entry.starts_with("USER=")));
    }
}
