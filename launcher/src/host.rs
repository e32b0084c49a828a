//! Facts about the host, gathered once and passed on as a value.

use std::fs;
use std::path::{Path, PathBuf};

use crate::handed::Handed;
use crate::step::{At, StepError};

/// Where systemd-journald keeps journals over a boot, each below the machine id it belongs to.
pub const JOURNALS: &str = "/var/log/journal";

/// What planning needs to know about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Mount point of cgroup2.
    pub cgroup_mount: PathBuf,
    /// This process's cgroup below it, `/`-rooted.
    pub cgroup: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// A fresh random UUID: the boot id that the container sees.
    pub boot_id: String,
    /// Bytes of the host's os-release.
    pub os_release: Vec<u8>,
    /// `ID=`, `VERSION_ID=`, `BUILD_ID=`, `VARIANT_ID=` of it, for `container_host_*`.
    pub os_fields: Vec<(String, String)>,
    /// Where `/etc/localtime` leads to below the directory of time zones.
    pub timezone: Option<String>,
    /// Whether there is a directory of persistent journals.
    pub keeps_journals: bool,
    /// Whether new links get to speak IPv6.
    pub ipv6: bool,
    /// What systemd hands over for the container.
    pub handed: Handed,
}

impl HostFacts {
    /// Reads the facts.
    pub fn gather() -> Result<HostFacts, StepError> {
        let mountinfo =
            fs::read_to_string("/proc/self/mountinfo").at("read", "/proc/self/mountinfo")?;
        let cgroups = fs::read_to_string("/proc/self/cgroup").at("read", "/proc/self/cgroup")?;
        let cgroup_mount = cgroup_mount(&mountinfo).ok_or_else(|| {
            StepError::new("no cgroup2 file system is mounted", "")
                .cure("boot the host with the unified cgroup hierarchy")
        })?;
        let os_release = fs::read("/etc/os-release")
            .or_else(|_| fs::read("/usr/lib/os-release"))
            .unwrap_or_default();
        let os_fields = os_fields(&String::from_utf8_lossy(&os_release));
        Ok(HostFacts {
            cgroup_mount,
            cgroup: own_cgroup(&cgroups).unwrap_or("/").to_owned(),
            machine_id: fs::read_to_string("/etc/machine-id")
                .ok()
                .map(|id| id.trim().to_owned()),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/uuid")
                .at("read", "a random UUID")?
                .trim()
                .to_owned(),
            os_release,
            os_fields,
            timezone: fs::read_link("/etc/localtime")
                .ok()
                .and_then(|link| zone(&link)),
            keeps_journals: Path::new(JOURNALS).is_dir(),
            ipv6: fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
                .is_ok_and(|off| off.trim() == "0"),
            handed: Handed::of_environment()?,
        })
    }
}

/// The name of a time zone, from a link to its file.
fn zone(link: &Path) -> Option<String> {
    let (_, zone) = link.to_str()?.split_once("/zoneinfo/")?;
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+'))
    };
    zone.split('/').all(part).then(|| zone.to_owned())
}

fn cgroup_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let point = fields.split(' ').nth(4)?;
        kind.starts_with("cgroup2 ")
            .then(|| Path::new(point).to_owned())
    })
}

fn own_cgroup(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The fields of an os-release(5) file that a container is told.
fn os_fields(text: &str) -> Vec<(String, String)> {
    ["ID", "VERSION_ID", "BUILD_ID", "VARIANT_ID"]
        .into_iter()
        .filter_map(|key| Some((key.to_lowercase(), os_release_field(text, key)?)))
        .collect()
}

/// The value of `key` in an os-release(5) file, unquoted.
pub fn os_release_field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?.trim();
        let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        Some(crate::log::printable(value, 128))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_cgroup2_on_hybrid_and_unified() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n";
        assert_eq!(
            cgroup_mount(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(cgroup_mount("1 2 0:1 / / rw - ext4 x rw"), None);
        assert_eq!(
            own_cgroup("1:cpu:/x\n0::/machine.slice/a\n"),
            Some("/machine.slice/a")
        );
    }

    #[test]
    fn zones() {
        for (link, want) in [
            ("/usr/share/zoneinfo/Europe/Berlin", Some("Europe/Berlin")),
            ("../usr/share/zoneinfo/Etc/GMT+1", Some("Etc/GMT+1")),
            ("/usr/share/zoneinfo/../../etc/shadow", None),
            ("/usr/share/zoneinfo/", None),
            ("/etc/zone", None),
        ] {
            assert_eq!(zone(Path::new(link)).as_deref(), want, "{link}");
        }
    }

    #[test]
    fn os_release_values_are_unquoted_and_printable() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian \u{1b}[31mX\"\n";
        assert_eq!(
            os_release_field(text, "PRETTY_NAME").unwrap(),
            "Debian [31mX"
        );
        assert_eq!(os_release_field(text, "VERSION_ID"), None);
    }
}
