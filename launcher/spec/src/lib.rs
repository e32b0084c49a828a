//! The contract between generator and launcher: what `/run/skep/spec/NAME.json` and
//! `/run/skep/machine/NAME/state.json` hold.
//!
//! The generator writes a spec only after validation, so the launcher parses no declaration and there is one validator.
//! Types only: this crate does no I/O and has no unsafe code. Both files carry [`VERSION`] and reject unknown fields, so
//! a launcher and a generator of different releases disagree loudly instead of half understanding each other.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod net;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use net::{Join, Link, LinkKind, MacvlanMode, Net, Port, Protocol, Subnet};

/// Version of both files. Raised with every change of shape.
pub const VERSION: u32 = 3;

/// Directory of the spec files, one `NAME.json` each, mode 0600, owned by root.
pub const SPEC_DIR: &str = "/run/skep/spec";

/// Parent of the per-container runtime directories. systemd makes and removes `NAME/` below it (`RuntimeDirectory=`).
pub const STATE_DIR: &str = "/run/skep/machine";

/// Directory of what is remembered of a container's last boot, one `NAME.json` each, mode 0600.
pub const ENDS_DIR: &str = "/run/skep/ended";

/// The launcher binary that every unit's `ExecStart=` names.
pub const LAUNCHER: &str = "/usr/libexec/skep/launcher";

/// Ids that a container with private users owns: a whole 16-bit range, as nspawn and systemd's UID document want it.
pub const ID_RANGE: u32 = 65536;

/// Signals that our small init passes on to the program above which it runs: HUP, INT, QUIT, USR1, USR2, TERM, CONT,
/// WINCH and PWR.
pub const FORWARDED: [i32; 9] = [1, 2, 3, 10, 12, 15, 18, 28, 30];

/// One spec file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecFile {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Container name: 1-64 characters of `[A-Za-z0-9._-]`, the first one alphanumeric. An instance of a template is
    /// `PREFIX@INSTANCE`, each of them such a name.
    pub name: String,
    /// Digest of `content`. A running container whose state names another digest has a change pending.
    pub id: String,
    /// What a start does.
    pub content: Content,
}

/// What a start of the unit does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Content {
    /// Boot this container.
    Boot(Box<ContainerSpec>),
    /// The declaration is wrong: fail, printing these lines (`path:line: Key=: message`).
    Refuse(Vec<String>),
}

/// A validated container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The OS tree.
    pub root: Root,
    /// `Init=`: absolute path inside the container; detected when absent.
    pub init: Option<PathBuf>,
    /// `Parameters=`: arguments of the init.
    pub parameters: Vec<String>,
    /// `Hostname=`; the container's name when absent, with `-` for `@`.
    pub hostname: Option<String>,
    /// `MachineID=`: 32 lower-case hex digits, handed over as `container_uuid`.
    pub machine_id: Option<String>,
    /// `Environment=`: later entries win.
    pub environment: Vec<Variable>,
    /// `PassEnvironment=`: names taken from the launcher's own environment when set there.
    pub pass_environment: Vec<String>,
    /// `Bind=` and `BindReadOnly=`, in the order in which they are mounted.
    pub binds: Vec<Bind>,
    /// `Overlay=` and `OverlayReadOnly=`, mounted before the binds.
    pub overlays: Vec<Overlay>,
    /// `TemporaryFileSystem=`, mounted before the overlays.
    pub temporary: Vec<Tmpfs>,
    /// `PrivateUsers=`.
    pub users: Users,
    /// `Network=`.
    pub network: Network,
    /// `Network=`, `Link=` and what belongs to them: what a network namespace of the container's own holds.
    pub net: Net,
    /// `KillSignal=`: number of the signal that asks the init to shut down; by init when absent.
    pub kill_signal: Option<i32>,
    /// `RebootSignal=`: number of the signal that asks the init to reboot; by init when absent.
    pub reboot_signal: Option<i32>,
    /// `ContainerManager=`: what the init sees as `container`; by init when absent.
    pub manager: Option<String>,
    /// `ProcessTwo=`: `init` runs as second process, under a small init of ours.
    pub process_two: bool,
    /// `NotifyReady=`: ready when the init says so (true) or when it runs (false); by init when absent.
    pub notify_ready: Option<bool>,
    /// `Adapt=`, `Mask=` and `Unmask=`.
    pub adapt: Adapt,
    /// `System=`: what boots from a store instead of the tree's own init. A store item, a link that leads to one and is
    /// followed at each start, or the script that `guix system container` prints.
    pub system: Option<PathBuf>,
    /// `Store=` or `Closure=`: what the container sees of a store, read-only at the same path.
    pub store: Option<Store>,
    /// `Device=`.
    pub devices: Vec<Device>,
    /// `Capability=`, `DropCapability=` and `NoNewPrivileges=`.
    pub privileges: Privileges,
    /// `SystemCallFilter=`.
    pub system_calls: SystemCalls,
    /// `Profile=`, `Nesting=` and `SystemCallArchitectures=`.
    pub confinement: Confinement,
    /// Namespaces that are the host's own. User and network namespaces are in `users` and `network`.
    pub shared: Vec<Namespace>,
    /// Names, or patterns of names, of the credentials that `[Service]` gives the unit.
    pub credentials: Vec<String>,
    /// `SyslogIdentifier=` of `[Service]`, for a stream to the journal that replaces a lost one; the container's name when
    /// absent.
    pub identifier: Option<String>,
    /// `ResolvConf=`.
    pub resolv_conf: ResolvConf,
    /// `Timezone=`.
    pub timezone: Timezone,
    /// `LinkJournal=`.
    pub link_journal: LinkJournal,
    /// One command instead of an init: `skep run`.
    pub command: Option<Command>,
}

impl ContainerSpec {
    /// A container that boots what is in `root`, all else as it is by default.
    pub fn of(root: Root, users: Users) -> ContainerSpec {
        ContainerSpec {
            root,
            init: None,
            parameters: Vec::new(),
            hostname: None,
            machine_id: None,
            environment: Vec::new(),
            pass_environment: Vec::new(),
            binds: Vec::new(),
            overlays: Vec::new(),
            temporary: Vec::new(),
            users,
            network: Network::Private,
            net: Net::default(),
            kill_signal: None,
            reboot_signal: None,
            manager: None,
            process_two: false,
            notify_ready: None,
            adapt: Adapt {
                enabled: true,
                mask: Vec::new(),
                unmask: Vec::new(),
            },
            system: None,
            store: None,
            devices: Vec::new(),
            privileges: Privileges::default(),
            system_calls: SystemCalls::default(),
            confinement: Confinement::default(),
            shared: Vec::new(),
            credentials: Vec::new(),
            identifier: None,
            resolv_conf: ResolvConf::Auto,
            timezone: Timezone::Off,
            link_journal: LinkJournal::No,
            command: None,
        }
    }
}

/// Which resolv.conf(5) a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvConf {
    /// The host's with the host's network, else the tree's.
    Auto,
    /// The tree's.
    Off,
    /// The host's `/etc/resolv.conf`, as it is now and as it becomes.
    Host,
    /// Likewise systemd-resolved's static file, which names its stub.
    Static,
    /// Likewise systemd-resolved's list of name servers.
    Uplink,
    /// Likewise systemd-resolved's file that names its stub.
    Stub,
}

/// Which time zone a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timezone {
    /// The tree's.
    Off,
    /// The host's: a link where it can be one, else its file.
    Auto,
    /// The host's: a link to the tree's own file of that zone.
    Symlink,
    /// The host's file.
    Bind,
}

/// Where the container's journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkJournal {
    /// In its tree alone.
    No,
    /// Below `/var/log/journal` of the host.
    Host,
    /// As `Host` when the host keeps journals and the machine id allows it.
    TryHost,
    /// As `TryHost` when the host has a directory for this journal already.
    Auto,
}

/// The OS tree of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Absolute host path of the tree or disk image; `/` is the host's own OS. A fresh, empty tmpfs when absent.
    pub path: Option<PathBuf>,
    /// `Template=`: the tree that `path` is copied from when it does not exist.
    pub template: Option<PathBuf>,
    /// What the container may do to it.
    pub access: Access,
}

/// What a container may do to its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Change it for good.
    Write,
    /// Nothing: mounted read-only (`ReadOnly=yes`).
    ReadOnly,
    /// Change a copy-on-write layer that ends with the container (`Ephemeral=yes`).
    Ephemeral,
    /// Only read its `/usr`: all else is a fresh tmpfs (`Volatile=yes`).
    Volatile,
}

/// What is kept from running, so that an OS made for a machine of its own fits a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapt {
    /// `Adapt=`: mask what cannot work in a container.
    pub enabled: bool,
    /// `Mask=`: services, masked in any case. A unit name with its suffix, else the name of a service.
    pub mask: Vec<String>,
    /// `Unmask=`: services left alone in any case.
    pub unmask: Vec<String>,
}

/// A device node of the host, made anew in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Absolute host path of the node, or of a link to it.
    pub source: PathBuf,
    /// Absolute path in the container, below /dev.
    pub target: PathBuf,
    /// What of reading, writing and making nodes the unit may do: of `rwm`.
    pub access: String,
    /// Leading `-`: left out when the node is missing.
    pub optional: bool,
}

/// What a declaration changes of the container's privileges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privileges {
    /// Capabilities kept beside the default ones, by their names in [`CAPABILITIES`].
    pub kept: Vec<String>,
    /// Capabilities dropped.
    pub dropped: Vec<String>,
    /// No process gains privileges by executing a program.
    pub no_new: bool,
}

/// Names of capabilities without `CAP_`, by their numbers in capabilities(7).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Kept by every container with the default profile: what some guest needs, which the tests show one by one. The set is
/// systemd-nspawn's without AUDIT_CONTROL, AUDIT_WRITE, LEASE, LINUX_IMMUTABLE and SYS_TTY_CONFIG, which have no effect
/// outside the initial user namespace. MKNOD has none either, but is needed with the host's users.
pub const KEPT: [&str; 19] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "IPC_OWNER",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "MKNOD",
    "SETFCAP",
];

/// Kept beside [`KEPT`] with a network of the container's own; on the host's they would reach the host's links.
pub const KEPT_PRIVATE_NETWORK: [&str; 3] = ["NET_ADMIN", "NET_RAW", "NET_BROADCAST"];

/// Kept beside [`KEPT`] by a container that runs containers itself: without effect in a user namespace, but Docker gives it
/// to every container and fails when it cannot.
pub const KEPT_NESTING: [&str; 1] = ["AUDIT_WRITE"];

/// What a declaration changes of the system call filter, by the names of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemCalls {
    /// Refused by default, and allowed here.
    pub allowed: Vec<String>,
    /// Refused here.
    pub refused: Vec<String>,
}

/// How much a container is confined beside its namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// What its capabilities, system calls and masks start from.
    pub profile: Profile,
    /// It may run containers itself.
    pub nesting: bool,
    /// Architectures beside the machine's own whose programs run.
    pub architectures: Vec<Architecture>,
}

/// What a container's confinement starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// What an OS and its services need.
    #[default]
    Default,
    /// What an OS can boot with: no mounts, no namespaces and no debugging inside.
    Strict,
    /// No masks, no filter and every capability, all of it over the container's own user namespace where it has one.
    Privileged,
}

/// An architecture that a machine runs beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 32-bit x86, on x86-64.
    X86,
}

/// What a container sees of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Store {
    /// All of the store in this directory.
    Whole(PathBuf),
    /// The store paths in this file, separated by white space.
    Listed(PathBuf),
    /// What the system refers to, directly and indirectly, as the store's own tool says at each start.
    Computed,
}

/// A namespace that may be left out, beside those of users and network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// Mounts, mount_namespaces(7). Without it the command sees the host's files and has no root of its own.
    Mount,
    /// Process ids, pid_namespaces(7).
    Pid,
    /// System V IPC and message queues, ipc_namespaces(7).
    Ipc,
    /// Host name, uts_namespaces(7).
    Uts,
    /// Cgroups, cgroup_namespaces(7).
    Cgroup,
}

/// The command of a throw-away container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments. A program without a slash is looked for in `PATH`.
    pub argv: Vec<String>,
    /// User and group id inside.
    pub user: (u32, u32),
    /// Working directory inside; `/` when absent.
    pub directory: Option<PathBuf>,
    /// A small init of ours is the first process, which starts the command, reaps and forwards signals.
    pub init: bool,
    /// File of the host that gets the first process's PID.
    pub pid_file: Option<PathBuf>,
    /// Where its standard input, output and error lead.
    pub streams: Streams,
}

/// Where the standard streams of a command lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Streams {
    /// To a terminal of the container, joined to the launcher's own standard input and output, which are a terminal.
    Terminal,
    /// Each through a pipe to the launcher's own.
    Pipes,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// `[A-Za-z_][A-Za-z0-9_]*`.
    pub name: String,
    /// Any text without NUL.
    pub value: String,
}

/// One bind mount. Read-only ones are read-only recursively.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Absolute path on the host, file or directory.
    pub source: PathBuf,
    /// Absolute path in the container; created when missing.
    pub target: PathBuf,
    /// `BindReadOnly=`.
    pub read_only: bool,
    /// What happens when the source is missing.
    pub missing: Missing,
    /// `rbind` (the default): mounts below the source come along.
    pub recursive: bool,
    /// `idmap` (the default with private users): host ids 0-65535 appear as the container's own.
    pub idmap: bool,
    /// `nosuid` (the default).
    pub nosuid: bool,
    /// `nodev` (the default).
    pub nodev: bool,
}

/// What a missing bind source means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The start fails.
    Fail,
    /// Leading `-`: the bind is left out.
    Skip,
    /// `create`: an empty directory is made, owned by the container's root when the bind is idmapped.
    Create,
}

/// One overlay mount, overlayfs in the kernel's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Absolute host paths of the lower directories, the topmost last.
    pub lower: Vec<PathBuf>,
    /// What takes the changes.
    pub upper: Upper,
    /// Absolute path in the container; created when missing.
    pub target: PathBuf,
}

/// What takes the changes of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Upper {
    /// A directory of the host.
    Directory(PathBuf),
    /// Memory: they end with the container.
    Memory,
    /// Nothing: `OverlayReadOnly=`.
    ReadOnly,
}

/// One temporary file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Absolute path in the container; created when missing.
    pub target: PathBuf,
    /// tmpfs(5) options of the allow list `size nr_inodes mode`, each `key=value`; flags apart.
    pub options: Vec<String>,
    /// `ro`.
    pub read_only: bool,
    /// `noexec`.
    pub noexec: bool,
}

/// How container ids map to host ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Users {
    /// Ids 0-65535 of the container are `base`.. on the host. `base` is a multiple of 65536.
    Private {
        /// First host id.
        base: u32,
    },
    /// A user namespace in which ids 0-65535 are the host's: confines capabilities, not files.
    Identity,
    /// No user namespace.
    Host,
}

/// Which network namespace the container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Its own, with loopback and the links of [`Net`].
    Private,
    /// The host's.
    Host,
    /// One that is there already: [`Net::join`].
    Joined,
}

/// What the supervisor publishes about a running container, mode 0600.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Container name.
    pub name: String,
    /// [`SpecFile::id`] of the spec it was started from.
    pub spec: String,
    /// Host PID of the container's init.
    pub leader: u32,
    /// Start time of the leader in clock ticks since boot: field 22 of proc_pid_stat(5). With the PID it is unique.
    pub leader_start: u64,
    /// Kind of init, e.g. `systemd`.
    pub init: String,
    /// Version of the init, where the tree says it, e.g. `257`.
    pub init_version: Option<String>,
    /// `PRETTY_NAME=` of the tree's os-release, when it has one.
    pub os: Option<String>,
    /// First host id, when the container has a private range.
    pub base: Option<u32>,
    /// Whether no process of it gains privileges by executing a program, those who enter included.
    pub no_new_privileges: bool,
    /// Its system call filter, for those who enter.
    pub system_calls: SystemCalls,
    /// Whether the supervisor can ask it to reboot.
    pub reboots: bool,
    /// What that filter starts from.
    pub confinement: Confinement,
    /// Whether the container is ready.
    pub ready: bool,
    /// Milliseconds from the start of the launcher to readiness; absent until then.
    pub boot: Option<u64>,
    /// Addresses of global scope in the container's own network namespace, IPv4 first; at most [`ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// Start of this boot of the container: seconds since the epoch.
    pub since: u64,
}

/// Most addresses of a container that are published.
pub const ADDRESSES: usize = 16;

/// What is remembered of a container across its boots, until it is no longer declared or the host reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Container name.
    pub name: String,
    /// Start of the boot that has not ended yet: seconds since the epoch.
    pub running: Option<u64>,
    /// How the last one ended that did.
    pub last: Option<Ended>,
}

/// How one boot of a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Start of that boot: seconds since the epoch.
    pub since: u64,
    /// End of it, likewise; absent when nobody saw it.
    pub at: Option<u64>,
    /// Whether the container ever became ready.
    pub ready: bool,
    /// Why.
    pub end: End,
}

/// Why a boot of a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// It powered itself off.
    PoweredOff,
    /// It rebooted itself.
    Rebooted,
    /// Its init exited with this status.
    Exited(i32),
    /// Its init was killed by this signal.
    Killed(i32),
    /// It could not be set up, for this reason.
    NotSetUp(String),
    /// The supervisor was killed before it could tell.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_release_is_not_half_understood() {
        let file = SpecFile {
            version: VERSION,
            name: "web".into(),
            id: "0".into(),
            content: Content::Refuse(vec!["/etc/skep/web.container:1: no".into()]),
        };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<SpecFile>(&text).unwrap(), file);
        let text = text.replacen('{', r#"{"new":1,"#, 1);
        assert!(serde_json::from_str::<SpecFile>(&text).is_err());
    }
}
