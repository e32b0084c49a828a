//! What the container may do: the capability bounding set.
//!
//! A new user namespace starts with a full bounding set, so the limit is applied inside it, not by the unit.
//! System calls are `filter`'s.

use std::fmt;

use skep_spec::{
    CAPABILITIES, Confinement, ContainerSpec, KEPT, KEPT_PRIVATE_NETWORK, Network, Profile,
    SystemCalls, Users,
};

use crate::sys::caps::CapSet;

/// Kept by the strict profile: what Podman leaves to a container, and SYS_BOOT, without which a reboot of the guest would
/// be its end.
const KEPT_STRICT: [&str; 12] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SYS_BOOT",
    "SETFCAP",
];

/// Without effect in a user namespace. A guest that has them tries what they are for, and fails: they are how systemd finds
/// out whether modules can be loaded, the clock be set, and the kernel be debugged.
const OF_THE_MACHINE: [&str; 3] = ["SYS_MODULE", "SYS_RAWIO", "SYS_TIME"];

/// User namespaces that one user of the container may have, those nested in others included: plenty for the sandboxes of
/// services and programs, too few to fill the kernel's memory.
const USER_NAMESPACES: u32 = 256;

/// What the processes of a container can have at most, those that enter it included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capabilities that stay in the bounding set.
    pub bounding: CapSet,
    /// No process gains privileges by executing a program.
    pub no_new_privileges: bool,
    /// What the declaration changes of the system call filter.
    pub system_calls: SystemCalls,
    /// What the filter starts from.
    pub confinement: Confinement,
}

impl Limits {
    /// As the spec says.
    pub fn of(spec: &ContainerSpec) -> Limits {
        Limits {
            bounding: capabilities(spec),
            no_new_privileges: spec.privileges.no_new,
            system_calls: spec.system_calls.clone(),
            confinement: spec.confinement.clone(),
        }
    }

    /// How many user namespaces each of its users may have; as many as on the host when absent.
    pub fn user_namespaces(&self) -> Option<u32> {
        match self.confinement.profile {
            Profile::Strict => Some(0),
            Profile::Default if !self.confinement.nesting => Some(USER_NAMESPACES),
            Profile::Default | Profile::Privileged => None,
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.confinement.profile {
            Profile::Default => {}
            Profile::Strict => writeln!(f, "profile strict")?,
            Profile::Privileged => writeln!(f, "profile privileged, no system call filter")?,
        }
        if self.confinement.nesting {
            writeln!(f, "may run containers itself")?;
        }
        for architecture in &self.confinement.architectures {
            writeln!(f, "programs of {architecture:?}, too")?;
        }
        if let Some(most) = self.user_namespaces() {
            writeln!(f, "user namespaces {most} at most")?;
        }
        writeln!(f, "capabilities {}", names(self.bounding).join(" "))?;
        if self.no_new_privileges {
            writeln!(f, "no new privileges")?;
        }
        for (word, calls) in [
            ("allowed", &self.system_calls.allowed),
            ("refused", &self.system_calls.refused),
        ] {
            if !calls.is_empty() {
                writeln!(f, "system calls {word} {}", calls.join(" "))?;
            }
        }
        Ok(())
    }
}

/// The capabilities that a container keeps.
fn capabilities(spec: &ContainerSpec) -> CapSet {
    let declared = &spec.privileges;
    let by_default = |name: &str| match spec.confinement.profile {
        Profile::Default => {
            KEPT.contains(&name)
                || spec.network == Network::Private && KEPT_PRIVATE_NETWORK.contains(&name)
        }
        Profile::Strict => KEPT_STRICT.contains(&name),
        Profile::Privileged => spec.users == Users::Host || !OF_THE_MACHINE.contains(&name),
    };
    let named = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
    let keeps = |name: &str| {
        (by_default(name) || named(&declared.kept, name)) && !named(&declared.dropped, name)
    };
    let bits = CAPABILITIES.iter().enumerate();
    CapSet(
        bits.filter(|(_, name)| keeps(name))
            .fold(0, |set, (number, _)| set | 1 << number),
    )
}

/// Names of the capabilities in `set`, without `CAP_`.
fn names(set: CapSet) -> Vec<&'static str> {
    (0u32..)
        .zip(CAPABILITIES)
        .filter(|(number, _)| set.has(*number))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use skep_spec::Privileges;

    use super::*;
    use crate::plan::tests_support::spec;

    /// What systemd-nspawn keeps by default (nspawn.c, version 262), NET_ADMIN with a private network.
    const NSPAWN: u64 = 0xfdec_bfff;

    #[test]
    fn nothing_that_nspawn_drops_is_kept() {
        let mut spec = spec();
        assert_eq!(capabilities(&spec).0 & !(NSPAWN | 1 << 12), 0);
        spec.network = Network::Host;
        let kept = names(capabilities(&spec));
        let of_network = kept.iter().filter(|name| name.starts_with("NET_"));
        assert_eq!(of_network.count(), 1);
    }

    #[test]
    fn a_declaration_keeps_and_drops() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut spec = spec();
        spec.privileges = Privileges {
            kept: list(&["IPC_LOCK", "SYSLOG"]),
            dropped: list(&["SYSLOG", "MKNOD"]),
            no_new: false,
        };
        let got = names(capabilities(&spec));
        assert!(got.contains(&"IPC_LOCK") && got.contains(&"CHOWN"));
        assert!(!got.contains(&"SYSLOG") && !got.contains(&"MKNOD"));
    }

    #[test]
    fn profiles() {
        let mut spec = spec();
        let default = capabilities(&spec);
        spec.confinement.profile = Profile::Strict;
        let strict = capabilities(&spec);
        assert_eq!(strict.0 & !default.0, 0);
        assert!(!names(strict).contains(&"SYS_ADMIN"));
        spec.confinement.profile = Profile::Privileged;
        let privileged = names(capabilities(&spec));
        assert_eq!(privileged.len(), CAPABILITIES.len() - OF_THE_MACHINE.len());
        spec.users = Users::Host;
        assert_eq!(names(capabilities(&spec)).len(), CAPABILITIES.len());
    }
}
