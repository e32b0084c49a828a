//! Where a test host's cgroups are: one node per host, with `host` (root of the host's cgroup namespace) and `supervisor`
//! below it.
//!
//! Needs a cgroup2 mount, pure or beside v1 (hybrid). Controllers reach the host as far as the place has them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::wait::wait_until;

/// Controllers that tests make use of.
const CONTROLLERS: &[&str] = &["cpu", "cpuset", "io", "memory", "pids"];

/// The cgroups of one host.
#[derive(Clone, Debug)]
pub(super) struct Node {
    path: PathBuf,
}

impl Node {
    /// Makes a node below our own cgroup and moves us into its `supervisor` part. With `delegated` our own cgroup *is*
    /// the node: systemd made it for us alone.
    pub(super) fn create(name: &str, delegated: bool) -> Result<Node> {
        let own = own_cgroup()?;
        let path = if delegated {
            own.clone()
        } else {
            own.join(format!("skep-test-{name}"))
        };
        let node = Node { path };
        for directory in [
            node.path.clone(),
            node.supervisor(),
            node.host(),
            node.entered(),
        ] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create cgroup {}", directory.display()))?;
        }
        fs::write(node.supervisor().join("cgroup.procs"), "0")
            .context("cannot enter the supervisor's cgroup")?;
        // The real root alone may have both processes and controllers, and it alone has no cgroup.type.
        if !delegated && !own.join("cgroup.type").exists() {
            enable_controllers(&own);
        }
        enable_controllers(&node.path);
        Ok(node)
    }

    /// The node at a recorded path.
    pub(super) fn at(path: PathBuf) -> Node {
        Node { path }
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Root of the host's cgroup namespace.
    pub(super) fn host(&self) -> PathBuf {
        self.path.join("host")
    }

    /// Leaf for commands that enter the host: its root may hold no process once it has controllers.
    pub(super) fn entered(&self) -> PathBuf {
        self.host().join("entered")
    }

    /// Leaf of the supervisor.
    pub(super) fn supervisor(&self) -> PathBuf {
        self.path.join("supervisor")
    }

    /// Moves a process into the supervisor's leaf.
    pub(super) fn take_out(&self, pid: u32) -> Result<()> {
        fs::write(self.supervisor().join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move process {pid} out of the host's cgroup"))
    }

    /// Kills everything in the host and removes its cgroups; the node itself stays for [`Node::remove`].
    pub(super) fn clear_host(&self) -> Result<()> {
        let host = self.host();
        if !host.exists() {
            return Ok(());
        }
        fs::write(host.join("cgroup.kill"), "1")
            .with_context(|| format!("cannot kill {}", host.display()))?;
        wait_until(
            Duration::from_secs(10),
            "the host's cgroups to become empty",
            || {
                let events = fs::read_to_string(host.join("cgroup.events")).unwrap_or_default();
                Ok(events
                    .lines()
                    .any(|line| line == "populated 0")
                    .then_some(()))
            },
        )?;
        remove_below(&host)
    }

    /// Removes the node. A process that sits in it moves to `parent` first, when that is one's own doing.
    pub(super) fn remove(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        self.clear_host()?;
        remove_below(&self.path)
    }

    /// Moves ourselves to the node's parent, so that the node can go.
    pub(super) fn leave(&self) -> Result<()> {
        let parent = self.path.parent().context("cgroup without a parent")?;
        fs::write(parent.join("cgroup.procs"), "0")
            .with_context(|| format!("cannot enter {}", parent.display()))
    }
}

fn enable_controllers(cgroup: &Path) {
    let available = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in available
        .split_whitespace()
        .filter(|name| CONTROLLERS.contains(name))
    {
        // Best effort: where the place gives none, tests of limits say so.
        let _ = fs::write(
            cgroup.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

fn remove_below(cgroup: &Path) -> Result<()> {
    for entry in
        fs::read_dir(cgroup).with_context(|| format!("cannot read {}", cgroup.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).with_context(|| format!("cannot remove cgroup {}", cgroup.display()))
}

/// Our own cgroup2 directory as a path of this machine.
fn own_cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let (root, mount) =
        cgroup2_mount(&mounts).context("this machine has no cgroup2 file system mounted")?;
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let own = cgroups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .context("/proc/self/cgroup has no cgroup2 line")?;
    let below = Path::new(own).strip_prefix(root).unwrap_or(Path::new(own));
    Ok(Path::new(mount).join(below.strip_prefix("/").unwrap_or(below)))
}

/// Root and mount point of the first cgroup2 mount in mountinfo text.
fn cgroup2_mount(mountinfo: &str) -> Option<(&str, &str)> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        right
            .starts_with("cgroup2 ")
            .then_some((fields.next()?, fields.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_beside_v1() {
        let pure =
            "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 /box /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        for (text, expected) in [
            (pure, Some(("/", "/sys/fs/cgroup"))),
            (hybrid, Some(("/box", "/sys/fs/cgroup/unified"))),
            ("22 27 0:21 / /proc rw - proc proc rw\n", None),
        ] {
            assert_eq!(cgroup2_mount(text), expected);
        }
    }
}
