//! The life of a container as a pure state machine: `(state, event, time) -> reactions`.
//!
//! A stop is asked for once and never lost: before the init can hear its shutdown signal the machine looks again and
//! again; an init that never will is killed. After a stop was asked for, any end of the init is a stop. A second request
//! kills at once, which is what machinectl and systemd-nspawn users know.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::supervise::describe::{ASKED, LEAVING};

/// How long after a stop request an init of a kind that will hear may take to install its handlers.
const HEARING_LIMIT: Duration = Duration::from_secs(4);

/// How long after its start an unknown init may take to install a handler, if it ever does.
const SETTLE: Duration = Duration::from_secs(1);

/// After which time the shutdown signal is sent once more, to an init that takes it as often as it comes: one that is
/// just executing itself anew has lost the first. Doubled each time.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two looks whether the init hears.
const LOOK: Duration = Duration::from_millis(10);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container is ready.
    Ready,
    /// The init describes itself.
    Status(String),
    /// The init shuts down by itself.
    Leaving,
    /// SIGTERM or SIGINT to the supervisor.
    StopRequested,
    /// Answer to [`Reaction::Probe`].
    Hears(bool),
    /// The init has ended.
    Ended(End),
}

/// How the init ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Killed(Signal),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Tell systemd that the container is ready.
    Ready,
    /// Tell systemd that it runs.
    Running,
    /// Tell systemd a status text.
    Status(String),
    /// Tell systemd that the container stops.
    Stopping,
    /// Find out whether the init would hear the shutdown signal now.
    Probe,
    /// The same after a while.
    ProbeAfter(Duration),
    /// Send the shutdown signal.
    Shutdown,
    /// Send SIGKILL.
    Kill,
    /// Nothing is left to supervise.
    Finish(Outcome),
}

/// Why the container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// It powered itself off, or its only program ended well.
    PoweredOff,
    /// It wants to boot again.
    Reboot,
    /// Its init exited with this status.
    Failed(i32),
    /// Its init was killed by this signal.
    Crashed(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Booting,
    Running,
    /// Running, and shutting down by itself.
    Leaving,
    Stopping {
        asked: Duration,
        /// Once the signal was sent: the pause before it is sent again.
        signalled: Option<Duration>,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    announces: bool,
    will_hear: bool,
    repeats: bool,
}

impl Machine {
    /// A container that has just been started. `announces`: its init says when it is ready. `will_hear`: its init is of a
    /// kind that installs a handler for the shutdown signal. `repeats`: to which that signal may be sent again.
    pub fn new(announces: bool, will_hear: bool, repeats: bool) -> Machine {
        Machine {
            phase: Phase::Booting,
            announces,
            will_hear,
            repeats,
        }
    }

    /// Whether the container is ready and nothing of it ends.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The reactions to `event`, which happened `now` after the start.
    pub fn next(&mut self, event: Event, now: Duration) -> Vec<Reaction> {
        match (event, self.phase) {
            (Event::Ready, Phase::Booting) => {
                self.phase = Phase::Running;
                vec![Reaction::Ready]
            }
            (Event::Status(text), Phase::Booting) if self.announces => {
                vec![Reaction::Status(format!("Booting: {text}"))]
            }
            (Event::Status(text), Phase::Leaving) => {
                vec![Reaction::Status(format!("{LEAVING}: {text}"))]
            }
            (Event::Status(text), Phase::Stopping { .. }) => {
                vec![Reaction::Status(format!("{ASKED}: {text}"))]
            }
            (Event::Leaving, Phase::Running) => {
                self.phase = Phase::Leaving;
                vec![Reaction::Status(LEAVING.to_owned())]
            }
            // It only executed itself anew.
            (Event::Ready, Phase::Leaving) => {
                self.phase = Phase::Running;
                vec![Reaction::Running]
            }
            (Event::StopRequested, Phase::Booting | Phase::Running | Phase::Leaving) => {
                self.phase = Phase::Stopping {
                    asked: now,
                    signalled: None,
                };
                vec![Reaction::Stopping, Reaction::Probe]
            }
            (Event::StopRequested, Phase::Stopping { .. }) => vec![Reaction::Kill],
            (
                Event::Hears(hears),
                Phase::Stopping {
                    asked,
                    signalled: None,
                },
            ) => self.heard(hears, asked, now),
            (
                Event::Hears(hears),
                Phase::Stopping {
                    asked,
                    signalled: Some(pause),
                },
            ) => self.again(hears, asked, pause),
            (Event::Ended(end), phase) => vec![Reaction::Finish(outcome(end, phase))],
            (Event::Ready | Event::Leaving | Event::Status(_) | Event::Hears(_), _) => Vec::new(),
        }
    }

    fn heard(&mut self, hears: bool, asked: Duration, now: Duration) -> Vec<Reaction> {
        let patient = if self.will_hear {
            now.saturating_sub(asked) < HEARING_LIMIT
        } else {
            now < SETTLE
        };
        if hears || !patient {
            self.phase = Phase::Stopping {
                asked,
                signalled: Some(AGAIN),
            };
        }
        match (hears, patient) {
            (true, _) if self.repeats => vec![Reaction::Shutdown, Reaction::ProbeAfter(AGAIN)],
            (true, _) => vec![Reaction::Shutdown],
            (false, true) => vec![Reaction::ProbeAfter(LOOK)],
            (false, false) => vec![Reaction::Kill],
        }
    }
}

impl Machine {
    /// An init that hears the signal at last takes it now; one that does not, such as the final stage of a shutdown, is
    /// looked at again.
    fn again(&mut self, hears: bool, asked: Duration, pause: Duration) -> Vec<Reaction> {
        if !self.repeats {
            return Vec::new();
        }
        let pause = if hears { pause * 2 } else { pause };
        self.phase = Phase::Stopping {
            asked,
            signalled: Some(pause),
        };
        let mut reactions = vec![Reaction::ProbeAfter(pause)];
        if hears {
            reactions.insert(0, Reaction::Shutdown);
        }
        reactions
    }
}

/// reboot(2): in a PID namespace the kernel ends the init with SIGHUP for a restart, with SIGINT for halt and power-off.
fn outcome(end: End, phase: Phase) -> Outcome {
    match (end, phase) {
        (_, Phase::Stopping { .. }) => Outcome::Stopped,
        (End::Killed(Signal::SIGHUP), _) => Outcome::Reboot,
        (End::Killed(Signal::SIGINT) | End::Exited(0), _) => Outcome::PoweredOff,
        (End::Exited(status), _) => Outcome::Failed(status),
        (End::Killed(signal), _) => Outcome::Crashed(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(will_hear: bool, events: &[(u64, Event)]) -> Vec<Reaction> {
        let mut machine = Machine::new(true, will_hear, false);
        let at = Duration::from_millis;
        events
            .iter()
            .flat_map(|(ms, event)| machine.next(event.clone(), at(*ms)))
            .collect()
    }

    #[test]
    fn a_stop_waits_until_the_init_hears() {
        let stop = Event::StopRequested;
        let got = run(
            true,
            &[
                (5, stop),
                (5, Event::Hears(false)),
                (15, Event::Hears(true)),
                (20, Event::Hears(true)),
            ],
        );
        assert_eq!(
            got,
            [
                Reaction::Stopping,
                Reaction::Probe,
                Reaction::ProbeAfter(LOOK),
                Reaction::Shutdown
            ]
        );
    }

    #[test]
    fn an_init_that_never_hears_is_killed() {
        let stop = Event::StopRequested;
        assert_eq!(
            run(true, &[(0, stop.clone()), (4001, Event::Hears(false))])[2..],
            [Reaction::Kill]
        );
        assert_eq!(
            run(false, &[(5000, stop.clone()), (5000, Event::Hears(false))])[2..],
            [Reaction::Kill]
        );
        assert_eq!(
            run(false, &[(10, stop), (10, Event::Hears(false))])[2..],
            [Reaction::ProbeAfter(LOOK)]
        );
    }

    #[test]
    fn a_second_request_kills() {
        let stop = Event::StopRequested;
        assert_eq!(
            run(true, &[(0, stop.clone()), (1, stop)])[2..],
            [Reaction::Kill]
        );
    }

    #[test]
    fn a_lost_signal_is_sent_again() {
        let mut machine = Machine::new(true, true, true);
        let mut next = |event, s| machine.next(event, Duration::from_secs(s));
        let sent = |s| {
            vec![
                Reaction::Shutdown,
                Reaction::ProbeAfter(Duration::from_secs(s)),
            ]
        };
        next(Event::StopRequested, 10);
        assert_eq!(next(Event::Hears(true), 10), sent(1));
        assert_eq!(next(Event::Hears(true), 11), sent(2));
        assert_eq!(next(Event::Hears(false), 13), sent(2)[1..]);
        assert_eq!(next(Event::Hears(true), 15), sent(4));
    }

    #[test]
    fn ends() {
        let ended = |end| (9, Event::Ended(end));
        let rows = [
            (vec![ended(End::Killed(Signal::SIGHUP))], Outcome::Reboot),
            (
                vec![ended(End::Killed(Signal::SIGINT))],
                Outcome::PoweredOff,
            ),
            (vec![ended(End::Exited(0))], Outcome::PoweredOff),
            (vec![ended(End::Exited(3))], Outcome::Failed(3)),
            (
                vec![ended(End::Killed(Signal::SIGSEGV))],
                Outcome::Crashed(Signal::SIGSEGV),
            ),
            (
                vec![
                    (0, Event::StopRequested),
                    ended(End::Killed(Signal::SIGHUP)),
                ],
                Outcome::Stopped,
            ),
            (
                vec![(0, Event::StopRequested), ended(End::Exited(1))],
                Outcome::Stopped,
            ),
        ];
        for (events, want) in rows {
            assert_eq!(
                run(true, &events).last(),
                Some(&Reaction::Finish(want)),
                "{events:?}"
            );
        }
    }

    #[test]
    fn the_guests_words_count_while_something_changes() {
        let status = |ms| (ms, Event::Status("x".into()));
        let shown = |text: &str| Reaction::Status(text.to_owned());
        let got = run(
            true,
            &[
                status(1),
                (2, Event::Ready),
                status(3),
                (4, Event::Leaving),
                status(5),
                (6, Event::Ready),
                status(7),
                (8, Event::StopRequested),
                (9, Event::Leaving),
                status(10),
            ],
        );
        let want = [
            shown("Booting: x"),
            Reaction::Ready,
            shown("Shutting down (from inside)"),
            shown("Shutting down (from inside): x"),
            Reaction::Running,
            Reaction::Stopping,
            Reaction::Probe,
            shown("Shutting down (asked): x"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn ready_counts_once_and_not_while_stopping() {
        assert_eq!(
            run(true, &[(1, Event::Ready), (2, Event::Ready)]),
            [Reaction::Ready]
        );
        assert!(
            !run(true, &[(1, Event::StopRequested), (2, Event::Ready)]).contains(&Reaction::Ready)
        );
    }
}
