//! What exists inside a test host at one moment, so that a test can say that it left nothing.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Host;

/// Sections and the scripts that list them.
const SECTIONS: &[(&str, &str)] = &[
    ("mount", "awk '{print $5, $(NF-2)}' /proc/1/mountinfo"),
    ("link", "ls /sys/class/net"),
    (
        "network",
        "ls /run/skep/network 2>/dev/null || true; nft list tables 2>/dev/null || true; \
         sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    ),
    // The slice itself comes with the first machine and goes when systemd gets to it.
    (
        "cgroup",
        "[ ! -d /sys/fs/cgroup/machine.slice ] || find /sys/fs/cgroup/machine.slice -mindepth 1 -type d",
    ),
    (
        "runtime file",
        "[ ! -d /run/skep/machine ] || find /run/skep/machine -mindepth 1",
    ),
    ("process", "pgrep -af '^/usr/libexec/skep/' || true"),
    (
        "PID namespace",
        "readlink /proc/[0-9]*/ns/pid 2>/dev/null | sort -u | grep -vxF \"$(readlink /proc/1/ns/pid)\" || true",
    ),
    (
        "failed unit",
        "systemctl list-units --failed --plain --no-legend | awk '{print $1}'",
    ),
];

/// Sorted lines of each section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, Vec<String>>,
}

impl Snapshot {
    /// What is in `later` and not here, or the other way round: one line each, none when nothing has changed.
    pub fn changes(&self, later: &Snapshot) -> Vec<String> {
        let mut changes = Vec::new();
        for (section, before) in &self.sections {
            let after = later.sections.get(section).map_or(&[][..], Vec::as_slice);
            let missing =
                |from: &[String], line: &String| from.iter().filter(|other| *other == line).count();
            for line in dedup(after)
                .iter()
                .filter(|line| missing(before, line) < missing(after, line))
            {
                changes.push(format!("new {section}: {line}"));
            }
            for line in dedup(before)
                .iter()
                .filter(|line| missing(after, line) < missing(before, line))
            {
                changes.push(format!("{section} is gone: {line}"));
            }
        }
        changes
    }
}

impl Host {
    /// Takes a snapshot.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut sections = BTreeMap::new();
        for (name, script) in SECTIONS {
            let mut lines: Vec<String> =
                self.sh(script)?.ok()?.lines().map(str::to_owned).collect();
            lines.sort();
            sections.insert(*name, lines);
        }
        Ok(Snapshot { sections })
    }
}

fn dedup(sorted: &[String]) -> Vec<String> {
    let mut lines = sorted.to_vec();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(mounts: &[&str]) -> Snapshot {
        let lines = mounts.iter().map(|line| (*line).to_owned()).collect();
        Snapshot {
            sections: BTreeMap::from([("mount", lines)]),
        }
    }

    #[test]
    fn changes_go_both_ways_and_count() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&["/a", "/b"], &["/a", "/b"], &[]),
            (&["/a"], &["/a", "/a"], &["new mount: /a"]),
            (&["/a", "/b"], &["/b"], &["mount is gone: /a"]),
            (&["/a"], &["/c"], &["new mount: /c", "mount is gone: /a"]),
        ];
        for (before, after, expected) in cases {
            assert_eq!(snapshot(before).changes(&snapshot(after)), *expected);
        }
    }
}
