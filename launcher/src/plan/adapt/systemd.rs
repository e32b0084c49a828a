//! systemd: masks and stand-ins in `/run/systemd/system.control`, the one directory of a boot's own that wins over
//! `/etc/systemd/system` and over what generators write (systemd.unit(5)). Ours is on the container's fresh `/run`, so the
//! tree stays writable and as it is, and the container's root may take a mask back.

use skep_spec::ContainerSpec;

use super::{Adaptation, Effect, Entry, choose, fstab, table};
use crate::plan::mounts::MountOp;
use crate::tree::services::{MountUnit, Services};

const DIRECTORY: &str = "/run/systemd/system.control";

/// Longest name of a unit: that of a file.
const LONGEST: usize = 255;

/// Suffixes of units that can be masked.
const SUFFIXES: [&str; 10] = [
    "service",
    "socket",
    "target",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "device",
    "slice",
];

pub(super) fn plan(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    let reach = table::Reach::of(spec);
    let known = services
        .units
        .iter()
        .filter_map(|name| table::unit(name, reach))
        .chain(table_mounts(spec, services))
        .chain(services.mounts.iter().filter_map(mount_unit))
        .chain(crypt(services));
    let mut entries = choose(spec, known);
    for entry in &mut entries {
        entry.name = unit_name(&entry.name);
    }
    // No unit has such a name: systemd leaves out a line of a table that would give one, or shortens the name.
    entries.retain(|entry| entry.name.len() <= LONGEST);
    if entries.is_empty() {
        return;
    }
    for path in ["/run/systemd", DIRECTORY] {
        adaptation.mounts.push(MountOp::Directory {
            path: path.into(),
            mode: 0o755,
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.name.clone()));
    adaptation.mounts.extend(entries.iter().map(operation));
    adaptation.entries.extend(entries);
}

fn operation(entry: &Entry) -> MountOp {
    let path = format!("{DIRECTORY}/{}", entry.name).into();
    match entry.effect {
        Effect::Masked => MountOp::Link {
            path,
            to: "/dev/null",
        },
        Effect::StandIn => {
            let text = match entry.name.strip_suffix(".mount") {
                Some(name) => mount_stand_in(name, &entry.reason),
                None => stand_in(&entry.reason),
            };
            MountOp::File(path, text.into_bytes())
        }
    }
}

/// A service that is started at once and does nothing. The links that order others after it stay in the tree.
fn stand_in(reason: &str) -> String {
    format!(
        "[Unit]\nDescription=Left out by skep: {reason}\nDefaultDependencies=no\nWants=network.target\n\
         Before=network.target network-online.target shutdown.target\nConflicts=shutdown.target\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=-/bin/true\n"
    )
}

/// A mount that is never made. A mask would stop all that requires it, such as local-fs.target; a condition that does not
/// hold lets it go on. The source is no device, for which systemd would wait.
fn mount_stand_in(name: &str, reason: &str) -> String {
    let place = unescape_path(name).replace('%', "%%");
    format!(
        "[Unit]\nDescription=Left out by skep: {reason}\nConditionVirtualization=!container\n\n\
         [Mount]\nWhat=none\nType=tmpfs\nWhere={place}\n"
    )
}

/// A declared name as that of a unit.
fn unit_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, suffix)) if SUFFIXES.contains(&suffix) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

/// What systemd does not leave out of the table by itself: sources that are devices and swap it does.
fn table_mounts(spec: &ContainerSpec, services: &Services) -> Vec<Entry> {
    if spec.root.path.as_deref() == Some(std::path::Path::new("/")) {
        // It is replaced as a whole.
        return Vec::new();
    }
    let text = services.fstab.as_deref().unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines().filter_map(fstab::Line::of) {
        if ["/", "/usr"].contains(&line.target.as_str()) {
            entries.push(Entry {
                name: "systemd-remount-fs.service".to_owned(),
                effect: Effect::Masked,
                reason: format!(
                    "fstab has options for {}, which is mounted already",
                    line.target
                ),
            });
        } else if let Some(reason) = line.trouble(spec)
            && !line.is_device()
            && !line.is_swap()
            && !line.target.contains(char::is_control)
        {
            entries.push(Entry {
                name: format!("{}.mount", escape_path(&line.target)),
                effect: Effect::StandIn,
                reason,
            });
        }
    }
    entries
}

/// A mount unit whose source cannot be there: systemd would wait for the device.
fn mount_unit(unit: &MountUnit) -> Option<Entry> {
    let line = fstab::Line {
        source: unit.what.clone(),
        target: unit.place.clone(),
        kind: unit.kind.clone(),
        options: unit.options.clone(),
    };
    let (effect, reason) = if unit.name.ends_with(".swap") {
        (Effect::Masked, fstab::SWAP.to_owned())
    } else {
        (Effect::StandIn, line.source_trouble()?)
    };
    Some(Entry {
        name: unit.name.clone(),
        effect,
        reason,
    })
}

/// The services that a generator makes of crypttab(5).
fn crypt(services: &Services) -> Vec<Entry> {
    let text = services.crypttab.as_deref().unwrap_or_default();
    let names = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_ascii_whitespace().next());
    names
        .map(|name| Entry {
            name: format!("systemd-cryptsetup@{}.service", escape(name)),
            effect: Effect::StandIn,
            reason: "the disks are the host's".to_owned(),
        })
        .collect()
}

/// A path as the name of its mount unit, as systemd-escape(1) has it.
fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    escape(&parts.join("/"))
}

/// The path of a mount unit of this name, without its suffix.
fn unescape_path(name: &str) -> String {
    let mut path = vec![b'/'];
    let mut rest = name.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let code = tail.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (
            byte,
            tail.first(),
            code.map(|hex| u8::from_str_radix(hex, 16)),
        ) {
            (b'-', _, _) => path.push(b'/'),
            (b'\\', Some(b'x'), Some(Ok(code))) => {
                path.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => path.push(*byte),
        }
    }
    if name == "-" {
        path.truncate(1);
    }
    String::from_utf8_lossy(&path).into_owned()
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;
    use crate::tree::services::Runner;

    #[test]
    fn names_as_systemd_escapes_them() {
        for (path, want) in [
            ("/", "-"),
            ("/data", "data"),
            ("/srv//a b/", "srv-a\\x20b"),
            ("/a-b/.c", "a\\x2db-.c"),
            ("/.x", "\\x2ex"),
        ] {
            assert_eq!(escape_path(path), want);
            assert_eq!(escape_path(&unescape_path(want)), want);
        }
        assert_eq!(unit_name("web"), "web.service");
        assert_eq!(unit_name("web.1"), "web.1.service");
        assert_eq!(unit_name("web.socket"), "web.socket");
    }

    #[test]
    fn names_longer_than_a_file_has_are_left_out() {
        let fstab = format!("/srv/a.img /{}/x ext4 loop\n", "ä".repeat(40));
        let services = Services {
            runner: Runner::Systemd,
            fstab: Some(fstab),
            ..Services::default()
        };
        let plan = super::super::plan_adaptation(&spec(), &services);
        assert!(plan.entries.is_empty());
        let named = |op: &MountOp| matches!(op, MountOp::File(..) | MountOp::Link { .. });
        assert!(!plan.mounts.iter().any(named));
    }

    #[test]
    fn tables_give_masks_only_where_systemd_would_fail() {
        let fstab = "UUID=1 / ext4 errors=remount-ro 0 1\nLABEL=x /data ext4\n/swapfile none swap\n\
                     debugfs /sys/kernel/debug debugfs\n/srv/a.img /mnt/a ext4 loop\ntmpfs /srv/t tmpfs\n";
        let services = Services {
            runner: Runner::Systemd,
            fstab: Some(fstab.into()),
            crypttab: Some("# a\nhome-1 UUID=2 none luks\n".into()),
            mounts: vec![MountUnit {
                name: "backup.mount".into(),
                what: "/dev/sdb1".into(),
                place: "/backup".into(),
                kind: String::new(),
                options: String::new(),
            }],
            ..Services::default()
        };
        let plan = super::super::plan_adaptation(&spec(), &services);
        let names: Vec<_> = plan
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "systemd-remount-fs.service",
                "sys-kernel-debug.mount",
                "mnt-a.mount",
                "backup.mount",
                "systemd-cryptsetup@home\\x2d1.service"
            ]
        );
        let backup = plan.mounts.iter().find_map(|op| match op {
            MountOp::File(path, text) if path.ends_with("backup.mount") => Some(text),
            _ => None,
        });
        let text = String::from_utf8(backup.unwrap().clone()).unwrap();
        assert!(text.ends_with("Where=/backup\n"), "{text}");
    }
}
