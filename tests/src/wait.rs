//! Waiting with a limit, and measuring.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long systemd, journald or the kernel may take for what follows a reply: on a machine that other tests keep busy,
/// and only ever waited for when it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `check` every 50 ms until it yields a value; an error of `check` ends the wait.
pub fn wait_until<T>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if begin.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        sleep(Duration::from_millis(50));
    }
}

/// Result and duration of some work.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = work();
    (value, begin.elapsed())
}
