//! `Device=`, `Capability=`, `DropCapability=`, `NoNewPrivileges=` and `SystemCallFilter=`.

use skep_spec::{CAPABILITIES, Device, Privileges, SystemCalls};

use super::Reader;
use crate::declaration::suggest::nearest;
use crate::declaration::value::{boolean, device, syscalls};
use crate::problem::quoted;

/// What the keys say.
pub(super) struct Read {
    pub(super) devices: Vec<Device>,
    pub(super) privileges: Privileges,
    pub(super) system_calls: SystemCalls,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let devices = reader.list("Device", |text| Ok(vec![device::passed(text)?]));
    for (index, at) in devices.iter().enumerate() {
        let target = &at.value.target;
        if let Some(first) = devices[..index]
            .iter()
            .find(|other| other.value.target == *target)
        {
            let place = reader.problems.place(first.origin);
            let message = || format!("{} is made at {place} already", target.display());
            reader.problems.error(at.origin, Some("Device"), message);
        }
    }
    let kept = reader.list("Capability", capabilities);
    let dropped = reader.list("DropCapability", capabilities);
    for at in &dropped {
        if let Some(first) = kept.iter().find(|other| other.value == at.value) {
            let place = reader.problems.place(first.origin);
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
    Read {
        devices: devices.into_iter().map(|at| at.value).collect(),
        privileges: Privileges {
            kept: kept.into_iter().map(|at| at.value).collect(),
            dropped: dropped.into_iter().map(|at| at.value).collect(),
            no_new: no_new.is_some_and(|at| at.value),
        },
        system_calls: syscalls::merged(&said),
    }
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
