//! What a person watching sees: one line per step, with its time, on standard error.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::Result;

/// Runs a step between its two lines.
pub fn step<T>(what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!(":: {what}");
    let begin = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("   {verdict} after {}", seconds(begin.elapsed()));
    result
}

/// A line that says what happens now.
pub fn note(what: impl Display) {
    eprintln!(":: {what}");
}

/// A duration for people.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
