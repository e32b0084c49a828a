//! Signals by name or number.

use std::str::FromStr as _;

use nix::sys::signal::Signal;

use super::number;
use crate::problem::quoted;

/// First real-time signal as glibc and systemd count: the two below are glibc's own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Number of a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    let wrong = || {
        format!(
            "not a signal: {}; write as SIGTERM, TERM, 15 or SIGRTMIN+3",
            quoted(text)
        )
    };
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return number(text, 1, RTMAX).map_err(|message| format!("not a signal: {message}"));
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let real_time = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        None if rest.is_empty() => Ok(0),
        None => Err(wrong()),
        Some(offset) => number(offset, 0, RTMAX - RTMIN),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Ok(RTMIN + real_time(rest, '+')?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Ok(RTMAX - real_time(rest, '-')?);
    }
    Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        let cases = [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("15", 15),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMIN+30", 64),
            ("RTMAX-1", 63),
            ("64", 64),
        ];
        for (text, expected) in cases {
            assert_eq!(signal(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "SIG",
            "SIGFOO",
            "term",
            "0",
            "65",
            "-1",
            "RTMIN+31",
            "RTMIN-1",
            "RTMINX",
            "RTMIN+",
            "SIGSIGTERM",
        ] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
