//! What a signal to the launcher means for its command, and what the command's end means for the launcher.
//!
//! The first process of a PID namespace is immune to the default action of signals; a command is not meant to be. So the
//! default action is taken in its name: it is killed, and its status says by which signal it would have been.

use nix::libc;

use crate::supervise::hearing::Hearing;
use crate::sys::pidfd::End;

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Nothing,
    /// Send it to the command.
    Pass,
    /// Kill the command.
    Kill,
    /// Ask anew in a moment.
    Later,
}

/// What was asked of the command so far.
#[derive(Debug, Default)]
pub(super) struct Life {
    asked: bool,
    killed_for: Option<i32>,
}

impl Life {
    /// The answer to `signal`; `heard` looks what the command would make of it.
    pub(super) fn answer(&mut self, signal: i32, heard: impl FnOnce() -> Hearing) -> Answer {
        if signal == libc::SIGCHLD || signal == libc::SIGWINCH {
            return Answer::Nothing;
        }
        let insists = [libc::SIGTERM, libc::SIGINT].contains(&signal);
        if insists && self.asked {
            return Answer::Kill;
        }
        let answer = match heard() {
            Hearing::Unsettled => return Answer::Later,
            Hearing::Hears => Answer::Pass,
            Hearing::Ignores => Answer::Nothing,
            Hearing::Default => {
                self.killed_for = Some(signal);
                Answer::Kill
            }
        };
        self.asked |= insists;
        answer
    }

    /// The exit status after the command's end.
    pub(super) fn status(&self, end: End) -> u8 {
        match (end, self.killed_for) {
            (End::Killed(libc::SIGKILL), Some(signal)) => End::Killed(signal).status(),
            (end, _) => end.status(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Hearing::{Default as Silent, Hears, Ignores, Unsettled};

    const KILLED: End = End::Killed(libc::SIGKILL);

    #[test]
    fn signals_and_statuses() {
        for (signals, end, answers, status) in [
            (&[(15, Hears)][..], End::Exited(3), &[Answer::Pass][..], 3),
            (&[(15, Silent)], KILLED, &[Answer::Kill], 143),
            (&[(1, Silent)], KILLED, &[Answer::Kill], 129),
            (&[(1, Ignores)], End::Exited(0), &[Answer::Nothing], 0),
            (
                &[(15, Hears), (2, Hears)],
                KILLED,
                &[Answer::Pass, Answer::Kill],
                137,
            ),
            (
                &[(2, Ignores), (2, Ignores)],
                KILLED,
                &[Answer::Nothing, Answer::Kill],
                137,
            ),
            (
                &[(10, Hears), (10, Hears), (15, Hears)],
                End::Killed(15),
                &[Answer::Pass; 3],
                143,
            ),
            (
                &[(15, Unsettled), (15, Hears)],
                KILLED,
                &[Answer::Later, Answer::Pass],
                137,
            ),
            (
                &[(17, Silent), (28, Silent)],
                End::Exited(255),
                &[Answer::Nothing; 2],
                255,
            ),
        ] {
            let mut life = Life::default();
            let got: Vec<_> = signals
                .iter()
                .map(|(signal, hearing)| life.answer(*signal, || *hearing))
                .collect();
            assert_eq!(got, answers, "{signals:?}");
            assert_eq!(life.status(end), status, "{signals:?}");
        }
    }
}
