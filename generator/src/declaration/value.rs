//! Value syntax: one function per kind of value, text to typed value or what is wrong with it.
//!
//! Owns what systemd's manuals call a time span, a size, a unit name and so on. Knows no key: messages never name one,
//! the caller adds it.

pub(crate) mod cpus;
pub(crate) mod credential;
pub(crate) mod device;
pub(crate) mod exec;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod path;
pub(crate) mod signal;
pub(crate) mod size;
pub(crate) mod syscalls;
pub(crate) mod time;
pub(crate) mod unit_name;

use std::fmt::Display;
use std::str::FromStr;

use super::suggest::nearest;
use crate::problem::quoted;

/// A boolean as systemd reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(format!("not a boolean: {}; write yes or no", quoted(text))),
    }
}

/// One of `words`.
pub(crate) fn choice(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    let hint = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {} is expected", words.join(", ")),
    };
    Err(format!("unknown value {}; {hint}", quoted(text)))
}

/// A whole number between two others, both allowed.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    min: T,
    max: T,
) -> Result<T, String> {
    let wrong = || format!("{} is not a number between {min} and {max}", quoted(text));
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse()
        .ok()
        .filter(|value| *value >= min && *value <= max)
        .ok_or_else(wrong)
}

/// A percentage in hundredths of a percent: `12.5%` is 1250. `None` when the text is no percentage at all.
pub(crate) fn percentage(text: &str) -> Option<Result<u64, String>> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return Some(Err(format!("not a percentage: {}", quoted(text))));
    }
    let hundredths = format!("{whole}{fraction:0<2}");
    Some(
        hundredths
            .parse()
            .map_err(|_| format!("not a percentage: {}", quoted(text))),
    )
}

/// A percentage up to 100 as share of `u32::MAX`, rounded as systemd does.
pub(crate) fn scale(text: &str) -> Option<Result<u32, String>> {
    Some(percentage(text)?.and_then(|hundredths| {
        let share = (hundredths.saturating_mul(u64::from(u32::MAX)) + 5000) / 10_000;
        u32::try_from(share).map_err(|_| format!("{text} is more than 100%"))
    }))
}

/// A weight; `idle` is 0 where it is allowed.
pub(crate) fn weight(text: &str, idle: bool) -> Result<u64, String> {
    match text {
        "idle" if idle => Ok(0),
        _ if idle => number(text, 1, 10_000).map_err(|message| format!("{message}, nor idle")),
        _ => number(text, 1, 10_000),
    }
}

/// Refuses characters in a text that goes into a property which systemd writes to the transient unit file without
/// escaping them: at the next daemon-reload it would read something else (*measured* on 252).
pub(crate) fn survives_reload(what: &str, text: &str, lost: &[char]) -> Result<(), String> {
    match text.chars().find(|c| lost.contains(c)) {
        Some(c) => Err(format!(
            "{what} contains {c:?}, which systemd does not keep over a reload: {}",
            quoted(text)
        )),
        None => Ok(()),
    }
}

/// Name of an environment variable.
pub(crate) fn variable_name(name: &str) -> Result<(), String> {
    let good = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !good || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("not a variable name: {}", quoted(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars() {
        assert_eq!(boolean("Yes"), Ok(true));
        assert_eq!(boolean("OFF"), Ok(false));
        assert!(boolean("maybe").is_err());
        assert_eq!(choice("b", &["a", "b"]), Ok("b"));
        assert!(
            choice("alwys", &["no", "always"]).is_err_and(|e| e.contains("did you mean always?"))
        );
        assert!(choice("zzzz", &["no", "always"]).is_err_and(|e| e.contains("one of no, always")));
        assert_eq!(number("-20", -20, 19), Ok(-20));
        for text in [
            "20",
            "",
            "-",
            "+1",
            "1.5",
            "0x10",
            "99999999999999999999",
            "\u{664}",
        ] {
            assert!(
                number(text, -20, 19).is_err_and(|e| e.contains("between -20 and 19")),
                "{text}"
            );
        }
        assert_eq!(weight("idle", true), Ok(0));
        assert_eq!(weight("10000", false), Ok(10_000));
        assert!(weight("idle", false).is_err());
        assert!(weight("0", true).is_err());
    }

    #[test]
    fn percentages() {
        assert_eq!(percentage("50"), None);
        for (text, expected) in [
            ("50%", 5000),
            ("12.5%", 1250),
            ("0.01%", 1),
            ("250%", 25_000),
            ("7 %", 700),
        ] {
            assert_eq!(percentage(text), Some(Ok(expected)), "{text}");
        }
        for text in ["%", "-1%", "1.234%", ".5%", "x%", "9999999999%"] {
            assert!(
                percentage(text).is_some_and(|result| result.is_err()),
                "{text}"
            );
        }
        assert_eq!(scale("100%"), Some(Ok(u32::MAX)));
        assert_eq!(scale("50%"), Some(Ok(2_147_483_648)));
        assert_eq!(scale("0%"), Some(Ok(0)));
        assert!(scale("101%").is_some_and(|result| result.is_err()));
    }

    #[test]
    fn names_of_variables() {
        for good in ["A", "_a", "LC_ALL", "a1"] {
            assert_eq!(variable_name(good), Ok(()), "{good}");
        }
        for bad in ["", "1a", "a-b", "a b", "\u{e4}"] {
            assert!(variable_name(bad).is_err(), "{bad}");
        }
    }
}
