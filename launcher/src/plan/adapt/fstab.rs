//! fstab(5): lines that cannot work in a container.

use std::path::Path;

use skep_spec::{ContainerSpec, Store};

use super::{Adaptation, Effect, Entry};
use crate::plan::mounts::MountOp;
use crate::tree::services::Services;

/// Why there is no swap.
pub(super) const SWAP: &str = "swap is the host's";

/// File systems that live on a block device.
const DISKS: [&str; 20] = [
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660",
    "jfs", "minix", "msdos", "ntfs", "ntfs3", "reiserfs", "squashfs", "udf", "vfat", "xfs",
];

/// Where stores are.
const STORES: [&str; 2] = ["/gnu/store", "/nix/store"];

/// The fields that matter of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) kind: String,
    pub(super) options: String,
}

/// Covers the table without the lines that cannot work; what is left is mounted by whoever reads it.
pub(super) fn plan(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    let Some(text) = services.fstab.as_deref() else {
        return;
    };
    if spec.root.path.as_deref() == Some(Path::new("/")) {
        // It is replaced as a whole.
        return;
    }
    let mut kept = String::new();
    let mut dropped = Vec::new();
    for text in text.lines() {
        let trouble = Line::of(text).and_then(|line| Some((line.trouble(spec)?, line)));
        match trouble {
            None => kept.extend([text, "\n"]),
            Some((reason, line)) => {
                kept.push_str(&format!("# Left out by skep, {reason}: {text}\n"));
                dropped.push(Entry {
                    name: format!("/etc/fstab: {} on {}", line.source, line.target),
                    effect: Effect::Masked,
                    reason,
                });
            }
        }
    }
    if !dropped.is_empty() {
        adaptation.entries.extend(dropped);
        let path = "/etc/fstab".into();
        adaptation
            .mounts
            .push(MountOp::Cover(path, kept.into_bytes()));
    }
}

impl Line {
    /// The fields of a line; `None` for comments and what is no entry.
    pub(super) fn of(text: &str) -> Option<Line> {
        let mut fields = text.split_ascii_whitespace();
        let source = fields.next().filter(|field| !field.starts_with('#'))?;
        Some(Line {
            source: source.trim_matches('"').to_owned(),
            target: unescape(fields.next()?),
            kind: fields.next().unwrap_or_default().to_owned(),
            options: fields.next().unwrap_or_default().to_owned(),
        })
    }

    /// Why it cannot work.
    pub(super) fn trouble(&self, spec: &ContainerSpec) -> Option<String> {
        if self.is_swap() {
            return Some(SWAP.to_owned());
        }
        self.target_trouble(spec).or_else(|| self.source_trouble())
    }

    fn target_trouble(&self, spec: &ContainerSpec) -> Option<String> {
        let target = Path::new(&self.target);
        if target == Path::new("/") {
            return Some("/ is mounted already".to_owned());
        }
        if let Some(api) = ["/dev", "/sys", "/proc"]
            .into_iter()
            .find(|api| target.starts_with(api))
        {
            return Some(format!("{api} is made for the container"));
        }
        let declared = match &spec.store {
            Some(Store::Whole(path)) => Some(path.as_path()),
            _ => None,
        };
        let mut stores = STORES.into_iter().map(Path::new).chain(declared);
        stores
            .any(|store| target == store)
            .then(|| "the store is the host's".to_owned())
    }

    /// Why its source cannot be there.
    pub(super) fn source_trouble(&self) -> Option<String> {
        if self.has("bind") || self.has("rbind") {
            None
        } else if self.is_device() {
            Some("the disks are the host's".to_owned())
        } else if self.has("loop")
            || (self.source.starts_with('/') && DISKS.contains(&self.kind.as_str()))
        {
            Some("there are no loop devices".to_owned())
        } else {
            None
        }
    }

    pub(super) fn is_swap(&self) -> bool {
        self.kind == "swap"
    }

    /// Whether the source is a block device, named in any way.
    pub(super) fn is_device(&self) -> bool {
        const TAGS: [&str; 5] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
        let upper = self.source.to_ascii_uppercase();
        let bind = self.has("bind") || self.has("rbind");
        !bind
            && (TAGS.iter().any(|tag| upper.starts_with(tag))
                || Path::new(&self.source).starts_with("/dev"))
    }

    fn has(&self, option: &str) -> bool {
        let name = |found: &str| {
            found
                .split_once('=')
                .map_or(found.len(), |(name, _)| name.len())
        };
        self.options
            .split(',')
            .any(|found| found.get(..name(found)) == Some(option))
    }
}

/// Blanks in a field are written as octal numbers.
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (from, to) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(from, to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn lines_that_cannot_work() {
        for (text, works) in [
            ("UUID=1 / ext4", false),
            ("proc /proc proc", false),
            ("tmpfs /dev/shm tmpfs", false),
            ("tmpfs /devices tmpfs", true),
            ("/dev/disk/by-uuid/1 /home ext4", false),
            ("LABEL=data /data xfs noauto", false),
            ("PARTLABEL=\"x\" /data xfs", false),
            ("ID=wwn-0x1 /data xfs", false),
            ("/dev/null /data none bind", true),
            ("/swapfile none swap sw 0 0", false),
            ("/a.iso /mnt iso9660 ro", false),
            ("/a.img /mnt auto loop=/dev/loop0", false),
            ("/srv/a /srv/b none bind,ro", true),
            ("nas:/x /mnt nfs4 _netdev", true),
            ("tmpfs /tmp tmpfs size=1M", true),
            ("store /gnu/store none", false),
        ] {
            let line = Line::of(text).unwrap();
            assert_eq!(line.trouble(&spec()).is_none(), works, "{text}");
        }
        for text in ["", "# UUID=1 / ext4", "   ", "alone"] {
            assert_eq!(Line::of(text), None, "{text}");
        }
        assert_eq!(Line::of("a /b\\040c x").unwrap().target, "/b c");
    }

    #[test]
    fn the_rest_of_the_table_stays() {
        let services = Services {
            fstab: Some("# mine\nUUID=1 / ext4\ntmpfs /t tmpfs\n".into()),
            ..Services::default()
        };
        let mut adaptation = Adaptation::default();
        plan(&spec(), &services, &mut adaptation);
        let text =
            b"# mine\n# Left out by skep, / is mounted already: UUID=1 / ext4\ntmpfs /t tmpfs\n";
        let want = MountOp::Cover("/etc/fstab".into(), text.to_vec());
        assert_eq!(adaptation.mounts, [want]);
        let services = Services {
            fstab: Some("tmpfs /t tmpfs\n".into()),
            ..Services::default()
        };
        let mut adaptation = Adaptation::default();
        plan(&spec(), &services, &mut adaptation);
        assert_eq!(adaptation, Adaptation::default());
    }
}
