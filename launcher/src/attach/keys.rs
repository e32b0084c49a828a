//! The keys that detach: `^]` three times in a row within one second, as systemd-nspawn and machinectl have it.

use std::time::{Duration, Instant};

const KEY: u8 = 0x1d;
const WITHIN: Duration = Duration::from_secs(1);

/// When the last two were typed.
#[derive(Debug, Default)]
pub(super) struct Keys([Option<Instant>; 2]);

impl Keys {
    /// Where in `bytes`, typed `now`, the third of them stands. The first two have gone to the guest, as a key that waits for
    /// what follows would be a slow one.
    pub(super) fn detach(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if *byte != KEY {
                self.0 = [None; 2];
                continue;
            }
            if self.0[0].is_some_and(|first| now.duration_since(first) <= WITHIN) {
                return Some(at);
            }
            self.0 = [self.0[1], Some(now)];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_within_a_second() {
        let start = Instant::now();
        let none = None;
        for (typed, want) in [
            (&[(0, &b"\x1d\x1d\x1d"[..])][..], Some(2)),
            (&[(0, b"ls\x1d\x1d\x1dls")], Some(4)),
            (&[(0, b"\x1d"), (400, b"\x1d"), (900, b"\x1d")], Some(0)),
            (&[(0, b"\x1d"), (400, b"\x1d"), (1100, b"\x1d")], none),
            // The first one was too early; the other three count.
            (
                &[
                    (0, b"\x1d"),
                    (700, b"\x1d"),
                    (1100, b"\x1d"),
                    (1500, b"\x1d"),
                ],
                Some(0),
            ),
            (&[(0, b"\x1d\x1dx\x1d")], none),
            (&[(0, b"\x1d\x1d")], none),
            (&[(0, b"\x1b\x1b\x1b]]]")], none),
        ] {
            let mut keys = Keys::default();
            let got = typed
                .iter()
                .find_map(|(ms, bytes)| keys.detach(bytes, start + Duration::from_millis(*ms)));
            assert_eq!(got, want, "{typed:?}");
        }
    }
}
