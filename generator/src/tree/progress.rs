//! A line on standard error that says how far a long copy is.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::problem::escaped;
use crate::report;

/// On a terminal the line changes as often as this.
const REDRAW: Duration = Duration::from_millis(200);
/// Elsewhere there is nothing to say about what is done sooner than this ...
const PATIENCE: Duration = Duration::from_secs(2);
/// ... and then a line as often as this.
const REPEAT: Duration = Duration::from_secs(10);

/// How far a task is.
#[derive(Debug)]
pub(super) struct Progress {
    task: String,
    terminal: bool,
    began: Instant,
    next: Duration,
    shown: bool,
}

impl Progress {
    pub(super) fn new(task: String) -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress {
            task,
            terminal,
            began: Instant::now(),
            next: if terminal { REDRAW } else { PATIENCE },
            shown: false,
        }
    }

    /// Shows how far it is, when it is time to.
    pub(super) fn tick(&mut self, amount: impl FnOnce() -> String) {
        let elapsed = self.began.elapsed();
        if elapsed < self.next {
            return;
        }
        let span = report::span(elapsed.as_secs());
        let line = escaped(&format!("{}: {}, {span}", self.task, amount())).to_string();
        if self.terminal {
            self.next = elapsed + REDRAW;
            self.shown = true;
            // Nobody is told when the terminal is gone.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        } else {
            self.next = elapsed + REPEAT;
            report::note(&line);
        }
    }

    /// Takes the line away, so that something else can be printed.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
