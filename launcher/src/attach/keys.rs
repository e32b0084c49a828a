//! The keys that detach: `^]` three times in a row within one second, as systemd-nspawn and machinectl have it.

use std::time::{Duration, Instant};

const KEY: u8 = 0x1d;
const WITHIN: Duration = Duration::from_secs(1);

/// When the last two were typed.
#[derive(Debug, Default)]
pub(super) struct Keys([Option<Instant>; 2]);

impl Keys {
    /// Whether `bytes`, typed `now`, complete the sequence.
    pub(super) fn detach(&mut self, bytes: &[u8], now: Instant) -> bool {
        for byte in bytes {
            if *byte != KEY {
                self.0 = [None; 2];
                continue;
            }
            if self.0[0].is_some_and(|first| now.duration_since(first) <= WITHIN) {
                return true;
            }
            self.0 = [self.0[1], Some(now)];
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_within_a_second() {
        let start = Instant::now();
        for (typed, want) in [
            (&[(0, &b"\x1d\x1d\x1d"[..])][..], true),
            (&[(0, b"ls\x1d\x1d\x1d")], true),
            (&[(0, b"\x1d"), (400, b"\x1d"), (900, b"\x1d")], true),
            (&[(0, b"\x1d"), (400, b"\x1d"), (1100, b"\x1d")], false),
            // The first one was too early; the other three count.
            (
                &[
                    (0, b"\x1d"),
                    (700, b"\x1d"),
                    (1100, b"\x1d"),
                    (1500, b"\x1d"),
                ],
                true,
            ),
            (&[(0, b"\x1d\x1dx\x1d")], false),
            (&[(0, b"\x1d\x1d")], false),
            (&[(0, b"\x1b\x1b\x1b]]]")], false),
        ] {
            let mut keys = Keys::default();
            let got = typed
                .iter()
                .any(|(ms, bytes)| keys.detach(bytes, start + Duration::from_millis(*ms)));
            assert_eq!(got, want, "{typed:?}");
        }
    }
}
