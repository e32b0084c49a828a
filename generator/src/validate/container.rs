//! `[Container]` to the launcher's spec.

use skep_spec::{ContainerSpec, Variable};

use super::{At, Reader, adapt, init, integration, mounts, network, root, security, store, users};
use crate::addresses::Pool;
use crate::declaration::value::variable_name;
use crate::declaration::words;
use crate::problem::{Origin, quoted};
use crate::wanted::Ids;

/// Longest host name of Linux.
const MAX_HOSTNAME: usize = 64;

/// What `[Container]` says.
pub(super) struct Read {
    pub(super) spec: ContainerSpec,
    pub(super) ids: Ids,
    pub(super) pool: Pool,
    pub(super) users_at: Option<Origin>,
    /// Where `Root=` stands.
    pub(super) root_at: Option<Origin>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let store = store::read(reader);
    let system_at = store.system.as_ref().map(|at| at.origin);
    let root::Read {
        root,
        fresh_var,
        at: root_at,
    } = root::read(reader, system_at);
    let init = init::read(reader, system_at);
    let hostname = reader.scalar("Hostname", hostname);
    let machine_id = reader.scalar("MachineID", machine_id);
    let environment = values(reader.list("Environment", environment));
    let pass_environment = values(reader.list("PassEnvironment", pass_environment));
    let users = users::read(reader);
    let mounts = mounts::read(reader, users.users, fresh_var);
    let network::Read { network, net, pool } = network::read(reader);
    let security = security::read(reader, users.users);
    let adapt = adapt::read(reader);
    let integration = integration::read(reader);
    let spec = ContainerSpec {
        init: init.init,
        parameters: init.parameters,
        hostname: value(hostname),
        machine_id: value(machine_id),
        environment,
        pass_environment,
        binds: mounts.binds,
        overlays: mounts.overlays,
        temporary: mounts.temporary,
        network,
        net,
        kill_signal: init.kill_signal,
        reboot_signal: init.reboot_signal,
        manager: init.manager,
        process_two: init.process_two,
        notify_ready: init.notify_ready,
        devices: security.devices,
        privileges: security.privileges,
        system_calls: security.system_calls,
        confinement: security.confinement,
        adapt,
        system: value(store.system),
        store: store.store,
        resolv_conf: integration.resolv_conf,
        timezone: integration.timezone,
        link_journal: integration.link_journal,
        ..ContainerSpec::of(root, users.users)
    };
    Read {
        spec,
        ids: users.ids,
        pool,
        users_at: users.at,
        root_at,
    }
}

fn value<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

fn values<T>(all: Vec<At<T>>) -> Vec<T> {
    all.into_iter().map(|at| at.value).collect()
}

fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > MAX_HOSTNAME {
        return Err(format!(
            "the host name has {} characters, {MAX_HOSTNAME} are allowed",
            text.len()
        ));
    }
    if !text.split('.').all(label) {
        return Err(format!(
            "not a host name: {}; write labels of letters, digits and \"-\", joined by \".\"",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

fn machine_id(text: &str) -> Result<String, String> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let id = text.replace('-', "").to_ascii_lowercase();
    let shape = groups == [32] || groups == [8, 4, 4, 4, 12];
    if !shape || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!(
            "not a machine id of 32 hex digits: {}",
            quoted(text)
        ));
    }
    if id.bytes().all(|byte| byte == b'0') {
        return Err("a machine id is not all zero".into());
    }
    Ok(id)
}

fn environment(text: &str) -> Result<Vec<Variable>, String> {
    let variable = |word: String| {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("not NAME=VALUE: {}", quoted(&word)));
        };
        check_variable(name)?;
        Ok(Variable {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    };
    words::split(text)?.into_iter().map(variable).collect()
}

fn pass_environment(text: &str) -> Result<Vec<String>, String> {
    let names = words::split(text)?;
    for name in &names {
        if name.contains('=') {
            return Err(format!(
                "names only: {}; use Environment= to set a value",
                quoted(name)
            ));
        }
        check_variable(name)?;
    }
    Ok(names)
}

/// Refuses the variables with which the launcher talks to the init: a wrong one breaks boot or readiness.
fn check_variable(name: &str) -> Result<(), String> {
    const OWN: [&str; 6] = [
        "container",
        "NOTIFY_SOCKET",
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
    ];
    const OWN_START: [&str; 3] = ["container_", "LISTEN_", "WATCHDOG_"];
    variable_name(name)?;
    if OWN.contains(&name) || OWN_START.iter().any(|start| name.starts_with(start)) {
        let instead = match name {
            "container_uuid" => "; use MachineID=",
            "container" => "; use ContainerManager=",
            _ => "",
        };
        return Err(format!("{name} is set by skep{instead}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn host_names() {
        let longest = "a".repeat(64);
        for good in ["a", "web-1.example.org", "a_b", longest.as_str()] {
            assert_eq!(hostname(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            ".",
            "a.",
            "-a",
            "a-",
            "a..b",
            "a b",
            "\u{e4}",
            &"a".repeat(65),
        ] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn machine_ids() {
        let id = "0123456789abcdef0123456789abcdef";
        for good in [
            id,
            "0123456789ABCDEF0123456789ABCDEF",
            "01234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(machine_id(good).as_deref(), Ok(id), "{good}");
        }
        for bad in [
            "",
            "0123",
            &"0".repeat(32),
            &"g".repeat(32),
            "0123456789abcdef-0123456789abcdef",
        ] {
            assert!(machine_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables() {
        let read = environment(r#"A=1 "B=x y" C="#).unwrap();
        let pairs: Vec<_> = read
            .iter()
            .map(|variable| (variable.name.as_str(), variable.value.as_str()))
            .collect();
        assert_eq!(pairs, [("A", "1"), ("B", "x y"), ("C", "")]);
        for good in ["TERM=x", "PATH=/bin", "HOME=/", "LANG=C", "containers=1"] {
            assert!(environment(good).is_ok(), "{good}");
        }
        for bad in [
            "A",
            "=1",
            "1A=2",
            "container=x",
            "container_uuid=1",
            "NOTIFY_SOCKET=x",
            "LISTEN_FDS=1",
            "A='",
        ] {
            assert!(environment(bad).is_err(), "{bad}");
        }
        assert_eq!(pass_environment("A B").unwrap(), ["A", "B"]);
        assert!(pass_environment("A=1").unwrap_err().contains("names only"));
    }
}
