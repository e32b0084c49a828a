//! Sizes: numbers with K, M, G, T, P and E.

use super::time::{decimal, scaled};
use crate::problem::quoted;

/// What a suffix multiplies with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// 1024: memory.
    Binary,
    /// 1000: bandwidth.
    Decimal,
}

/// A size; `infinity` is `u64::MAX`.
pub(crate) fn size(text: &str, base: Base) -> Result<u64, String> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let wrong = || {
        let cured = text
            .strip_suffix("iB")
            .or_else(|| text.strip_suffix('B'))
            .map(|cut| format!("; write {cut}"));
        format!(
            "not a size: {}{}",
            quoted(text),
            cured.unwrap_or_else(|| "; write as 512M, 2G or infinity".into())
        )
    };
    let (whole, fraction, suffix) = decimal(text).ok_or_else(wrong)?;
    let step: u64 = match base {
        Base::Binary => 1024,
        Base::Decimal => 1000,
    };
    let power = match suffix.trim_start() {
        "" | "B" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return Err(wrong()),
    };
    if power == 0 && !fraction.is_empty() {
        return Err(wrong());
    }
    let value = scaled(whole, fraction, step.pow(power)).filter(|value| *value != u64::MAX);
    value.ok_or_else(|| format!("{} is too large", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("2K", 2048),
            ("1.5G", 3 << 29),
            ("2 M", 2 << 20),
            ("1E", 1 << 60),
            ("infinity", u64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text, Base::Binary), Ok(expected), "{text}");
        }
        assert_eq!(size("1.5M", Base::Decimal), Ok(1_500_000));
        for text in [
            "",
            "G",
            "-1",
            "1.5",
            "2g",
            "2X",
            "16E",
            "99999999999999999999",
            "1 2",
        ] {
            assert!(size(text, Base::Binary).is_err(), "{text}");
        }
        assert!(size("2GB", Base::Binary).is_err_and(|e| e.ends_with("; write 2G")));
        assert!(size("2GiB", Base::Binary).is_err_and(|e| e.ends_with("; write 2G")));
    }
}
