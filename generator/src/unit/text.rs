//! A draft as a unit file, for `skep show`, `--dry-run` and `systemd-analyze verify`.
//!
//! systemd never reads this text: what it runs travels as typed properties.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use skep_spec::CAPABILITIES;

use crate::base64;
use crate::property::{Command, Property, Value};

use super::UnitDraft;
use super::escape;

/// Properties of `[Unit]`, sorted; all others belong to `[Service]`.
#[rustfmt::skip]
const UNIT_SECTION: &[&str] = &[
    "After", "AllowIsolate", "Before", "BindsTo", "CollectMode", "Conflicts", "DefaultDependencies", "Description",
    "Documentation", "FailureAction", "FailureActionExitStatus", "IgnoreOnIsolate", "JobRunningTimeoutUSec",
    "JobTimeoutAction", "JobTimeoutRebootArgument", "JobTimeoutUSec", "JoinsNamespaceOf", "OnFailure",
    "OnFailureJobMode", "OnSuccess", "OnSuccessJobMode", "PartOf", "PropagatesReloadTo", "PropagatesStopTo",
    "RebootArgument", "RefuseManualStart", "RefuseManualStop", "ReloadPropagatedFrom", "Requires", "RequiresMountsFor",
    "Requisite", "StartLimitAction", "StartLimitBurst", "StartLimitIntervalUSec", "StopPropagatedFrom",
    "StopWhenUnneeded", "SuccessAction", "SuccessActionExitStatus", "SurviveFinalKillSignal", "Upholds", "Wants",
    "WantsMountsFor",
];

/// Free text that systemd takes as one value.
const WHOLE_LINES: &[&str] = &["Description"];

/// The draft as a unit file.
pub fn unit_text(draft: &UnitDraft) -> String {
    let (unit, service): (Vec<_>, Vec<_>) = draft
        .properties
        .iter()
        .partition(|p| UNIT_SECTION.binary_search(&p.name).is_ok());
    let mut out = format!("# {}\n", draft.name);
    for (section, properties) in [("Unit", unit), ("Service", service)] {
        let _ = writeln!(out, "[{section}]");
        for property in properties {
            for line in assignments(property) {
                out.push_str(&line);
                out.push('\n');
            }
        }
        if section == "Unit" {
            out.push('\n');
        }
    }
    out
}

/// The lines of one property; a soft limit comes with its hard one and has none of its own.
pub fn assignments(property: &Property) -> Vec<String> {
    let key = key_of(property.name);
    let each = |values: Vec<String>| match values.is_empty() {
        true => vec![format!("{key}=")],
        false => values
            .into_iter()
            .map(|value| format!("{key}={value}"))
            .collect(),
    };
    match &property.value {
        Value::Str(text) if WHOLE_LINES.contains(&property.name) => {
            vec![format!("{key}={}", escape::line(text))]
        }
        Value::List(items) => vec![format!(
            "{key}={}",
            join(items.iter().map(|item| escape::word(item)))
        )],
        Value::Pairs(pairs) => each(pairs.iter().map(|(a, b)| pair(a, b)).collect()),
        Value::Limits(limits) => each(
            limits
                .iter()
                .map(|(path, n)| pair(path, &limit(*n)))
                .collect(),
        ),
        Value::Files(files) => each(files.iter().map(file).collect()),
        Value::ByteLists(items) => each(
            items
                .iter()
                .map(|bytes| escape::word(&String::from_utf8_lossy(bytes)))
                .collect(),
        ),
        Value::Blobs(blobs) => {
            let sealed = property.name.ends_with("Encrypted");
            each(
                blobs
                    .iter()
                    .map(|(id, data)| blob(id, data, sealed))
                    .collect(),
            )
        }
        Value::Exec(commands) => each(commands.iter().map(command).collect()),
        value => vec![format!("{key}={}", scalar(property.name, value))],
    }
}

/// The unit-file key of a D-Bus property.
fn key_of(property: &str) -> String {
    match property {
        "CPUQuotaPerSecUSec" => return "CPUQuota".to_owned(),
        "EnvironmentFiles" => return "EnvironmentFile".to_owned(),
        _ => {}
    }
    if let Some(stem) = property.strip_suffix("USec") {
        return format!("{stem}Sec");
    }
    if property.starts_with("Limit")
        && let Some(stem) = property.strip_suffix("Soft")
    {
        return stem.to_owned();
    }
    property
        .strip_suffix("Scale")
        .unwrap_or(property)
        .to_owned()
}

fn scalar(name: &str, value: &Value) -> String {
    match value {
        Value::Bool(on) => if *on { "yes" } else { "no" }.to_owned(),
        Value::I32(number) if name == "SystemCallErrorNumber" => {
            format!("{:?}", nix::errno::Errno::from_raw(*number))
        }
        Value::I32(number) => number.to_string(),
        Value::U32(number) if name.ends_with("Mode") || name == "UMask" => format!("{number:04o}"),
        Value::U32(number) if name.ends_with("Scale") || name.ends_with("PressureLimit") => {
            percent(*number)
        }
        Value::U32(number) => number.to_string(),
        Value::U64(set) if name == "CapabilityBoundingSet" => capabilities(*set),
        Value::U64(u64::MAX) if unset_when_infinite(name) => String::new(),
        Value::U64(micros) if name == "CPUQuotaPerSecUSec" => format!("{}%", micros / 10_000),
        Value::U64(u64::MAX) => "infinity".to_owned(),
        Value::U64(micros) if name.ends_with("USec") => duration(*micros),
        Value::U64(number) => number.to_string(),
        Value::Str(text) => escape::word(text).trim_matches('"').to_owned(),
        Value::Bytes(mask) => ranges(mask),
        Value::Choice(only, items) => {
            let mark = if *only { "" } else { "~" };
            format!("{mark}{}", items.join(" "))
        }
        Value::Status(codes, signals) => join(
            codes
                .iter()
                .map(i32::to_string)
                .chain(signals.iter().map(|s| signal(*s))),
        ),
        Value::Networks(networks) => join(networks.iter().map(network)),
        // Lists are handled by the caller.
        _ => String::new(),
    }
}

/// Weights and quotas have no "infinity": nothing is their default.
fn unset_when_infinite(name: &str) -> bool {
    name.ends_with("Weight") || name.starts_with("CPUQuota")
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

fn pair(a: &str, b: &str) -> String {
    format!("{} {}", escape::word(a), b)
}

fn limit(number: u64) -> String {
    if number == u64::MAX {
        "infinity".to_owned()
    } else {
        number.to_string()
    }
}

fn file((path, optional): &(String, bool)) -> String {
    format!("{}{}", if *optional { "-" } else { "" }, escape::word(path))
}

fn blob(id: &str, data: &[u8], sealed: bool) -> String {
    match sealed {
        true => format!("{id}:{}", base64::encode(data)),
        false => format!("{id}:{}", escape::bytes(data)),
    }
}

fn command(command: &Command) -> String {
    let dash = if command.ignore_failure { "-" } else { "" };
    let path = std::iter::once(escape::word(&command.path));
    let arguments = command
        .argv
        .iter()
        .skip(1)
        .map(|argument| escape::argument(argument));
    format!("{dash}{}", join(path.chain(arguments)))
}

fn duration(micros: u64) -> String {
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else {
        format!("{micros}us")
    }
}

/// A share of `u32::MAX`, with two digits where they matter.
fn percent(share: u32) -> String {
    let permyriad = (u64::from(share) * 10_000 + u64::from(u32::MAX) / 2) / u64::from(u32::MAX);
    match permyriad % 100 {
        0 => format!("{}%", permyriad / 100),
        rest => format!("{}.{rest:02}%", permyriad / 100),
    }
}

/// A bit mask, lowest byte first, as `0-3 7`.
fn ranges(mask: &[u8]) -> String {
    let bits: Vec<usize> = (0..mask.len() * 8)
        .filter(|bit| mask[bit / 8] & (1 << (bit % 8)) != 0)
        .collect();
    let runs = bits.chunk_by(|a, b| a + 1 == *b);
    join(runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    }))
}

fn capabilities(set: u64) -> String {
    let all = CAPABILITIES.iter().enumerate();
    let kept = all.filter(|(number, _)| set & (1 << number) != 0);
    join(kept.map(|(_, name)| format!("CAP_{name}")))
}

fn signal(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| number.to_string(), |signal| signal.to_string())
}

fn network((_, address, prefix): &(i32, Vec<u8>, u32)) -> String {
    let text = match <[u8; 4]>::try_from(address.as_slice()) {
        Ok(four) => Ipv4Addr::from(four).to_string(),
        Err(_) => match <[u8; 16]>::try_from(address.as_slice()) {
            Ok(sixteen) => Ipv6Addr::from(sixteen).to_string(),
            Err(_) => return String::new(),
        },
    };
    format!("{text}/{prefix}")
}

#[cfg(test)]
mod tests;
