//! Which units of an OS tree are left out where it serves as a test host or as a guest of `cargo xtask try`.
//!
//! What the distribution or the machine's owner enabled says nothing about skep, and some of it must not run twice: the
//! units that systemd itself brings are enough.

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};

/// Units of systemd and others that touch what namespaces share (kernel settings, clocks, devices, disks), that wait
/// for what never comes, or that wake up at odd times.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "kmod-static-nodes.service",
    "man-db.timer",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
];

/// Targets that packages hook units into without being asked.
const TARGETS: &[&str] = &[
    "basic",
    "graphical",
    "local-fs",
    "multi-user",
    "network",
    "network-online",
    "sockets",
    "sysinit",
    "timers",
];

/// What a host needs of those hooks.
const KEPT: &[&str] = &[
    "dbus",
    "systemd-",
    "dev-",
    "sys-",
    "cryptsetup",
    "integritysetup",
    "veritysetup",
    "machines.target",
    "remote-",
];

/// The units to mask in the tree at `root`.
pub fn foreign_units(root: &Path) -> Result<BTreeSet<String>> {
    let mut units: BTreeSet<String> = MASKED.iter().map(|unit| (*unit).to_owned()).collect();
    let hook = |target: &&str| format!("usr/lib/systemd/system/{target}.target.wants");
    let mut hooks: Vec<String> = TARGETS.iter().map(hook).collect();
    let enabled = names(&root.join("etc/systemd/system"))?;
    let enabled = enabled
        .iter()
        .filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
    hooks.extend(enabled.map(|name| format!("etc/systemd/system/{name}")));
    for hook in hooks {
        let hooked = names(&root.join(hook))?;
        units.extend(
            hooked
                .into_iter()
                .filter(|unit| !KEPT.iter().any(|prefix| unit.starts_with(prefix))),
        );
    }
    Ok(units)
}

/// What a declaration of a machine's own OS says so that nothing its owner enabled starts a second time, and no disk of
/// its table is waited for.
pub const OWN_OS: &str = "\
TemporaryFileSystem=/etc/systemd/system:ro
TemporaryFileSystem=/etc/init.d:ro
Parameters=fstab=no
";

/// File names of a directory that may be missing.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_and_hooked_units_are_foreign_unless_kept() -> Result<()> {
        let root = tempfile::tempdir()?;
        let unit = |path: &str| -> Result<()> {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().context("parent")?)?;
            Ok(fs::write(path, "")?)
        };
        unit("etc/systemd/system/multi-user.target.wants/database.service")?;
        unit("etc/systemd/system/sysinit.target.wants/systemd-oomd.service")?;
        unit("etc/systemd/system/web.service.requires/cache.service")?;
        unit("etc/systemd/system/own.service")?;
        unit("usr/lib/systemd/system/multi-user.target.wants/plymouth-quit.service")?;
        unit("usr/lib/systemd/system/sockets.target.wants/dbus.socket")?;
        let units = foreign_units(root.path())?;
        for (name, expected) in [
            ("database.service", true),
            ("cache.service", true),
            ("plymouth-quit.service", true),
            ("apt-daily.timer", true),
            ("systemd-oomd.service", false),
            ("dbus.socket", false),
            ("own.service", false),
        ] {
            assert_eq!(units.contains(name), expected, "{name}");
        }
        Ok(())
    }
}
