//! `Device=`, `Capability=`, `DropCapability=`, `NoNewPrivileges=` and `SystemCallFilter=`.

use std::collections::HashMap;

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
