//! The smallest guest that still is a system: a static busybox with its own init, scripts and a respawned service.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    artifact::interpreter,
    command::{capture, program},
};

/// Part of the recipe: raise it when what is built here changes.
pub(super) const RECIPE: &str = "busybox 2";

const DIRECTORIES: &[&str] = &[
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "etc/init.d",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "home",
    "mnt",
    "var/log",
    "var/lib",
    "var/tmp",
];

const FILES: &[(&str, u32, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    ),
    (
        "etc/shadow",
        0o600,
        "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    ),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/os-release",
        0o644,
        "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox\"\n",
    ),
    ("etc/machine-id", 0o444, ""),
    (
        "etc/inittab",
        0o644,
        "::sysinit:/etc/init.d/rcS\n::respawn:/etc/init.d/service\n::restart:/sbin/init\n\
         ::ctrlaltdel:/sbin/reboot\n::shutdown:/etc/init.d/rcK\n",
    ),
    (
        "etc/init.d/rcS",
        0o755,
        "#!/bin/sh\necho \"busybox system up, host name $(hostname)\"\n",
    ),
    (
        "etc/init.d/rcK",
        0o755,
        "#!/bin/sh\necho \"busybox system going down\"\n",
    ),
    (
        "etc/init.d/service",
        0o755,
        "#!/bin/sh\necho \"busybox service runs\"\nexec sleep 1000000\n",
    ),
];

pub(super) fn build(root: &Path) -> Result<()> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
    let busybox = busybox.context("no busybox on this machine")?;
    if interpreter(&fs::read(&busybox)?) != Some(false) {
        bail!(
            "{} is not static; install the package busybox-static",
            busybox.display()
        );
    }
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    for (path, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode))?;
    }
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for applet in capture(&mut program(&busybox.to_string_lossy(), ["--list-full"]))?.lines() {
        let link = root.join(applet);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        if !link.exists() {
            symlink("/bin/busybox", &link)
                .with_context(|| format!("cannot create {}", link.display()))?;
        }
    }
    if fs::symlink_metadata(root.join("sbin/init")).is_err() {
        symlink("/bin/busybox", root.join("sbin/init"))?;
    }
    for (path, mode, text) in FILES {
        let path = root.join(path);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}
