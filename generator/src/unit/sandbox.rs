//! What confines the launcher and, by inheritance, the guest a second time.
//!
//! A filter on the unit is inherited by every program of the guest, so this one refuses nothing that the launcher's own
//! filter allows: it follows the declaration. The launcher itself, which works for a hostile guest as root, is held by it.
//! The bounding set holds the launcher only: a user namespace starts with a full one, and the launcher limits that.
//!
//! Left out on purpose: `NoNewPrivileges=`, `RestrictSUIDSGID=`, `RestrictNamespaces=`, `MemoryDenyWriteExecute=`,
//! `LockPersonality=`, `ProtectHostname=`, `LimitCORE=` and the groups `@mount`, `@privileged`, `@reboot`, `@debug` and
//! `@resources`: a guest needs what they take. Left out for good: everything that gives the unit a mount namespace of its
//! own (`ProtectSystem=`, `PrivateTmp=` ...), because it hides parts of the host's `/proc`, and then the kernel refuses
//! the guest a `/proc` of its own.

use nix::errno::Errno;
use skep_spec::{
    Architecture, CAPABILITIES, ContainerSpec, KEPT, KEPT_NESTING, KEPT_PRIVATE_NETWORK, Network,
    Profile, Users,
};

use crate::declaration::value::syscalls::group;
use crate::property::{Property, Value};

/// What no container may do by default, all of it the host's.
const REFUSED: [&str; 6] = [
    "@clock",
    "@cpu-emulation",
    "@module",
    "@obsolete",
    "@raw-io",
    "@swap",
];

/// As the launcher's filter has them.
const FAMILIES: [&str; 5] = ["AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6", "AF_PACKET"];

/// What the launcher does with each is in its modules: ids and owners, mounts and nodes, namespaces and links, limits, a look
/// into its own guest's namespaces.
const LAUNCHER: [&str; 16] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_RESOURCE",
    "MKNOD",
    "SETFCAP",
];

/// The properties for a container, or for a command, whose unit also says `declared`.
pub fn sandbox(spec: &ContainerSpec, declared: &[Property]) -> Vec<Property> {
    let mut properties = vec![Property::new(
        "CapabilityBoundingSet",
        Value::U64(bounding_set(spec)),
    )];
    if spec.confinement.profile == Profile::Privileged {
        return properties;
    }
    let mut set = |name: &'static str, value: Value| properties.push(Property::new(name, value));
    let mut architectures = vec!["native".to_owned()];
    architectures.extend(spec.confinement.architectures.iter().map(architecture));
    set("SystemCallArchitectures", Value::List(architectures));
    let allowed = &spec.system_calls.allowed;
    let stays = |name: &&str| {
        !group(name)
            .iter()
            .any(|call| allowed.iter().any(|a| a == call))
    };
    let refused: Vec<String> = REFUSED
        .iter()
        .filter(|name| stays(name))
        .map(|name| (*name).to_owned())
        .collect();
    if !refused.is_empty() {
        set("SystemCallFilter", Value::Choice(false, refused));
        // Without it a call that is refused ends the program.
        set("SystemCallErrorNumber", Value::I32(Errno::EPERM as i32));
    }
    set(
        "RestrictAddressFamilies",
        Value::Choice(true, FAMILIES.map(str::to_owned).into()),
    );
    let realtime = declared.iter().any(|p| p.name.starts_with("LimitRTPRIO"));
    // With private users the kernel refuses it anyway, unless a limit allows it.
    if spec.users != Users::Host && !realtime {
        set("RestrictRealtime", true.into());
    }
    properties
}

fn architecture(architecture: &Architecture) -> String {
    match architecture {
        Architecture::X86 => "x86".to_owned(),
    }
}

fn bounding_set(spec: &ContainerSpec) -> u64 {
    let own = spec.users != Users::Host;
    let privileged = spec.confinement.profile == Profile::Privileged;
    let network = spec.network == Network::Private;
    let in_guest = |name: &str| {
        privileged
            || KEPT.contains(&name)
            || network && KEPT_PRIVATE_NETWORK.contains(&name)
            || spec.confinement.nesting && KEPT_NESTING.contains(&name)
            || spec.privileges.kept.iter().any(|kept| kept == name)
    };
    // The launcher keeps programs of the host from taking the container's ports.
    let reserves = |name: &str| !spec.net.ports.is_empty() && name == "NET_BIND_SERVICE";
    let names = CAPABILITIES.iter().enumerate();
    names
        .filter(|(_, name)| LAUNCHER.contains(name) || reserves(name) || !own && in_guest(name))
        .fold(0, |set, (number, _)| set | 1 << number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::sample;

    fn value<'a>(properties: &'a [Property], name: &str) -> Option<&'a Value> {
        let property = properties.iter().find(|property| property.name == name);
        property.map(|property| &property.value)
    }

    fn has(spec: &ContainerSpec, name: &str) -> bool {
        let number = CAPABILITIES
            .iter()
            .position(|known| *known == name)
            .unwrap();
        bounding_set(spec) & 1 << number != 0
    }

    #[test]
    fn nothing_that_is_declared_is_refused() {
        let mut spec = sample::wanted("web", Vec::new()).spec;
        let plain = sandbox(&spec, &[]);
        let all = Value::Choice(false, REFUSED.map(str::to_owned).into());
        assert_eq!(value(&plain, "SystemCallFilter"), Some(&all));
        assert_eq!(value(&plain, "SystemCallErrorNumber"), Some(&Value::I32(1)));
        assert_eq!(value(&plain, "RestrictRealtime"), Some(&true.into()));
        spec.system_calls.allowed = vec!["modify_ldt".into(), "adjtimex".into()];
        spec.confinement.architectures = vec![Architecture::X86];
        let limit = Property::new("LimitRTPRIO", Value::U64(5));
        let own = sandbox(&spec, &[limit]);
        let rest = ["@module", "@obsolete", "@raw-io", "@swap"].map(str::to_owned);
        let rest = Value::Choice(false, rest.into());
        assert_eq!(value(&own, "SystemCallFilter"), Some(&rest));
        assert_eq!(value(&own, "RestrictRealtime"), None);
        assert_eq!(
            value(&own, "SystemCallArchitectures"),
            Some(&["native", "x86"].into())
        );
        spec.confinement.profile = Profile::Privileged;
        assert_eq!(sandbox(&spec, &[]).len(), 1);
    }

    #[test]
    fn a_guest_without_users_of_its_own_has_the_units_bounding_set() {
        let mut spec = sample::wanted("web", Vec::new()).spec;
        spec.privileges.kept = vec!["SYSLOG".into()];
        assert!(!has(&spec, "SYSLOG") && !has(&spec, "SYS_BOOT") && has(&spec, "SYS_ADMIN"));
        assert!(!has(&spec, "NET_BIND_SERVICE"));
        spec.users = Users::Host;
        assert!(has(&spec, "SYSLOG") && has(&spec, "SYS_BOOT"));
        assert!(!has(&spec, "SYS_MODULE"));
        spec.confinement.profile = Profile::Privileged;
        assert!(has(&spec, "SYS_MODULE"));
    }
}
