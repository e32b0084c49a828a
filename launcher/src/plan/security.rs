//! What the container may do: the capability bounding set.
//!
//! The set is systemd-nspawn's without AUDIT_CONTROL and LINUX_IMMUTABLE, which have no effect outside the initial user
//! namespace. A new user namespace starts with a full bounding set, so the limit is applied inside it, not by the unit.
//! System calls are `filter`'s.

use std::fmt;

use skep_spec::{CAPABILITIES, ContainerSpec, Network, Privileges, SystemCalls};

use crate::sys::caps::CapSet;

/// Kept for every container.
const KEPT: [&str; 22] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "IPC_OWNER",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// Kept with a network of the container's own; on the host's they would reach the host's links.
const KEPT_PRIVATE_NETWORK: [&str; 3] = ["NET_ADMIN", "NET_RAW", "NET_BROADCAST"];

/// What the processes of a container can have at most, those that enter it included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capabilities that stay in the bounding set.
    pub bounding: CapSet,
    /// No process gains privileges by executing a program.
    pub no_new_privileges: bool,
    /// What the declaration changes of the system call filter.
    pub system_calls: SystemCalls,
}

impl Limits {
    /// As the spec says.
    pub fn of(spec: &ContainerSpec) -> Limits {
        Limits {
            bounding: capabilities(spec.network, &spec.privileges),
            no_new_privileges: spec.privileges.no_new,
            system_calls: spec.system_calls.clone(),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
fn capabilities(network: Network, declared: &Privileges) -> CapSet {
    let private: &[&str] = if network == Network::Private {
        &KEPT_PRIVATE_NETWORK
    } else {
        &[]
    };
    let named = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
    let keeps = |name: &str| {
        let default = KEPT.contains(&name) || private.contains(&name);
        (default || named(&declared.kept, name)) && !named(&declared.dropped, name)
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
    use super::*;

    /// What systemd-nspawn keeps by default (nspawn.c, version 262), NET_ADMIN with a private network.
    const NSPAWN: u64 = 0xfdec_bfff;

    #[test]
    fn nothing_that_nspawn_drops_is_kept() {
        assert_eq!(
            capabilities(Network::Private, &Privileges::default()).0 & !(NSPAWN | 1 << 12),
            0
        );
        assert_eq!(
            names(capabilities(Network::Host, &Privileges::default()))
                .iter()
                .filter(|name| name.starts_with("NET_"))
                .count(),
            1
        );
    }
    #[test]
    fn a_declaration_keeps_and_drops() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let declared = Privileges {
            kept: list(&["IPC_LOCK", "SYSLOG"]),
            dropped: list(&["SYSLOG", "MKNOD"]),
            no_new: false,
        };
        let got = names(capabilities(Network::Host, &declared));
        assert!(got.contains(&"IPC_LOCK") && got.contains(&"CHOWN"));
        assert!(!got.contains(&"SYSLOG") && !got.contains(&"MKNOD"));
    }
}
