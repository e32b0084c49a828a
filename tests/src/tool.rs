//! Programs that building and testing need. As root what is missing gets installed, else the error says how.

use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::Uid;

use crate::{
    command::{capture, run, shown},
    place,
    progress::note,
};

/// A file that shows that a Debian package is there, and the package.
type Need = (&'static str, &'static str);

/// What test hosts need of the machine.
const HOST_NEEDS: &[Need] = &[
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
    ("/usr/sbin/losetup", "mount"),
    ("/usr/share/doc/busybox-static", "busybox-static"),
    ("/usr/bin/groff", "groff-base"),
];

/// What the machine's own OS needs to be a test host itself (`self`) and a guest in one.
const SELF_NEEDS: &[Need] = &[
    ("/usr/lib/systemd/systemd", "systemd"),
    ("/usr/sbin/init", "systemd-sysv"),
    ("/usr/bin/dbus-daemon", "dbus"),
    ("/usr/share/doc/libpam-systemd", "libpam-systemd"),
    ("/usr/bin/ip", "iproute2"),
];

/// What packaging needs.
const PACKAGE_NEEDS: &[Need] = &[
    ("/usr/bin/dpkg-shlibdeps", "dpkg-dev"),
    ("/usr/bin/cc", "gcc"),
];

/// What unit tests of the completion scripts and the manual pages need.
const UNIT_NEEDS: &[Need] = &[
    (
        "/usr/share/bash-completion/bash_completion",
        "bash-completion",
    ),
    ("/usr/bin/zsh", "zsh"),
    ("/usr/bin/fish", "fish"),
    ("/usr/bin/mandoc", "mandoc"),
    ("/usr/bin/groff", "groff-base"),
];

/// Cargo subcommands: name, version to install, and the argument that shows it is there.
const SUBCOMMANDS: &[(&str, &str)] = &[
    ("cargo-deb", "3.8.0"),
    ("cargo-nextest", "0.9.151"),
    ("cargo-deny", "0.20.2"),
];

/// Makes sure of everything that booting a test host takes.
pub fn ensure_host_tools() -> Result<()> {
    require_root("test hosts")?;
    install(HOST_NEEDS)
}

/// Makes sure that the machine's own OS can boot as a test host or guest.
pub fn ensure_self_tools() -> Result<()> {
    install(SELF_NEEDS)
}

/// Makes sure of the programs that unit tests try.
pub fn ensure_unit_tools() -> Result<()> {
    install(UNIT_NEEDS)
}

/// Makes sure that the package can be made.
pub fn ensure_package_tools() -> Result<()> {
    install(PACKAGE_NEEDS)?;
    ensure_subcommand("cargo-deb")
}

/// Makes sure of one cargo subcommand; an installed one is taken whatever its version.
pub fn ensure_subcommand(name: &str) -> Result<()> {
    let Some((name, version)) = SUBCOMMANDS.iter().find(|(known, _)| *known == name) else {
        bail!("{name} is not one of ours");
    };
    let verb = name.trim_start_matches("cargo-");
    if capture(place::cargo().args([verb, "--version"])).is_ok() {
        return Ok(());
    }
    let mut command = place::cargo();
    command.args(["install", "--locked", &format!("{name}@{version}")]);
    // Installing must not build into (or be configured by) the workspace.
    command.current_dir("/").env_remove("CARGO_TARGET_DIR");
    note(format_args!(
        "{name} is missing; this takes some minutes: cargo install --locked {name}@{version}"
    ));
    run(&mut command)
}

/// Makes sure of a component of the Rust toolchain; `verb` is the cargo subcommand that it brings.
pub fn ensure_component(component: &str, verb: &str) -> Result<()> {
    if capture(place::cargo().args([verb, "--version"])).is_ok() {
        return Ok(());
    }
    note(format_args!(
        "{component} is missing: rustup component add {component}"
    ));
    run(&mut crate::command::program(
        "rustup",
        ["component", "add", component],
    ))
}

/// Fails with the way out unless we are root.
pub fn require_root(what: &str) -> Result<()> {
    if !Uid::effective().is_root() {
        bail!(
            "{what} need root: run this as root, e.g. sudo -E env \"PATH=$PATH\" cargo xtask ..."
        );
    }
    Ok(())
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut command =
        crate::command::program("apt-get", ["install", "-y", "--no-install-recommends"]);
    command
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    if !Uid::effective().is_root() {
        bail!("packages are missing; run: {}", shown(&command));
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this machine has no apt-get; install what these Debian packages hold: {}",
            missing.join(" ")
        );
    }
    note(format_args!(
        "installing what is missing: {}",
        shown(&command)
    ));
    if run(&mut command).is_err() {
        // Fresh images have no package lists, old ones name files that are gone.
        run(&mut crate::command::program("apt-get", ["update"]))?;
        run(&mut command)?;
    }
    Ok(())
}
