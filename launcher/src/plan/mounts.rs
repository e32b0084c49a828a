//! The mounts below the new root, as a flat list of typed operations.
//!
//! Every target is a path inside the container. API file systems come first and are always fresh, whatever the tree has
//! there; masks and read-only parts follow their file system; the declaration's own mounts come last.

mod op;

use std::path::Path;

use skep_spec::{Access, ContainerSpec, Network, Profile, ResolvConf, Timezone, Tmpfs};

pub use self::op::MountOp;

use crate::host::HostFacts;
use crate::plan::adapt::Adaptation;
use crate::plan::adapt::names::RESOLV_CONF;
use crate::plan::environment::{CREDENTIALS, MANAGER, NOTIFY_SOCKET, shares_machine_id};
use crate::plan::ids::Ids;
use crate::plan::init::InitKind;
use crate::sys::mount::Attr;
use crate::tree::TreeFacts;

/// Hidden from every container: they tell about the host, or act on it. What any of systemd-nspawn, Podman, Docker and LXC
/// hides is here, and what only the container's root sees that has the host's ids.
const MASKS: [&str; 22] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/devices/virtual/powercap",
];

/// Tells when the machine's processors got hot, hence what others do: one file per processor.
const THROTTLING: &str = "thermal_throttle";

const READ_ONLY: [&str; 7] = [
    "/proc/sys",
    "/proc/apm",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    // Who writes here makes a thread of the host work, at real-time priority.
    "/proc/pressure",
    "/proc/tty/driver",
];

/// Where a container that runs containers finds what it does not need to look at.
const NESTING: &str = "/run/host/nesting";

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const API: Attr = Attr {
    read_only: false,
    nosuid: true,
    nodev: true,
    noexec: true,
};

/// Plans all mounts.
pub fn plan_mounts(
    spec: &ContainerSpec,
    ids: &Ids,
    host: &HostFacts,
    tree: &TreeFacts,
    machine_id: &str,
    adaptation: &Adaptation,
) -> Vec<MountOp> {
    let mut ops = Vec::new();
    let profile = spec.confinement.profile;
    plan_proc(spec.network, profile, &mut ops);
    // A boot id of its own, or two boots of the container would look like one to its journal.
    ops.push(MountOp::Cover(
        "/proc/sys/kernel/random/boot_id".into(),
        format!("{}\n", host.boot_id).into_bytes(),
    ));
    ops.push(sysfs(profile));
    ops.push(cgroups());
    ops.extend(masks(profile));
    plan_dev(ids, &mut ops);
    ops.extend(spec.devices.iter().cloned().map(MountOp::Node));
    ops.push(message_queues());
    ops.push(MountOp::Console);
    plan_run(spec, ids, host, machine_id, &mut ops);
    if !keeps_own_tmp(spec, tree) {
        ops.push(temporary_files(ids));
    }
    if shares_machine_id(spec.root.path.as_deref(), host, tree.machine_id.as_deref()) {
        ops.extend(own_file(
            spec.root.access,
            "/etc/machine-id",
            format!("{machine_id}\n"),
        ));
    }
    if spec.root.path.as_deref() == Some(Path::new("/")) {
        // The host's table names the host's disks.
        let text = "# The host's table does not apply in a container.\n".to_owned();
        ops.extend(own_file(spec.root.access, "/etc/fstab", text));
    }
    ops.extend(adaptation.mounts.iter().cloned());
    ops.extend(resolver(spec));
    if spec.timezone != Timezone::Off {
        ops.push(MountOp::Localtime {
            zone: host.timezone.clone(),
            how: spec.timezone,
        });
    }
    plan_declared(spec, ids, &mut ops);
    ops
}

/// The resolv.conf(5) that `ResolvConf=` asks for; without it that of the host's network comes with its other names.
fn resolver(spec: &ContainerSpec) -> Option<MountOp> {
    let host = match spec.resolv_conf {
        ResolvConf::Auto | ResolvConf::Off => return None,
        ResolvConf::Host => RESOLV_CONF,
        ResolvConf::Static => "/usr/lib/systemd/resolv.conf",
        ResolvConf::Uplink => "/run/systemd/resolve/resolv.conf",
        ResolvConf::Stub => "/run/systemd/resolve/stub-resolv.conf",
    };
    Some(MountOp::Follow {
        host,
        target: RESOLV_CONF,
    })
}

/// `/proc` of the PID namespace, with its kernel settings read-only.
pub(super) fn plan_proc(network: Network, profile: Profile, ops: &mut Vec<MountOp>) {
    ops.push(filesystem("proc", "/proc", &[], API));
    if profile == Profile::Privileged {
        return;
    }
    ops.extend(READ_ONLY.map(MountOp::ReadOnly));
    if network == Network::Private {
        ops.push(MountOp::Writable("/proc/sys/net"));
    }
}

/// `/sys`, which shows the links of the network namespace.
pub(super) fn sysfs(profile: Profile) -> MountOp {
    let attr = Attr {
        read_only: profile != Profile::Privileged,
        ..API
    };
    filesystem("sysfs", "/sys", &[], attr)
}

/// What is hidden.
pub(super) fn masks(profile: Profile) -> Vec<MountOp> {
    if profile == Profile::Privileged {
        return Vec::new();
    }
    let mut ops: Vec<_> = MASKS.map(MountOp::Mask).into();
    ops.push(MountOp::MaskOfProcessors(THROTTLING));
    ops
}

/// A second `/proc` and `/sys` without anything over them. The kernel lets a container mount its own only when it sees one
/// such: an unprivileged process of this one must not, so they lie in a directory of root's.
fn plan_nesting(ops: &mut Vec<MountOp>) {
    ops.push(MountOp::Directory {
        path: NESTING.into(),
        mode: 0o700,
    });
    for (kind, name) in [("proc", "proc"), ("sysfs", "sys")] {
        ops.push(filesystem(kind, &format!("{NESTING}/{name}"), &[], API));
    }
}

/// The cgroups of the cgroup namespace.
pub(super) fn cgroups() -> MountOp {
    filesystem("cgroup2", "/sys/fs/cgroup", &[], API)
}

/// `/tmp`.
pub(super) fn temporary_files(ids: &Ids) -> MountOp {
    let attr = Attr {
        noexec: false,
        ..API
    };
    let limits = [("size", "10%"), ("nr_inodes", "400k")];
    tmpfs(ids, "/tmp", "1777", &limits, attr)
}

/// The declaration's own mounts.
pub(super) fn plan_declared(spec: &ContainerSpec, ids: &Ids, ops: &mut Vec<MountOp>) {
    ops.extend(
        spec.temporary
            .iter()
            .map(|tmpfs| declared_tmpfs(ids, tmpfs)),
    );
    ops.extend(spec.overlays.iter().cloned().map(MountOp::Overlay));
    ops.extend(spec.binds.iter().cloned().map(MountOp::Bind));
}

/// Whether `/tmp` is left to the container: systemd mounts or cleans it as its distribution wants, and could not unmount
/// ours when it shuts down. A tree that cannot be written needs one all the same.
fn keeps_own_tmp(spec: &ContainerSpec, tree: &TreeFacts) -> bool {
    // The strict profile leaves it no mount(2).
    tree.init.1 == InitKind::Systemd
        && spec.root.access != Access::ReadOnly
        && spec.confinement.profile != Profile::Strict
}

/// A file of the container's own instead of the tree's. A tree that it may change for good is its own to keep right; and
/// systemd would take a mounted machine id for one to be saved there.
fn own_file(access: Access, path: &str, content: String) -> Option<MountOp> {
    match access {
        Access::Write => None,
        Access::ReadOnly => Some(MountOp::Cover(path.into(), content.into_bytes())),
        Access::Ephemeral | Access::Volatile => {
            Some(MountOp::Replace(path.into(), content.into_bytes()))
        }
    }
}

/// `/dev` without a console.
pub(super) fn plan_dev(ids: &Ids, ops: &mut Vec<MountOp>) {
    let dev = Attr {
        nodev: false,
        noexec: false,
        ..API
    };
    ops.push(tmpfs(
        ids,
        "/dev",
        "755",
        &[("size", "4m"), ("nr_inodes", "64k")],
        dev,
    ));
    ops.extend(DEVICES.map(MountOp::Device));
    let terminals: &[(&str, Option<String>)] = &[
        ("newinstance", None),
        ("ptmxmode", Some("0666".to_owned())),
        ("mode", Some("0620".to_owned())),
        ("uid", Some(ids.host(0).to_string())),
        // Group tty is 5 on every distribution that systemd supports.
        ("gid", Some(ids.host(5).to_string())),
        ("max", Some("1024".to_owned())),
    ];
    ops.push(filesystem(
        "devpts",
        "/dev/pts",
        terminals,
        Attr {
            nodev: false,
            ..API
        },
    ));
    for (path, to) in [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
    ] {
        ops.push(MountOp::Link {
            path: path.into(),
            to,
        });
    }
    let shm = Attr {
        noexec: false,
        ..API
    };
    ops.push(tmpfs(
        ids,
        "/dev/shm",
        "1777",
        &[("size", "10%"), ("nr_inodes", "400k")],
        shm,
    ));
}

/// POSIX message queues, mq_overview(7): those of the IPC namespace.
pub(super) fn message_queues() -> MountOp {
    filesystem("mqueue", "/dev/mqueue", &[], API)
}

/// `/run`, and `/run/host` as the systemd Container Interface describes it.
fn plan_run(
    spec: &ContainerSpec,
    ids: &Ids,
    host: &HostFacts,
    machine_id: &str,
    ops: &mut Vec<MountOp>,
) {
    let run = Attr {
        noexec: false,
        ..API
    };
    ops.push(tmpfs(
        ids,
        "/run",
        "755",
        &[("size", "20%"), ("nr_inodes", "800k")],
        run,
    ));
    if spec.confinement.profile == Profile::Strict {
        // Debian's systemd mounts it before anything else, and ends when it cannot.
        let lock = [("size", "5m"), ("nr_inodes", "64k")];
        ops.push(tmpfs(ids, "/run/lock", "1777", &lock, API));
    }
    ops.push(tmpfs(
        ids,
        "/run/host",
        "755",
        &[("size", "4m"), ("nr_inodes", "1k")],
        API,
    ));
    ops.push(MountOp::NotifySocket(NOTIFY_SOCKET.into()));
    ops.push(MountOp::File(
        "/run/host/container-manager".into(),
        format!("{}\n", spec.manager.as_deref().unwrap_or(MANAGER)).into_bytes(),
    ));
    ops.push(MountOp::File(
        "/run/host/container-uuid".into(),
        format!("{machine_id}\n").into_bytes(),
    ));
    if !host.os_release.is_empty() {
        ops.push(MountOp::File(
            "/run/host/os-release".into(),
            host.os_release.clone(),
        ));
    }
    ops.push(MountOp::Inaccessible("/run/host/inaccessible".into()));
    ops.push(MountOp::Export("/run/host/unix-export".into()));
    if host.handed.credentials.is_some() || !spec.credentials.is_empty() {
        ops.push(MountOp::Credentials {
            target: CREDENTIALS.into(),
            source: host.handed.credentials.clone(),
            declared: spec.credentials.clone(),
        });
    }
    if spec.confinement.nesting {
        plan_nesting(ops);
    }
    ops.push(MountOp::Freeze("/run/host".into()));
}

fn filesystem(
    kind: &'static str,
    target: &str,
    options: &[(&str, Option<String>)],
    attr: Attr,
) -> MountOp {
    let options = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    MountOp::Filesystem {
        kind,
        target: target.into(),
        options,
        attr,
    }
}

/// A tmpfs that belongs to the container's root.
fn tmpfs(ids: &Ids, target: &str, mode: &str, limits: &[(&str, &str)], attr: Attr) -> MountOp {
    let owner = Some(ids.host(0).to_string());
    let mut options = vec![
        ("mode", Some(mode.to_owned())),
        ("uid", owner.clone()),
        ("gid", owner),
    ];
    options.extend(
        limits
            .iter()
            .map(|(key, value)| (*key, Some((*value).to_owned()))),
    );
    filesystem("tmpfs", target, &options, attr)
}

fn declared_tmpfs(ids: &Ids, declared: &Tmpfs) -> MountOp {
    let owner = Some(ids.host(0).to_string());
    let mut options = vec![
        ("mode".to_owned(), Some("755".to_owned())),
        ("uid".to_owned(), owner.clone()),
        ("gid".to_owned(), owner),
    ];
    for option in &declared.options {
        let (key, value) = option
            .split_once('=')
            .map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
        options.retain(|(known, _)| known != key);
        options.push((key.to_owned(), value.map(str::to_owned)));
    }
    let attr = Attr {
        read_only: declared.read_only,
        nosuid: true,
        nodev: true,
        noexec: declared.noexec,
    };
    MountOp::Filesystem {
        kind: "tmpfs",
        target: declared.target.clone(),
        options,
        attr,
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::{Bind, Missing};

    use super::*;
    use crate::plan::tests_support::spec;
    use crate::tree::services::Services;

    fn plan(spec: &ContainerSpec) -> Vec<String> {
        let tree = TreeFacts {
            init: ("/init".into(), InitKind::Other),
            init_version: None,
            os: None,
            machine_id: None,
            services: Services::default(),
        };
        let ids = Ids {
            base: 655_360,
            namespace: true,
        };
        let ops = plan_mounts(
            spec,
            &ids,
            &HostFacts::default(),
            &tree,
            &"1".repeat(32),
            &Adaptation::default(),
        );
        ops.iter().map(ToString::to_string).collect()
    }

    fn position(ops: &[String], text: &str) -> usize {
        ops.iter()
            .position(|op| op.starts_with(text))
            .unwrap_or_else(|| panic!("{text} not in {ops:#?}"))
    }

    #[test]
    fn masks_follow_their_file_system_and_binds_come_last() {
        let mut spec = spec();
        spec.binds.push(Bind {
            source: "/srv".into(),
            target: "/srv".into(),
            read_only: true,
            missing: Missing::Skip,
            recursive: true,
            idmap: true,
            nosuid: true,
            nodev: true,
        });
        let ops = plan(&spec);
        assert!(position(&ops, "mount proc") < position(&ops, "read-only /proc/sys"));
        assert!(position(&ops, "read-only /proc/sys") < position(&ops, "writable /proc/sys/net"));
        assert!(position(&ops, "mount proc") < position(&ops, "read-only /proc/pressure"));
        assert!(position(&ops, "mount sysfs") < position(&ops, "mask /sys/firmware"));
        assert!(
            position(&ops, "notify socket") < position(&ops, "read-only from now on /run/host")
        );
        assert_eq!(
            ops.last().unwrap(),
            "rbind /srv on /srv ro,nosuid,nodev,idmap if it exists"
        );
    }

    #[test]
    fn files_of_the_hosts_root_are_hidden() {
        let ops = plan(&spec());
        for path in [
            "/proc/dynamic_debug",
            "/proc/kpagecgroup",
            "/proc/kpagecount",
            "/proc/kpageflags",
            "/proc/pagetypeinfo",
            "/proc/slabinfo",
            "/proc/vmallocinfo",
        ] {
            assert!(ops.contains(&format!("mask {path}")), "{path}");
        }
    }

    #[test]
    fn only_systemd_with_a_writable_tree_keeps_its_own_tmp() {
        for (kind, access, own) in [
            (InitKind::Systemd, Access::Write, true),
            (InitKind::Systemd, Access::Ephemeral, true),
            (InitKind::Systemd, Access::ReadOnly, false),
            (InitKind::Busybox, Access::Write, false),
        ] {
            let mut spec = spec();
            spec.root.access = access;
            let tree = TreeFacts {
                init: ("/init".into(), kind),
                init_version: None,
                os: None,
                machine_id: None,
                services: Services::default(),
            };
            assert_eq!(keeps_own_tmp(&spec, &tree), own, "{kind} {access:?}");
        }
    }

    #[test]
    fn profiles_and_nesting() {
        let has =
            |spec: &ContainerSpec, text: &str| plan(spec).iter().any(|op| op.starts_with(text));
        let mut spec = spec();
        assert!(has(&spec, "mask /proc/kcore") && has(&spec, "mask thermal_throttle"));
        assert!(!has(&spec, "mount proc on /run/host"));
        spec.confinement.nesting = true;
        let ops = plan(&spec);
        let (proc, frozen) = (
            "mount proc on /run/host/nesting/proc",
            "read-only from now on /run/host",
        );
        assert!(position(&ops, "directory /run/host/nesting 0700") < position(&ops, proc));
        assert!(position(&ops, proc) < position(&ops, frozen));
        assert!(has(&spec, "mask /proc/kcore"));
        spec.confinement.profile = Profile::Privileged;
        assert!(!has(&spec, "mask") && !has(&spec, "read-only /proc"));
        assert!(has(&spec, "mount sysfs on /sys rw"));
    }

    #[test]
    fn shared_network_keeps_its_settings_read_only() {
        let mut spec = spec();
        spec.network = Network::Host;
        assert!(!plan(&spec).iter().any(|op| op.starts_with("writable")));
    }

    #[test]
    fn own_os_gets_its_own_machine_id_and_no_fstab() {
        let mut spec = spec();
        spec.root.path = Some("/".into());
        spec.root.access = Access::Ephemeral;
        let ops = plan(&spec);
        assert!(
            ops.contains(&"replace /etc/machine-id".to_owned())
                && ops.contains(&"replace /etc/fstab".to_owned())
        );
    }
}
