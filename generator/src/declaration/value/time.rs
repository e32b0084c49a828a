//! Time spans: systemd.time(7).

use crate::problem::quoted;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A time span in microseconds; a number without unit is seconds, `infinity` is `u64::MAX`.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    parse(text, SECOND)
}

/// A time span whose numbers without unit are microseconds.
pub(crate) fn microseconds(text: &str) -> Result<u64, String> {
    parse(text, 1)
}

fn parse(text: &str, default: u64) -> Result<u64, String> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let wrong = || {
        format!(
            "not a time span: {}; write as 90, 5min 20s or infinity",
            quoted(text)
        )
    };
    let mut rest = text.trim_start();
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (whole, fraction, after) = decimal(rest).ok_or_else(wrong)?;
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let unit = if unit.is_empty() {
            default
        } else {
            unit_of(unit).ok_or_else(wrong)?
        };
        let part =
            scaled(whole, fraction, unit).ok_or_else(|| format!("{} is too long", quoted(text)))?;
        total = total
            .checked_add(part)
            .filter(|sum| *sum != u64::MAX)
            .ok_or_else(|| format!("{} is too long", quoted(text)))?;
        rest = next.trim_start();
    }
    Ok(total)
}

/// Splits a decimal number off: digits before and after the point, and the rest.
pub(super) fn decimal(text: &str) -> Option<(&str, &str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    if whole.is_empty() {
        return None;
    }
    match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, rest) = rest.split_at(digits(rest));
            (!fraction.is_empty()).then_some((whole, fraction, rest))
        }
        None => Some((whole, "", rest)),
    }
}

/// `whole.fraction` times `unit`, rounded down.
pub(super) fn scaled(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = whole.parse().ok()?;
    // More digits than this change nothing that can be expressed.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let mut part = 0;
    if !fraction.is_empty() {
        let power = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        part = u64::try_from(u128::from(unit) * fraction.parse::<u128>().ok()? / power).ok()?;
    }
    whole.checked_mul(unit)?.checked_add(part)
}

fn unit_of(name: &str) -> Option<u64> {
    Some(match name {
        "us" | "usec" | "\u{b5}s" | "\u{3bc}s" => 1,
        "ms" | "msec" => 1000,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "h" | "hr" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "M" | "month" | "months" => 2_629_800 * SECOND,
        "y" | "year" | "years" => 31_557_600 * SECOND,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            ("90", 90 * SECOND),
            ("0", 0),
            ("5min 20s", 320 * SECOND),
            ("5min20s", 320 * SECOND),
            ("1.5h", 90 * MINUTE),
            ("2 days", 2 * DAY),
            ("300ms", 300_000),
            ("1M", 2_629_800 * SECOND),
            ("0.000001", 1),
            ("infinity", u64::MAX),
            ("7\u{b5}s", 7),
        ];
        for (text, expected) in cases {
            assert_eq!(span(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            " ",
            "-1",
            "s",
            "5 parsecs",
            "1.s",
            ".5",
            "99999999999999999999",
            "600000y",
            "5;",
            "18446744073709551615us",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(microseconds("10"), Ok(10));
        assert_eq!(microseconds("10s"), Ok(10 * SECOND));
    }
}
