//! What PID 1 of a test host does before it is systemd: builds the root and moves into it.
//!
//! Everything is mounted in the host's own mount namespace and dies with it.

use std::{
    convert::Infallible,
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, mknod},
    unistd::{chdir, pivot_root, sethostname},
};

use super::{Host, Os, prepare::prepare, supervise::wait_alone};
use crate::{
    command::{capture, program},
    place,
};

const NONE: MsFlags = MsFlags::empty();

/// Device nodes that a host gets, where the machine has them.
const DEVICES: &[&str] = &[
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "kmsg",
    "fuse",
    "net/tun",
    "loop-control",
    "loop0",
    "loop1",
    "loop2",
    "loop3",
    "loop4",
    "loop5",
    "loop6",
    "loop7",
];

/// `xtask host-init NAME first|again`: becomes the host's systemd.
pub fn init(name: &str, first: bool) -> Result<Infallible> {
    let host = Host::find(name)?;
    wait_alone(&host)?;
    attach(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
    )?;
    let root = host.directory.join("root");
    mount_root(&host, &root)?;
    mount_api(&root)?;
    mount_machines(&host, &root)?;
    sethostname(name)?;
    if first {
        prepare(&host.config, &host.directory.join("package.deb"), &root)?;
    }
    chdir(&root)?;
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot detach the machine's root")?;
    chdir("/")?;
    // As on every machine with systemd, which leaves it to the manager of a container: some services rely on it.
    attach(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None,
    )?;
    let error = Command::new("/lib/systemd/systemd")
        .args(["--system", "--show-status=yes"])
        .env_clear()
        .env("container", "skep-test-host")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("TERM", "dumb")
        .exec();
    Err(error).context("cannot run /lib/systemd/systemd")
}

fn mount_root(host: &Host, root: &Path) -> Result<()> {
    let directory = &host.directory;
    if host.config.image {
        // mount(8) sets the loop device up so that it frees itself with the last mount.
        return capture(
            program("mount", ["-o", "loop"])
                .arg(directory.join("root.img"))
                .arg(root),
        )
        .map(drop);
    }
    let lower = match host.config.os.tree() {
        Some(tree) => place::trees().join(tree.name).join("root"),
        None => PathBuf::from("/"),
    };
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        directory.join("upper").display(),
        directory.join("work").display()
    );
    attach(Some("overlay"), root, Some("overlay"), NONE, Some(&options)).with_context(|| {
        format!("{} must be on a file system that overlayfs can write to (ext4, xfs, btrfs): SKEP_TEST_CACHE= moves it", place::cache().display())
    })?;
    if host.config.os == Os::Own {
        check_own_root()?;
        // The trees and the overlay's own layers must not show up inside again.
        let cache = root.join(place::cache().strip_prefix("/").unwrap_or(&place::cache()));
        attach(
            Some("tmpfs"),
            &cache,
            Some("tmpfs"),
            MsFlags::MS_RDONLY,
            Some("mode=700,size=4k"),
        )?;
    }
    Ok(())
}

/// An overlay sees one file system: /usr, /etc or /var elsewhere would be empty.
fn check_own_root() -> Result<()> {
    let root = fs::metadata("/")?.dev();
    for path in ["/usr", "/etc", "/var", "/var/lib"] {
        if fs::metadata(path)?.dev() != root {
            bail!(
                "{path} is a file system of its own; a host of this machine's own OS needs it on /: use --os trixie"
            );
        }
    }
    Ok(())
}

fn mount_api(root: &Path) -> Result<()> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let closed = safe | MsFlags::MS_NOEXEC;
    let at = |path: &str| root.join(path);
    attach(Some("proc"), &at("proc"), Some("proc"), closed, None)?;
    attach(Some("sysfs"), &at("sys"), Some("sysfs"), closed, None)?;
    attach(
        Some("cgroup2"),
        &at("sys/fs/cgroup"),
        Some("cgroup2"),
        closed,
        None,
    )?;
    attach(
        Some("tmpfs"),
        &at("run"),
        Some("tmpfs"),
        safe,
        Some("mode=755"),
    )?;
    attach(
        Some("tmpfs"),
        &at("tmp"),
        Some("tmpfs"),
        safe,
        Some("mode=1777"),
    )?;
    attach(
        Some("tmpfs"),
        &at("dev"),
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755"),
    )?;
    for directory in ["dev/pts", "dev/shm", "dev/net", "dev/mqueue"] {
        fs::create_dir(at(directory))?;
    }
    let options = "newinstance,ptmxmode=0666,mode=620,gid=5";
    let open = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    attach(
        Some("devpts"),
        &at("dev/pts"),
        Some("devpts"),
        open,
        Some(options),
    )?;
    attach(
        Some("tmpfs"),
        &at("dev/shm"),
        Some("tmpfs"),
        safe,
        Some("mode=1777"),
    )?;
    for name in DEVICES {
        let machine = Path::new("/dev").join(name);
        let Ok(found) = fs::metadata(&machine) else {
            continue;
        };
        let kind = if found.file_type().is_block_device() {
            SFlag::S_IFBLK
        } else {
            SFlag::S_IFCHR
        };
        let node = at("dev").join(name);
        mknod(&node, kind, Mode::from_bits_truncate(0o600), found.rdev())
            .with_context(|| format!("/dev/{name}"))?;
        fs::set_permissions(&node, found.permissions())?;
    }
    // The console is the terminal that we were started on, by path: our descriptors belong to another mount namespace.
    let terminal = fs::read_link("/proc/self/fd/0")?;
    fs::write(at("dev/console"), "")?;
    attach(
        terminal.to_str(),
        &at("dev/console"),
        None,
        MsFlags::MS_BIND,
        None,
    )?;
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlink(target, at("dev").join(name))?;
    }
    Ok(())
}

/// Guests live on the machine's file system, never on the overlay: that could not be idmapped.
fn mount_machines(host: &Host, root: &Path) -> Result<()> {
    let machines = root.join("var/lib/machines");
    fs::create_dir_all(&machines)?;
    attach(
        host.machines().to_str(),
        &machines,
        None,
        MsFlags::MS_BIND,
        None,
    )?;
    let own = machines.join("host");
    if host.config.guests.iter().any(|guest| guest == "host") {
        attach(Some("/"), &own, None, MsFlags::MS_BIND, None)?;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        attach(None, &own, None, read_only, None)?;
    }
    Ok(())
}

/// mount(2) with an error that says what was mounted where.
fn attach(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<()> {
    mount(source, target, kind, flags, data).with_context(|| {
        format!(
            "cannot mount {} on {}",
            kind.or(source).unwrap_or("flags"),
            target.display()
        )
    })
}
