//! What the container may do: the capability bounding set.
//!
//! The set is systemd-nspawn's without AUDIT_CONTROL and LINUX_IMMUTABLE, which have no effect outside the initial user
//! namespace. A new user namespace starts with a full bounding set, so the limit is applied inside it, not by the unit.
//! System calls are `filter`'s.

use skep_spec::Network;

use crate::sys::caps::CapSet;

/// Name and number, capabilities(7).
const NAMES: [(&str, u32); 41] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("DAC_READ_SEARCH", 2),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("LINUX_IMMUTABLE", 9),
    ("NET_BIND_SERVICE", 10),
    ("NET_BROADCAST", 11),
    ("NET_ADMIN", 12),
    ("NET_RAW", 13),
    ("IPC_LOCK", 14),
    ("IPC_OWNER", 15),
    ("SYS_MODULE", 16),
    ("SYS_RAWIO", 17),
    ("SYS_CHROOT", 18),
    ("SYS_PTRACE", 19),
    ("SYS_PACCT", 20),
    ("SYS_ADMIN", 21),
    ("SYS_BOOT", 22),
    ("SYS_NICE", 23),
    ("SYS_RESOURCE", 24),
    ("SYS_TIME", 25),
    ("SYS_TTY_CONFIG", 26),
    ("MKNOD", 27),
    ("LEASE", 28),
    ("AUDIT_WRITE", 29),
    ("AUDIT_CONTROL", 30),
    ("SETFCAP", 31),
    ("MAC_OVERRIDE", 32),
    ("MAC_ADMIN", 33),
    ("SYSLOG", 34),
    ("WAKE_ALARM", 35),
    ("BLOCK_SUSPEND", 36),
    ("AUDIT_READ", 37),
    ("PERFMON", 38),
    ("BPF", 39),
    ("CHECKPOINT_RESTORE", 40),
];

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

/// The capabilities that a container keeps.
pub fn capabilities(network: Network) -> CapSet {
    let private: &[&str] = if network == Network::Private {
        &KEPT_PRIVATE_NETWORK
    } else {
        &[]
    };
    CapSet(
        NAMES
            .iter()
            .filter(|(name, _)| KEPT.contains(name) || private.contains(name))
            .fold(0, |set, (_, number)| set | 1 << number),
    )
}

/// Names of the capabilities in `set`, without `CAP_`.
pub fn names(set: CapSet) -> Vec<&'static str> {
    NAMES
        .iter()
        .filter(|(_, number)| set.has(*number))
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd-nspawn keeps by default (nspawn.c, version 262), NET_ADMIN with a private network.
    const NSPAWN: u64 = 0xfdec_bfff;

    #[test]
    fn nothing_that_nspawn_drops_is_kept() {
        assert_eq!(capabilities(Network::Private).0 & !(NSPAWN | 1 << 12), 0);
        assert_eq!(
            names(capabilities(Network::Host))
                .iter()
                .filter(|name| name.starts_with("NET_"))
                .count(),
            1
        );
    }
}
