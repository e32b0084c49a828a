//! `[Unit]` and `[Service]` to typed unit properties.

use super::{Given, Reader};
use crate::declaration::Facts;
use crate::declaration::keys::{KeyRow, LimitUnit, Meaning, Syntax};
use crate::declaration::value::size::{Base, size};
use crate::declaration::value::{
    boolean, choice, cpus, credential, device, exec, network, number, path, percentage, scale,
    signal, survives_reload, time, unit_name, weight,
};
use crate::declaration::words;
use crate::name;
use crate::problem::quoted;
use crate::property::{Property, Value};

/// The properties of one key, under the name that decides what a later assignment replaces.
struct Slot {
    name: &'static str,
    properties: Vec<Property>,
}

/// All properties, ordered by the first assignment of each key.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Property> {
    let mut slots: Vec<Slot> = Vec::new();
    let own = name::unit(reader.name);
    for given in &reader.settings {
        let Some(names) = slot_names(given.row) else {
            continue;
        };
        if given.value.is_empty() {
            slots.retain(|slot| !names.contains(&slot.name));
            continue;
        }
        match parse(given, reader.facts, &own) {
            Err(message) => reader
                .problems
                .error(given.origin, Some(given.row.name), || message),
            Ok(properties) if names.len() > 1 => {
                for (name, property) in names.iter().zip(properties) {
                    assign(&mut slots, name, vec![property]);
                }
            }
            Ok(properties) => assign(&mut slots, names[0], properties),
        }
    }
    slots.into_iter().flat_map(|slot| slot.properties).collect()
}

/// What an assignment replaces: its own key's properties, or those of two other keys.
fn slot_names(row: &KeyRow) -> Option<&[&'static str]> {
    match row.meaning {
        Meaning::Property(_) => Some(std::slice::from_ref(&row.name)),
        Meaning::Timeouts => Some(&["TimeoutStartSec", "TimeoutStopSec"]),
        Meaning::Container { .. } | Meaning::Install => None,
    }
}

/// Puts a value in place: lists grow, anything else is replaced.
fn assign(slots: &mut Vec<Slot>, name: &'static str, properties: Vec<Property>) {
    let Some(slot) = slots.iter_mut().find(|slot| slot.name == name) else {
        slots.push(Slot { name, properties });
        return;
    };
    if let ([old], [new]) = (slot.properties.as_mut_slice(), properties.as_slice())
        && extend(&mut old.value, &new.value)
    {
        return;
    }
    slot.properties = properties;
}

/// Appends `more` where the type is a list.
fn extend(value: &mut Value, more: &Value) -> bool {
    match (value, more) {
        (Value::List(all), Value::List(more)) => all.extend_from_slice(more),
        (Value::Pairs(all), Value::Pairs(more)) => all.extend_from_slice(more),
        (Value::Limits(all), Value::Limits(more)) => all.extend_from_slice(more),
        (Value::ByteLists(all), Value::ByteLists(more)) => all.extend_from_slice(more),
        (Value::Blobs(all), Value::Blobs(more)) => all.extend_from_slice(more),
        (Value::Exec(all), Value::Exec(more)) => all.extend_from_slice(more),
        (Value::Networks(all), Value::Networks(more)) => all.extend_from_slice(more),
        (Value::Status(codes, signals), Value::Status(more_codes, more_signals)) => {
            codes.extend_from_slice(more_codes);
            signals.extend_from_slice(more_signals);
        }
        (Value::Bytes(all), Value::Bytes(more)) => {
            all.resize(all.len().max(more.len()), 0);
            all.iter_mut()
                .zip(more)
                .for_each(|(byte, more)| *byte |= more);
        }
        _ => return false,
    }
    true
}

fn parse(given: &Given<'_>, facts: &Facts, own: &str) -> Result<Vec<Property>, String> {
    if let (Some(since), Some(version)) = (given.row.since, facts.systemd)
        && version < since
    {
        return Err(format!("needs systemd {since}, this host has {version}"));
    }
    let text = given.value.as_ref();
    match given.row.meaning {
        Meaning::Property(syntax) => property(syntax, text, own),
        Meaning::Timeouts => {
            let span = timeout(text)?;
            Ok(["TimeoutStartUSec", "TimeoutStopUSec"]
                .map(|name| one(name, Value::U64(span)))
                .concat())
        }
        Meaning::Container { .. } | Meaning::Install => Ok(Vec::new()),
    }
}

fn one(name: &'static str, value: Value) -> Vec<Property> {
    vec![Property { name, value }]
}

fn property(syntax: Syntax, text: &str, own: &str) -> Result<Vec<Property>, String> {
    let words = || text.split_ascii_whitespace();
    Ok(match syntax {
        Syntax::Bool(name) => one(name, Value::Bool(boolean(text)?)),
        Syntax::Text(name) => one(name, Value::Str(text.to_owned())),
        Syntax::Choice(name, choices) => one(name, Value::Str(choice(text, choices)?.to_owned())),
        Syntax::Code(name, codes) => one(name, Value::I32(code(text, codes)?)),
        Syntax::Int(name, min, max) => one(name, Value::I32(number(text, min, max)?)),
        Syntax::Count(name) => one(name, Value::U32(number(text, 0, u32::MAX)?)),
        Syntax::Weight(name, idle) => one(name, Value::U64(weight(text, idle)?)),
        Syntax::Time(name) => one(name, Value::U64(time::span(text)?)),
        Syntax::Timeout(name) => one(name, Value::U64(timeout(text)?)),
        Syntax::Memory(name, scaled, min) => memory(name, scaled, min, text)?,
        Syntax::Bytes(name, min) => one(name, Value::U64(bytes(text, min)?)),
        Syntax::Tasks(name) => one(name, Value::U64(tasks(text)?)),
        Syntax::Quota(name) => one(name, Value::U64(quota(text)?)),
        Syntax::Pressure(name) => match scale(text) {
            Some(share) => one(name, Value::U32(share?)),
            None => return Err(format!("not a percentage: {}", quoted(text))),
        },
        Syntax::Units(name) => one(name, Value::List(units(text, own)?)),
        Syntax::Slice(name) => one(name, Value::Str(unit_name::slice(text)?)),
        Syntax::Paths(name) => one(name, Value::List(paths(text)?)),
        Syntax::Uris(name) => one(
            name,
            Value::List(words().map(uri).collect::<Result<_, _>>()?),
        ),
        Syntax::Exec(name) => one(name, Value::Exec(vec![exec::command(text)?])),
        Syntax::Exit(name) => one(name, exit(text)?),
        Syntax::Device(name) => one(name, Value::Pairs(vec![device::rule(text)?])),
        Syntax::DeviceRate(name) => one(name, Value::Limits(vec![device::rate(text)?])),
        Syntax::DeviceWeight(name) => one(name, Value::Limits(vec![device::weighted(text)?])),
        Syntax::DeviceTime(name) => one(name, Value::Limits(vec![device::latency(text)?])),
        Syntax::Networks(name) => {
            let lists: Vec<Vec<_>> = words().map(network::networks).collect::<Result<_, _>>()?;
            one(name, Value::Networks(lists.concat()))
        }
        Syntax::Cpus(name) => one(name, Value::Bytes(cpus::mask(text)?)),
        Syntax::Limit(hard, soft, unit) => limit(hard, soft, unit, text)?,
        Syntax::LoadCredential(name) => one(name, Value::Pairs(vec![credential::load(text)?])),
        Syntax::SetCredential(name) => one(name, Value::Blobs(vec![credential::set(text)?])),
        Syntax::SealedCredential(name) => {
            one(name, Value::Blobs(vec![credential::set_encrypted(text)?]))
        }
        Syntax::ImportCredential(name) => one(name, Value::List(vec![credential::import(text)?])),
        Syntax::Fields(name) => one(name, Value::ByteLists(fields(text)?)),
    })
}

fn code(text: &str, codes: &[(&'static str, i32)]) -> Result<i32, String> {
    let last = codes
        .iter()
        .map(|(_, code)| *code)
        .max()
        .unwrap_or_default();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return number(text, 0, last);
    }
    let names: Vec<&'static str> = codes.iter().map(|(name, _)| *name).collect();
    let name = choice(text, &names)?;
    Ok(codes
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, code)| *code)
        .unwrap_or_default())
}

fn memory(
    name: &'static str,
    scaled: &'static str,
    min: u64,
    text: &str,
) -> Result<Vec<Property>, String> {
    match scale(text) {
        Some(share) => match share? {
            share if u64::from(share) < min => Err(too_small(text, min)),
            share => Ok(one(scaled, Value::U32(share))),
        },
        None => Ok(one(name, Value::U64(at_least(text, min)?))),
    }
}

fn bytes(text: &str, min: u64) -> Result<u64, String> {
    match scale(text) {
        Some(_) => Err(format!(
            "systemd takes no percentage over D-Bus here: {}; write bytes, as 512M",
            quoted(text)
        )),
        None => at_least(text, min),
    }
}

fn at_least(text: &str, min: u64) -> Result<u64, String> {
    match size(text, Base::Binary)? {
        bytes if bytes < min => Err(too_small(text, min)),
        bytes => Ok(bytes),
    }
}

fn too_small(text: &str, min: u64) -> String {
    format!("{} is below the least possible, {min} byte", quoted(text))
}

/// A percentage would be right until the next daemon-reload: systemd writes a tenth of it into the unit it reads back
/// (its issue 41009).
fn tasks(text: &str) -> Result<u64, String> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    if text.ends_with('%') {
        return Err(format!(
            "systemd loses percentages of tasks when it reloads: write a number, not {}",
            quoted(text)
        ));
    }
    number(text, 1, u64::MAX - 1)
        .map_err(|_| format!("{} is not a number above 0 or infinity", quoted(text)))
}

/// CPU time per second in microseconds. systemd keeps whole percents over a reload, no fractions.
fn quota(text: &str) -> Result<u64, String> {
    match percentage(text) {
        None => Err(format!(
            "not a percentage: {}; write as 50% or, for two CPUs, 200%",
            quoted(text)
        )),
        Some(Ok(0)) => Err("0% would allow no CPU time".into()),
        Some(Ok(hundredths)) if hundredths % 100 != 0 => {
            Err(format!("{text} is not a whole percentage"))
        }
        Some(hundredths) => hundredths.map(|hundredths| hundredths * 100),
    }
}

/// A time limit of a start or stop: 0 means none, which unit files know and the property does not.
fn timeout(text: &str) -> Result<u64, String> {
    time::span(text).map(|span| if span == 0 { u64::MAX } else { span })
}

fn units(text: &str, own: &str) -> Result<Vec<String>, String> {
    let unit = |word: &str| match unit_name::unit(word)? {
        unit if unit == own => Err("a container cannot depend on itself".to_owned()),
        unit => Ok(unit),
    };
    text.split_ascii_whitespace().map(unit).collect()
}

fn paths(text: &str) -> Result<Vec<String>, String> {
    let path = |word: String| {
        let path = path::absolute("the path", &word)?
            .to_string_lossy()
            .into_owned();
        survives_reload("the path", &path, &[' ', '\t', '\n', '%', '\\', '"', '\''])?;
        Ok(path)
    };
    words::split(text)?.into_iter().map(path).collect()
}

fn uri(word: &str) -> Result<String, String> {
    const SCHEMES: [&str; 5] = ["https://", "http://", "file:/", "info:", "man:"];
    survives_reload("the URI", word, &['%', '\\', '"', '\''])?;
    let rest = SCHEMES.iter().find_map(|scheme| word.strip_prefix(scheme));
    match rest.filter(|rest| !rest.is_empty()) {
        Some(_) => Ok(word.to_owned()),
        None => Err(format!(
            "not a URI of http, https, file, info or man: {}",
            quoted(word)
        )),
    }
}

/// Exit codes 0-255 and signals.
fn exit(text: &str) -> Result<Value, String> {
    let (mut codes, mut signals) = (Vec::new(), Vec::new());
    for word in text.split_ascii_whitespace() {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            codes.push(number(word, 0, 255)?);
        } else {
            let wrong = |_| format!("neither an exit code 0-255 nor a signal: {}", quoted(word));
            signals.push(signal::signal(word).map_err(wrong)?);
        }
    }
    Ok(Value::Status(codes, signals))
}

/// `SOFT:HARD`, or one for both.
fn limit(
    hard: &'static str,
    soft: &'static str,
    unit: LimitUnit,
    text: &str,
) -> Result<Vec<Property>, String> {
    let parse = |text: &str| limit_value(unit, text.trim());
    let (low, high) = match text.split_once(':') {
        Some((low, high)) => (parse(low)?, parse(high)?),
        None => {
            let both = parse(text)?;
            (both, both)
        }
    };
    if low > high {
        return Err(format!(
            "the soft limit is above the hard one: {}",
            quoted(text)
        ));
    }
    // The hard one first: systemd sets both with it.
    Ok([one(hard, Value::U64(high)), one(soft, Value::U64(low))].concat())
}

fn limit_value(unit: LimitUnit, text: &str) -> Result<u64, String> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    match unit {
        LimitUnit::Bytes => size(text, Base::Binary),
        LimitUnit::Count => number(text, 0, u64::MAX - 1),
        // Rounded up, as a limit below what was asked for kills.
        LimitUnit::Seconds => time::span(text).map(|span| span.div_ceil(1_000_000)),
        LimitUnit::Microseconds => time::microseconds(text),
        LimitUnit::Nice => match text.strip_prefix('+') {
            Some(nice) => number(nice, 0u64, 19).map(|nice| 20 - nice),
            None => match text.strip_prefix('-') {
                Some(nice) => number(nice, 0u64, 20).map(|nice| 20 + nice),
                None => number(text, 0, 40),
            },
        },
    }
}

/// Journal fields.
fn fields(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let field = |word: String| {
        let name = word
            .split_once('=')
            .map(|(name, _)| name)
            .unwrap_or_default();
        let valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty()
            || name.len() > 64
            || !name.bytes().all(valid)
            || !name.starts_with(|c: char| c.is_ascii_uppercase())
        {
            return Err(format!(
                "not a journal field NAME=VALUE with an upper-case name: {}",
                quoted(&word)
            ));
        }
        survives_reload("the field", &word, &[' ', '\t', '\n', '"', '\''])?;
        Ok(word.into_bytes())
    };
    words::split(text)?.into_iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::declaration::keys::{Section, find};

    fn read_one(
        section: Section,
        key: &str,
        text: &str,
    ) -> Result<Vec<(&'static str, Value)>, String> {
        let row = find(section, key).unwrap();
        let Meaning::Property(syntax) = row.meaning else {
            return Err("no property".into());
        };
        let properties = property(syntax, text, "skep@web.service")?;
        Ok(properties
            .into_iter()
            .map(|property| (property.name, property.value))
            .collect())
    }

    #[test]
    fn service() {
        let cases = [
            ("MemoryMax", "2G", vec![("MemoryMax", Value::U64(2 << 30))]),
            (
                "MemoryMax",
                "50%",
                vec![("MemoryMaxScale", Value::U32(2_147_483_648))],
            ),
            ("MemoryLow", "0", vec![("MemoryLow", Value::U64(0))]),
            (
                "TasksMax",
                "infinity",
                vec![("TasksMax", Value::U64(u64::MAX))],
            ),
            (
                "CPUQuota",
                "150%",
                vec![("CPUQuotaPerSecUSec", Value::U64(1_500_000))],
            ),
            ("CPUWeight", "idle", vec![("CPUWeight", Value::U64(0))]),
            (
                "TimeoutStopSec",
                "0",
                vec![("TimeoutStopUSec", Value::U64(u64::MAX))],
            ),
            ("RestartSec", "0", vec![("RestartUSec", Value::U64(0))]),
            (
                "RestartSec",
                "1.5",
                vec![("RestartUSec", Value::U64(1_500_000))],
            ),
            (
                "LimitNOFILE",
                "1024:infinity",
                vec![
                    ("LimitNOFILE", Value::U64(u64::MAX)),
                    ("LimitNOFILESoft", Value::U64(1024)),
                ],
            ),
            (
                "LimitNICE",
                "-5",
                vec![
                    ("LimitNICE", Value::U64(25)),
                    ("LimitNICESoft", Value::U64(25)),
                ],
            ),
            (
                "LogLevelMax",
                "warning",
                vec![("LogLevelMax", Value::I32(4))],
            ),
            ("LogLevelMax", "7", vec![("LogLevelMax", Value::I32(7))]),
            (
                "SuccessExitStatus",
                "1 SIGKILL 200",
                vec![("SuccessExitStatus", Value::Status(vec![1, 200], vec![9]))],
            ),
            (
                "LogExtraFields",
                "A_B=1 'C=x'",
                vec![(
                    "LogExtraFields",
                    Value::ByteLists(vec![b"A_B=1".to_vec(), b"C=x".to_vec()]),
                )],
            ),
        ];
        for (key, text, expected) in cases {
            assert_eq!(
                read_one(Section::Service, key, text),
                Ok(expected),
                "{key}={text}"
            );
        }
        for (key, text) in [
            ("MemoryMax", "0"),
            ("MemoryMax", "0%"),
            ("MemoryMax", "101%"),
            ("TasksMax", "0"),
            ("TasksMax", "10%"),
            ("CPUQuota", "50"),
            ("CPUQuota", "0%"),
            ("CPUQuota", "12.5%"),
            ("LogExtraFields", "'A=b c'"),
            ("CPUWeight", "10001"),
            ("IOWeight", "idle"),
            ("LimitNOFILE", "2:1"),
            ("LimitNICE", "+20"),
            ("OOMScoreAdjust", "1001"),
            ("SuccessExitStatus", "256"),
            ("SuccessExitStatus", "FOO"),
            ("LogExtraFields", "a=1"),
            ("ManagedOOMMemoryPressureLimit", "60"),
        ] {
            assert!(
                read_one(Section::Service, key, text).is_err(),
                "{key}={text}"
            );
        }
    }

    #[test]
    fn unit() {
        let list = |all: &[&str]| Value::List(all.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(
            read_one(Section::Unit, "After", "a.service db.container"),
            Ok(vec![("After", list(&["a.service", "skep@db.service"]))])
        );
        assert_eq!(
            read_one(Section::Unit, "RequiresMountsFor", "/a '/b'"),
            Ok(vec![("RequiresMountsFor", list(&["/a", "/b"]))])
        );
        assert!(
            read_one(Section::Unit, "After", "web.container")
                .unwrap_err()
                .contains("itself")
        );
        assert!(read_one(Section::Unit, "Documentation", "example.org").is_err());
        assert!(
            read_one(
                Section::Unit,
                "Documentation",
                "man:skep(1) https://example.org"
            )
            .is_ok()
        );
        assert!(read_one(Section::Unit, "StartLimitBurst", "-1").is_err());
    }
}
