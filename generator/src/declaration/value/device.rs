//! Device rules.

use std::path::Path;

use skep_spec::Device;

use super::path::absolute;
use super::size::{Base, size};
use super::{survives_reload, time, weight};
use crate::problem::quoted;

/// Not kept in the path of a device.
const LOST: [char; 4] = ['%', '\\', '"', '\''];

/// `DEVICE [rwm]`; the device is a node, or `char-NAME` or `block-NAME` for a driver of /proc/devices.
pub(crate) fn rule(text: &str) -> Result<(String, String), String> {
    let (device, access) = split(text);
    survives_reload("the device", device, &LOST)?;
    let access = if access.is_empty() { "rwm" } else { access };
    let repeated = access
        .chars()
        .enumerate()
        .any(|(at, c)| access[..at].contains(c));
    if repeated || !access.chars().all(|c| "rwm".contains(c)) {
        return Err(format!(
            "access is made of r, w and m, not {}",
            quoted(access)
        ));
    }
    let driver = device
        .strip_prefix("char-")
        .or_else(|| device.strip_prefix("block-"));
    if driver.is_some_and(|driver| !driver.is_empty()) {
        return Ok((device.to_owned(), access.to_owned()));
    }
    Ok((node(device)?, access.to_owned()))
}

/// Made for every container.
const OWN: [&str; 16] = [
    "/dev/console",
    "/dev/core",
    "/dev/fd",
    "/dev/full",
    "/dev/mqueue",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/stderr",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// `[-]NODE[:TARGET][:rwm]`: a node that the container gets.
pub(crate) fn passed(text: &str) -> Result<Device, String> {
    let (optional, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = rest.split(':');
    let source = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let (target, access) = match rest.as_slice() {
        [] => (source, ""),
        [target] if target.starts_with('/') => (*target, ""),
        [access] => (source, *access),
        [target, access] => (*target, *access),
        _ => return Err("more than NODE:TARGET:ACCESS".into()),
    };
    let access = if access.is_empty() { "rw" } else { access };
    let (source, access) = rule(&format!("{source} {access}"))?;
    if !source.starts_with('/') {
        return Err(format!(
            "not a device node: {}; use DeviceAllow= for drivers",
            quoted(&source)
        ));
    }
    let target = node(target)?;
    let covers = |own: &str| Path::new(&target).starts_with(own);
    if let Some(own) = OWN.into_iter().find(|own| covers(own)) {
        return Err(format!("target {target}: {own} is made by skep"));
    }
    Ok(Device {
        source: source.into(),
        target: target.into(),
        access,
        optional,
    })
}

/// `DEVICE RATE`: per second, base 1000.
pub(crate) fn rate(text: &str) -> Result<(String, u64), String> {
    with_value(text, |value| match size(value, Base::Decimal)? {
        0 => Err("the rate must be above 0".into()),
        rate => Ok(rate),
    })
}

/// `DEVICE WEIGHT`.
pub(crate) fn weighted(text: &str) -> Result<(String, u64), String> {
    with_value(text, |value| weight(value, false))
}

/// `DEVICE TIME`.
pub(crate) fn latency(text: &str) -> Result<(String, u64), String> {
    with_value(text, time::span)
}

fn with_value(
    text: &str,
    parse: impl Fn(&str) -> Result<u64, String>,
) -> Result<(String, u64), String> {
    let (path, value) = split(text);
    survives_reload("the device", path, &LOST)?;
    if value.is_empty() {
        return Err(format!(
            "a path and a value are expected, not {}",
            quoted(text)
        ));
    }
    let path = absolute("the device", path)?;
    Ok((path.to_string_lossy().into_owned(), parse(value)?))
}

/// A node below /dev. systemd's own names for "every device" are too much to give away by a typing mistake.
fn node(text: &str) -> Result<String, String> {
    let path = absolute("the device", text)?;
    if !path.starts_with("/dev") || path.as_os_str() == "/dev" {
        return Err(format!("not below /dev: {}", quoted(text)));
    }
    Ok(path.to_string_lossy().into_owned())
}

fn split(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (first, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let pair = |device: &str, access: &str| Ok((device.to_owned(), access.to_owned()));
        assert_eq!(rule("/dev/fuse"), pair("/dev/fuse", "rwm"));
        assert_eq!(rule("/dev/net/tun  rw"), pair("/dev/net/tun", "rw"));
        assert_eq!(rule("char-pts r"), pair("char-pts", "r"));
        for bad in [
            "",
            "fuse",
            "/dev",
            "/etc/passwd r",
            "/dev/fuse x",
            "/dev/fuse rr",
            "/dev/fuse r w",
            "char-",
            "/dev/../x",
            "/dev/a%b",
        ] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_for_a_container() {
        for (text, source, target, access, optional) in [
            ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rw", false),
            ("-/dev/net/tun:r", "/dev/net/tun", "/dev/net/tun", "r", true),
            ("/dev/kvm:/dev/x/kvm", "/dev/kvm", "/dev/x/kvm", "rw", false),
            ("/dev/kvm:/dev/k:rwm", "/dev/kvm", "/dev/k", "rwm", false),
        ] {
            let want = Device {
                source: source.into(),
                target: target.into(),
                access: access.into(),
                optional,
            };
            assert_eq!(passed(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "fuse",
            "char-tty",
            "/etc/fuse",
            "/dev/fuse:x",
            "/dev/fuse:/fuse",
            "/dev/fuse:/dev/a:r:b",
            "/dev/x:/dev/null",
            "/dev/x:/dev/pts/1",
            "/dev/tty",
        ] {
            assert!(passed(bad).is_err(), "{bad}");
        }
        assert!(passed("/dev/tty7").is_ok());
    }

    #[test]
    fn values() {
        assert_eq!(rate("/dev/sda 5M"), Ok(("/dev/sda".into(), 5_000_000)));
        assert_eq!(rate("/srv infinity"), Ok(("/srv".into(), u64::MAX)));
        assert_eq!(weighted("/dev/sda 200"), Ok(("/dev/sda".into(), 200)));
        assert_eq!(latency("/dev/sda 25ms"), Ok(("/dev/sda".into(), 25_000)));
        for bad in ["", "/dev/sda", "sda 5M", "/dev/sda 0", "/dev/sda 5Q"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
