//! `Profile=`, `Nesting=`, `Device=`, `Capability=`, `DropCapability=`, `NoNewPrivileges=`, `SystemCallFilter=` and
//! `SystemCallArchitectures=`.

use std::collections::HashMap;

use skep_spec::{
    Architecture, CAPABILITIES, Confinement, Device, Privileges, Profile, SystemCalls, Users,
};

use super::Reader;
use crate::declaration::suggest::nearest;
use crate::declaration::value::{boolean, device, syscalls};
use crate::problem::quoted;

/// What the keys say.
pub(super) struct Read {
    pub(super) devices: Vec<Device>,
    pub(super) privileges: Privileges,
    pub(super) system_calls: SystemCalls,
    pub(super) confinement: Confinement,
}

/// What a container that runs containers gets of the host's devices, where they are there.
const NESTING: [&str; 2] = ["/dev/fuse", "/dev/net/tun"];

pub(super) fn read(reader: &mut Reader<'_>, users: Users) -> Read {
    let confinement = confinement(reader, users);
    let devices = reader.list("Device", |text| Ok(vec![device::passed(text)?]));
    let mut made = HashMap::new();
    for at in &devices {
        let target = &at.value.target;
        let first = *made.entry(target).or_insert(at.origin);
        if first != at.origin {
            let place = reader.problems.place(first);
            let message = || format!("{} is made at {place} already", target.display());
            reader.problems.error(at.origin, Some("Device"), message);
        }
    }
    let kept = reader.list("Capability", capabilities);
    let dropped = reader.list("DropCapability", capabilities);
    let mut keeps = HashMap::new();
    for at in &kept {
        keeps.entry(at.value.as_str()).or_insert(at.origin);
    }
    for at in &dropped {
        if let Some(first) = keeps.get(at.value.as_str()) {
            let place = reader.problems.place(*first);
            let message = || format!("{} is kept at {place}", at.value);
            reader
                .problems
                .error(at.origin, Some("DropCapability"), message);
        }
    }
    let no_new = reader.scalar("NoNewPrivileges", boolean);
    let said: Vec<_> = reader
        .list("SystemCallFilter", syscalls::system_calls)
        .into_iter()
        .map(|at| at.value)
        .collect();
    let mut devices: Vec<Device> = devices.into_iter().map(|at| at.value).collect();
    if confinement.nesting {
        for node in NESTING {
            let path = std::path::PathBuf::from(node);
            if !devices.iter().any(|device| device.target == path) {
                devices.push(Device {
                    source: path.clone(),
                    target: path,
                    access: "rw".into(),
                    optional: true,
                });
            }
        }
    }
    Read {
        devices,
        privileges: Privileges {
            kept: kept.into_iter().map(|at| at.value).collect(),
            dropped: dropped.into_iter().map(|at| at.value).collect(),
            no_new: no_new.is_some_and(|at| at.value),
        },
        system_calls: syscalls::merged(&said),
        confinement,
    }
}

fn confinement(reader: &mut Reader<'_>, users: Users) -> Confinement {
    let profile = reader.scalar("Profile", profile);
    let nesting = reader.scalar("Nesting", boolean);
    let architectures = reader.list("SystemCallArchitectures", architectures);
    let is = |wanted| profile.as_ref().filter(|at| at.value == wanted);
    if let (Some(nesting), Some(_)) = (nesting.as_ref().filter(|at| at.value), is(Profile::Strict))
    {
        let message = || {
            "Profile=strict refuses mounts and namespaces, which containers in the container need; use one of the two".to_owned()
        };
        reader
            .problems
            .error(nesting.origin, Some("Nesting"), message);
    }
    if let (Some(privileged), Users::Host) = (is(Profile::Privileged), users) {
        let message =
            || "with PrivateUsers=no the container's root is root of this host".to_owned();
        reader
            .problems
            .warning(privileged.origin, "Profile", message);
    }
    let mut all: Vec<Architecture> = Vec::new();
    for at in architectures {
        if !all.contains(&at.value) {
            all.push(at.value);
        }
    }
    Confinement {
        profile: profile.map_or(Profile::Default, |at| at.value),
        nesting: nesting.is_some_and(|at| at.value),
        architectures: all,
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    match text {
        "default" => Ok(Profile::Default),
        "strict" => Ok(Profile::Strict),
        "privileged" => Ok(Profile::Privileged),
        _ => Err(format!(
            "{} is not default, strict or privileged",
            quoted(text)
        )),
    }
}

/// Names of systemd.exec(5). The machine's own needs no word.
fn architectures(text: &str) -> Result<Vec<Architecture>, String> {
    let mut all = Vec::new();
    for word in text.split_ascii_whitespace() {
        match word {
            "native" => {}
            "x86" if cfg!(target_arch = "x86_64") => all.push(Architecture::X86),
            "x86-64" if cfg!(target_arch = "x86_64") => {}
            "arm64" if cfg!(target_arch = "aarch64") => {}
            "x32" => return Err("x32 programs run in no container".into()),
            "x86" => return Err("this machine runs no x86 programs".into()),
            _ => return Err(format!("{} is not native or x86", quoted(word))),
        }
    }
    Ok(all)
}

/// Names with or without `CAP_`, in any case.
fn capabilities(text: &str) -> Result<Vec<String>, String> {
    let one = |word: &str| {
        let name = word.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if CAPABILITIES.contains(&name) {
            return Ok(name.to_owned());
        }
        let hint = match word {
            "all" => "; name each of them".to_owned(),
            _ => nearest(name, CAPABILITIES)
                .map(|near| format!("; did you mean CAP_{near}?"))
                .unwrap_or_default(),
        };
        Err(format!("not a capability: {}{hint}", quoted(word)))
    };
    text.split_ascii_whitespace().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn capability_names() {
        assert_eq!(
            capabilities("CAP_SYSLOG ipc_lock").unwrap(),
            ["SYSLOG", "IPC_LOCK"]
        );
        for (bad, want) in [
            ("CAP_SYS_LOG", "did you mean CAP_SYSLOG?"),
            ("all", "name each"),
            ("12", "not a capability"),
        ] {
            assert!(capabilities(bad).unwrap_err().contains(want), "{bad}");
        }
    }
}
