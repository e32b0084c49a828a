//! The environment of the container's first process, and its machine id.

use std::path::Path;

use skep_spec::{ContainerSpec, Variable};

use crate::handed;
use crate::host::HostFacts;
use crate::tree::services::Runner;

/// Where the guest's init sends its readiness.
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// What a container is run by.
pub const MANAGER: &str = "skep";
/// Where the guest's init finds credentials.
pub const CREDENTIALS: &str = "/run/host/credentials";

/// The declared machine id, else one derived from the host's and the name: unique, and the same at every start.
pub fn machine_id(name: &str, spec: &ContainerSpec, host: &HostFacts) -> String {
    spec.machine_id.clone().unwrap_or_else(|| {
        let host_id = host.machine_id.as_deref().unwrap_or_default();
        let (high, low) = (digest(host_id, name, 0), digest(host_id, name, 1));
        // The version and variant bits of a random UUID, as machine-id(5) wants them.
        let (high, low) = (high & !0xf000 | 0x4000, low & !(0xc << 60) | 0x8 << 60);
        format!("{high:016x}{low:016x}")
    })
}

/// FNV-1a over the parts, NUL between them.
fn digest(host: &str, name: &str, salt: u8) -> u64 {
    host.bytes()
        .chain([0])
        .chain(name.bytes())
        .chain([0, salt])
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Value of `container`: the declared one, else by what starts the services. OpenRC knows a handful of them and leaves out what its services say to be of no use there.
fn manager(spec: &ContainerSpec, runner: Runner) -> &str {
    match (&spec.manager, runner) {
        (Some(declared), _) => declared,
        (None, Runner::Openrc) => "lxc",
        (None, Runner::Systemd | Runner::Sysv | Runner::Own) => MANAGER,
    }
}

/// `NAME=VALUE` strings of the first process, a clean set: nothing of the launcher's own leaks in. Of a repeated name the
/// last value counts, so the declaration's come last.
pub fn plan_environment(
    spec: &ContainerSpec,
    host: &HostFacts,
    runner: Runner,
    machine_id: &str,
    own: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut variables: Vec<(String, String)> = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("container", manager(spec, runner)),
        ("container_uuid", &uuid(machine_id)),
        ("TERM", "vt220"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("NOTIFY_SOCKET", NOTIFY_SOCKET),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    variables.extend(
        host.os_fields
            .iter()
            .map(|(key, value)| (format!("container_host_{key}"), value.clone())),
    );
    variables.extend(handed::variables(&host.handed.sockets));
    if host.handed.credentials.is_some() {
        variables.push(("CREDENTIALS_DIRECTORY".to_owned(), CREDENTIALS.to_owned()));
    }
    with_declared(variables, spec, own)
}

/// `NAME=VALUE` strings: ours, replaced by what is passed on, replaced by what is declared.
pub fn with_declared(
    mut variables: Vec<(String, String)>,
    spec: &ContainerSpec,
    own: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let passed = spec
        .pass_environment
        .iter()
        .filter_map(|name| Some((name.clone(), own(name)?)));
    let declared = spec
        .environment
        .iter()
        .map(|Variable { name, value }| (name.clone(), value.clone()));
    for (name, value) in passed.chain(declared) {
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    }
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Whether the tree's own machine id must be covered: it is the host's, so two machines would share it.
pub fn shares_machine_id(root: Option<&Path>, host: &HostFacts, tree: Option<&str>) -> bool {
    root == Some(Path::new("/"))
        || (tree.is_some_and(|id| id.len() == 32) && tree == host.machine_id.as_deref())
}

fn uuid(id: &str) -> String {
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn machine_ids_are_stable_and_distinct() {
        let host = HostFacts {
            machine_id: Some("a".repeat(32)),
            ..HostFacts::default()
        };
        let id = |name| machine_id(name, &spec(), &host);
        assert_eq!(id("web"), id("web"));
        assert_ne!(id("web"), id("db"));
        assert_eq!(id("web").len(), 32);
        assert_eq!(id("web").as_bytes()[12], b'4');
    }

    #[test]
    fn declared_variables_replace_ours_once() {
        let mut spec = spec();
        spec.environment = vec![Variable {
            name: "TERM".into(),
            value: "dumb".into(),
        }];
        spec.pass_environment = vec!["SET".into(), "UNSET".into()];
        let own = |name: &str| (name == "SET").then(|| "1".to_owned());
        let got = plan_environment(
            &spec,
            &HostFacts::default(),
            Runner::Systemd,
            &"0".repeat(32),
            own,
        );
        assert_eq!(
            got.iter()
                .filter(|entry| entry.starts_with("TERM="))
                .collect::<Vec<_>>(),
            ["TERM=dumb"]
        );
        assert!(
            got.contains(&"SET=1".to_owned())
                && !got.iter().any(|entry| entry.starts_with("UNSET="))
        );
        assert!(got.contains(&"container_uuid=00000000-0000-0000-0000-000000000000".to_owned()));
    }
}
