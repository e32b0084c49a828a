//! What makes an OS tree a test host, once, before its first boot: identity, quiet, and the package.
//!
//! The same for every OS: what the distribution or the machine's owner enabled is not started. A test host has the units
//! that systemd itself brings, and ours.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};

use super::state::Config;
use crate::{
    command::{program, run},
    quiet::{foreign_units, names},
    tree::remove_tree,
};

pub(super) fn prepare(config: &Config, package: &Path, root: &Path) -> Result<()> {
    let at = |path: &str| root.join(path);
    put(&at("etc/machine-id"), &format!("{}\n", config.machine_id))?;
    put(&at("etc/hostname"), &format!("{}\n", config.name))?;
    put(
        &at("etc/hosts"),
        &format!("127.0.0.1 localhost {}\n::1 localhost\n", config.name),
    )?;
    put(&at("etc/fstab"), "")?;
    quieten(root)?;
    if !package.exists() {
        return Ok(());
    }
    fs::copy(package, at("tmp/package.deb"))?;
    let mut command = program("chroot", [root.as_os_str()]);
    command.args(["dpkg", "--install", "/tmp/package.deb"]);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command).context("cannot install the package in the host")?;
    fs::remove_file(at("tmp/package.deb"))?;
    Ok(())
}

/// Leaves systemd's own units, without what an administrator or a package has added.
fn quieten(root: &Path) -> Result<()> {
    let own = root.join("etc/systemd/system");
    let foreign = foreign_units(root)?;
    remove_tree(&own)?;
    fs::create_dir_all(&own)?;
    for unit in foreign {
        mask(&own, &unit)?;
    }
    symlink(
        "/usr/lib/systemd/system/multi-user.target",
        own.join("default.target"),
    )?;
    // Generators of others, and those that turn init scripts, gettys and disks into units.
    let generators = root.join("etc/systemd/system-generators");
    remove_tree(&generators)?;
    fs::create_dir_all(&generators)?;
    for name in names(&root.join("usr/lib/systemd/system-generators"))? {
        let foreign = !name.starts_with("systemd-");
        if foreign
            || ["sysv", "getty", "gpt-auto", "rc-local"]
                .iter()
                .any(|part| name.contains(part))
        {
            mask(&generators, &name)?;
        }
    }
    Ok(())
}

fn mask(directory: &Path, name: &str) -> Result<()> {
    let link = directory.join(name);
    if fs::symlink_metadata(&link).is_ok() {
        return Ok(());
    }
    symlink("/dev/null", &link).with_context(|| format!("cannot mask {name}"))
}

/// Replaces a file, also one that is a link to somewhere else.
fn put(path: &Path, text: &str) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).context(path.display().to_string());
        }
        _ => {}
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
