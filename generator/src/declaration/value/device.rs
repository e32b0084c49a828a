//! Device rules.

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
