//! How much longer a guest may take to boot or to stop: `EXTEND_TIMEOUT_USEC=` of its init, sd_notify(3), within bounds.
//!
//! Pure: times in, what to tell the host's systemd out. A guest may be hostile, and a host that shuts down waits for it; so
//! each phase has an end that no message moves. A container that runs has no timeout that it could extend, except one that
//! was meant to end it.

use std::time::Duration;

use crate::supervise::Boot;
use crate::supervise::pace::PAUSE;

/// How long after its start a boot may ask for more time: an upgrade at boot takes long.
const BOOT_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How long after it was asked to stop a guest may ask for more time.
const STOP_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The present phase. All times are counted from the start of the container.
#[derive(Debug)]
pub struct Extension {
    /// Until when the phase may last, or nothing while there is no timeout.
    limit: Option<Duration>,
    /// Before this no message is passed on.
    next: Duration,
}

impl Extension {
    /// A container that boots. A boot after another one has no timeout: the host's systemd would let the unit run longer.
    pub fn booting(boot: Boot) -> Extension {
        Extension {
            limit: match boot {
                Boot::First => Some(BOOT_LIMIT),
                Boot::Again => None,
            },
            next: Duration::ZERO,
        }
    }

    /// It is ready.
    pub fn ready(&mut self) {
        self.limit = None;
    }

    /// It was asked to stop.
    pub fn stopping(&mut self, now: Duration) {
        self.limit = Some(now.saturating_add(STOP_LIMIT));
        self.next = now;
    }

    /// The guest wants `wanted` more from now on: how much it gets.
    pub fn extend(&mut self, wanted: Duration, now: Duration) -> Option<Duration> {
        let left = self.limit?.saturating_sub(now);
        if now < self.next || left.is_zero() {
            return None;
        }
        self.next = now + PAUSE;
        Some(wanted.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_an_end() {
        let seconds = Duration::from_secs;
        let mut extension = Extension::booting(Boot::First);
        assert_eq!(extension.extend(seconds(30), seconds(5)), Some(seconds(30)));
        assert_eq!(extension.extend(seconds(30), seconds(5)), None, "too soon");
        assert_eq!(
            extension.extend(Duration::MAX, seconds(3599)),
            Some(seconds(1))
        );
        assert_eq!(extension.extend(seconds(30), seconds(3600)), None);
        extension.ready();
        assert_eq!(extension.extend(seconds(30), seconds(3700)), None);
        extension.stopping(seconds(9000));
        assert_eq!(
            extension.extend(seconds(9999), seconds(9000)),
            Some(seconds(600))
        );
        assert_eq!(extension.extend(seconds(1), seconds(9600)), None);
    }

    #[test]
    fn a_boot_after_another_one_gets_none_until_it_stops() {
        let seconds = Duration::from_secs;
        let mut extension = Extension::booting(Boot::Again);
        assert_eq!(extension.extend(seconds(30), seconds(5)), None);
        extension.stopping(seconds(9));
        assert_eq!(extension.extend(seconds(30), seconds(9)), Some(seconds(30)));
    }
}
