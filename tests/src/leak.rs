//! What test hosts could leave on the machine, before and after.
//!
//! Only what is new counts, and nothing that belongs to hosts that somebody else keeps up meanwhile.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    host::{self, Host},
    place,
    wait::PATIENCE,
};

/// Everything of the machine that a test host may touch, one line per object.
#[derive(Clone, Debug)]
pub struct Machine {
    objects: BTreeSet<String>,
}

impl Machine {
    /// Looks at the machine now.
    pub fn now() -> Result<Machine> {
        let mut objects = BTreeSet::new();
        mounts(&fs::read_to_string("/proc/self/mountinfo")?, &mut objects);
        cgroups(Path::new("/sys/fs/cgroup"), &mut objects)?;
        processes(&mut objects)?;
        for (kind, directory) in [("link", "/sys/class/net"), ("runtime", "/run")] {
            let found = names(Path::new(directory));
            let found = found
                .iter()
                .filter(|name| kind != "runtime" || name.contains("skep"));
            objects.extend(found.map(|name| format!("{kind} {name}")));
        }
        objects.extend(
            names(&place::hosts())
                .iter()
                .map(|name| format!("host directory {name}/")),
        );
        for device in names(Path::new("/sys/block")) {
            let file = Path::new("/sys/block")
                .join(&device)
                .join("loop/backing_file");
            if let Ok(file) = fs::read_to_string(file) {
                objects.insert(format!("loop device {device} of {}", file.trim()));
            }
        }
        Ok(Machine { objects })
    }

    /// What has come since and does not go by itself within a few seconds.
    pub fn leaks(&self) -> Result<Vec<String>> {
        let begin = Instant::now();
        loop {
            let others = host::list()?.into_iter().filter(Host::is_of_others);
            let others: Vec<String> = others.map(|host| host.name().to_owned()).collect();
            let new: Vec<String> = Machine::now()?
                .objects
                .difference(&self.objects)
                .filter(|object| !others.iter().any(|name| belongs(object, name)))
                .cloned()
                .collect();
            if new.is_empty() || begin.elapsed() > PATIENCE {
                return Ok(new);
            }
            sleep(Duration::from_millis(200));
        }
    }
}

/// Whether an object is part of the test host of that name.
fn belongs(object: &str, host: &str) -> bool {
    [
        format!("/skep-test-{host}/"),
        format!("/hosts/{host}/"),
        format!("host directory {host}/"),
        format!(" {host} "),
    ]
    .iter()
    .any(|part| format!("{object} ").contains(part))
        || object.ends_with(&format!("/skep-test-{host}"))
}

fn mounts(mountinfo: &str, objects: &mut BTreeSet<String>) {
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let point = left.split(' ').nth(4).unwrap_or_default();
        let kind = right.split(' ').next().unwrap_or_default();
        objects.insert(format!("mount {point} ({kind})"));
    }
}

fn cgroups(directory: &Path, objects: &mut BTreeSet<String>) -> Result<()> {
    for name in names(directory) {
        let path = directory.join(&name);
        if path.is_dir() && !path.is_symlink() {
            if path.to_string_lossy().contains("/skep-test-") {
                objects.insert(format!("cgroup {}", path.display()));
            }
            cgroups(&path, objects)?;
        }
    }
    Ok(())
}

/// Processes of ours: by program, or because they sit in a cgroup of ours.
fn processes(objects: &mut BTreeSet<String>) -> Result<()> {
    for pid in names(Path::new("/proc"))
        .iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let process = PathBuf::from("/proc").join(pid);
        let command = fs::read_to_string(process.join("cmdline"))
            .unwrap_or_default()
            .replace('\0', " ");
        let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        let cgroup = cgroup
            .lines()
            .find(|line| line.contains("/skep-test-"))
            .unwrap_or_default();
        let ours = [
            " host-supervise ",
            " host-boot ",
            " host-init ",
            "/usr/libexec/skep/",
        ];
        if !cgroup.is_empty() || ours.iter().any(|part| command.contains(part)) {
            objects.insert(format!("process {pid} {command} in {cgroup}/"));
        }
    }
    Ok(())
}

/// Names in a directory, none when it has gone.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_belong_to_their_host_only() {
        for (object, host, expected) in [
            ("cgroup /sys/fs/cgroup/skep-test-a", "a", true),
            (
                "cgroup /sys/fs/cgroup/skep-test-a/host/init.scope",
                "a",
                true,
            ),
            ("cgroup /sys/fs/cgroup/skep-test-ab", "a", false),
            ("process 7 /bin/xtask host-supervise a  in /", "a", true),
            (
                "process 7 /bin/sleep  in 0::/skep-test-a/host/x.service/",
                "a",
                true,
            ),
            ("host directory a/", "a", true),
            ("host directory ab/", "a", false),
            (
                "loop device loop0 of /var/cache/skep-tests/hosts/a/root.img",
                "a",
                true,
            ),
            ("link a", "a", true),
            ("mount /mnt (tmpfs)", "a", false),
        ] {
            assert_eq!(belongs(object, host), expected, "{object}");
        }
    }

    #[test]
    fn mount_point_and_type_are_taken() {
        let mut objects = BTreeSet::new();
        mounts(
            "29 26 0:26 / /dev/pts rw,relatime shared:3 - devpts devpts rw\nbroken\n",
            &mut objects,
        );
        assert_eq!(
            objects.into_iter().collect::<Vec<_>>(),
            ["mount /dev/pts (devpts)"]
        );
    }
}
