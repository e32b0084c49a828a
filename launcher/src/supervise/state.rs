//! The life of a container as a pure state machine: `(state, event, time) -> reactions`.
//!
//! A stop is asked for once and never lost: before the init can hear its shutdown signal the machine looks again and
//! again; an init that never will is killed. One that did hear and no longer does is shutting down already: how long that
//! takes is a matter of the unit's time-out. After a stop was asked for, any end of the init is a stop. A second request
//! kills at once, which is what machinectl and systemd-nspawn users know. A reboot that is asked for from outside goes the
//! same way: any end of the init is one.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::supervise::describe::{ASKED, LEAVING, REBOOTING};
use crate::supervise::hearing::{DOUBT, Hearing, LOOK};

/// How long after a stop request an init of a kind that will hear may take to install its handlers.
const HEARING_LIMIT: Duration = Duration::from_secs(4);

/// How long after its start an unknown init may take to install a handler, if it ever does.
const SETTLE: Duration = Duration::from_secs(1);

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
    /// A reboot was asked for.
    RebootRequested,
    /// Answer to [`Reaction::Probe`].
    Heard(Hearing),
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
    /// Find out whether the init would hear what it is to be asked now.
    Probe(Goal),
    /// The same after a while.
    ProbeAfter(Duration, Goal),
    /// Ask it.
    Ask(Goal),
    /// Send SIGKILL.
    Kill,
    /// Nothing is left to supervise.
    Finish(Outcome),
}

/// What the init is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To shut down.
    Stop,
    /// To reboot.
    Reboot,
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
    Ending(Ending),
}

/// An end that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    goal: Goal,
    /// When it was asked for.
    asked: Duration,
    /// Whether the init was found not to hear since then: what it blocks, it blocks for a moment only.
    deaf: bool,
    /// Once the init was asked: the pause before it is asked again.
    told: Option<Duration>,
}

/// What the machine has to know of an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// It says when it is ready.
    pub announces: bool,
    /// It is of a kind that installs a handler for the shutdown signal.
    pub will_hear: bool,
    /// After which time it may be asked again: one that is just executing itself anew has lost the first signal. Doubled
    /// each time.
    pub again: Option<Duration>,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    manners: Manners,
    /// Whether the init heard at any time, or said that it shuts down.
    heard: bool,
}

impl Machine {
    /// A container that has just been started.
    pub fn new(manners: Manners) -> Machine {
        Machine {
            phase: Phase::Booting,
            manners,
            heard: false,
        }
    }

    /// Whether the container is ready and nothing of it ends.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The reactions to `event`, which happened `now` after the start.
    pub fn next(&mut self, event: Event, now: Duration) -> Vec<Reaction> {
        self.heard |= matches!(event, Event::Leaving | Event::Heard(Hearing::Hears));
        match (event, self.phase) {
            (Event::Ready, Phase::Booting) => {
                self.phase = Phase::Running;
                vec![Reaction::Ready, Reaction::Probe(Goal::Stop)]
            }
            (Event::Status(text), Phase::Booting) if self.manners.announces => {
                vec![Reaction::Status(format!("Booting: {text}"))]
            }
            (Event::Status(text), Phase::Leaving) => {
                vec![Reaction::Status(format!("{LEAVING}: {text}"))]
            }
            (Event::Status(text), Phase::Ending(ending)) => {
                let asked = match ending.goal {
                    Goal::Stop => ASKED,
                    Goal::Reboot => REBOOTING,
                };
                vec![Reaction::Status(format!("{asked}: {text}"))]
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
            (Event::StopRequested, Phase::Ending(ending)) if ending.goal == Goal::Stop => {
                vec![Reaction::Kill]
            }
            // A stop overtakes a reboot.
            (Event::StopRequested, _) => {
                let mut reactions = vec![Reaction::Stopping];
                reactions.push(self.begin(Goal::Stop, now));
                reactions
            }
            (Event::RebootRequested, Phase::Booting | Phase::Running | Phase::Leaving) => {
                let status = Reaction::Status(REBOOTING.to_owned());
                vec![status, self.begin(Goal::Reboot, now)]
            }
            (Event::Heard(heard), Phase::Ending(ending)) => match ending.told {
                None => self.first(heard, ending, now),
                Some(pause) => self.again(heard, ending, pause),
            },
            // Looked at before anything is asked of it, and less and less often.
            (Event::Heard(_), _) if !self.heard => {
                vec![Reaction::ProbeAfter(now.max(LOOK), Goal::Stop)]
            }
            (Event::Ended(end), phase) => vec![Reaction::Finish(outcome(end, phase))],
            (
                Event::Ready
                | Event::Leaving
                | Event::Status(_)
                | Event::Heard(_)
                | Event::RebootRequested,
                _,
            ) => Vec::new(),
        }
    }

    fn begin(&mut self, goal: Goal, now: Duration) -> Reaction {
        self.phase = Phase::Ending(Ending {
            goal,
            asked: now,
            deaf: false,
            told: None,
        });
        Reaction::Probe(goal)
    }

    /// What may be lost is only sent to an init that is asked again, or that blocks it all the time.
    fn first(&mut self, heard: Hearing, ending: Ending, now: Duration) -> Vec<Reaction> {
        let Ending { goal, asked, .. } = ending;
        let deaf = ending.deaf || matches!(heard, Hearing::Ignores | Hearing::Default);
        let looked = now.saturating_sub(asked);
        let patient = match (self.manners.will_hear, heard) {
            (true, _) => looked < HEARING_LIMIT,
            (false, Hearing::Unsettled) => looked < DOUBT,
            (false, _) => now < SETTLE,
        };
        let hears = match heard {
            Hearing::Hears => true,
            Hearing::Unsettled => self.manners.again.is_some() || (!patient && !deaf),
            Hearing::Ignores | Hearing::Default => false,
        };
        self.heard |= hears;
        let told = hears.then(|| self.manners.again.unwrap_or_default());
        self.phase = Phase::Ending(Ending {
            deaf,
            told,
            ..ending
        });
        match (hears, patient, self.manners.again) {
            (true, _, Some(pause)) => vec![Reaction::Ask(goal), Reaction::ProbeAfter(pause, goal)],
            (true, _, None) => vec![Reaction::Ask(goal)],
            (false, true, _) => vec![Reaction::ProbeAfter(LOOK, goal)],
            (false, false, _) if self.heard => vec![Reaction::ProbeAfter(DOUBT, goal)],
            (false, false, _) => vec![Reaction::Kill],
        }
    }

    /// An init that hears the signal at last takes it now; one that does not, such as the final stage of a shutdown, is
    /// looked at again.
    fn again(&mut self, heard: Hearing, ending: Ending, pause: Duration) -> Vec<Reaction> {
        if self.manners.again.is_none() {
            return Vec::new();
        }
        let hears = matches!(heard, Hearing::Hears | Hearing::Unsettled);
        let pause = if hears { pause * 2 } else { pause };
        self.phase = Phase::Ending(Ending {
            told: Some(pause),
            ..ending
        });
        let mut reactions = vec![Reaction::ProbeAfter(pause, ending.goal)];
        if hears {
            reactions.insert(0, Reaction::Ask(ending.goal));
        }
        reactions
    }
}

/// reboot(2): in a PID namespace the kernel ends the init with SIGHUP for a restart, with SIGINT for halt and power-off.
/// Whatever was asked for counts more than the way in which the init went about it.
fn outcome(end: End, phase: Phase) -> Outcome {
    match (end, phase) {
        (
            _,
            Phase::Ending(Ending {
                goal: Goal::Stop, ..
            }),
        ) => Outcome::Stopped,
        (
            _,
            Phase::Ending(Ending {
                goal: Goal::Reboot, ..
            }),
        ) => Outcome::Reboot,
        (End::Killed(Signal::SIGHUP), _) => Outcome::Reboot,
        (End::Killed(Signal::SIGINT) | End::Exited(0), _) => Outcome::PoweredOff,
        (End::Exited(status), _) => Outcome::Failed(status),
        (End::Killed(signal), _) => Outcome::Crashed(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARS: Event = Event::Heard(Hearing::Hears);
    const UNSETTLED: Event = Event::Heard(Hearing::Unsettled);
    const DEAF: Event = Event::Heard(Hearing::Default);

    fn manners(will_hear: bool, again: Option<Duration>) -> Manners {
        Manners {
            announces: true,
            will_hear,
            again,
        }
    }

    fn run(will_hear: bool, events: &[(u64, Event)]) -> Vec<Reaction> {
        let mut machine = Machine::new(manners(will_hear, None));
        let at = Duration::from_millis;
        events
            .iter()
            .flat_map(|(ms, event)| machine.next(event.clone(), at(*ms)))
            .collect()
    }

    #[test]
    fn a_stop_waits_until_the_init_hears() {
        let stop = Event::StopRequested;
        let got = run(true, &[(5, stop), (5, DEAF), (15, HEARS), (20, HEARS)]);
        assert_eq!(
            got,
            [
                Reaction::Stopping,
                Reaction::Probe(Goal::Stop),
                Reaction::ProbeAfter(LOOK, Goal::Stop),
                Reaction::Ask(Goal::Stop)
            ]
        );
    }

    #[test]
    fn an_init_that_never_hears_is_killed() {
        let stop = Event::StopRequested;
        assert_eq!(
            run(true, &[(0, stop.clone()), (4001, DEAF)])[2..],
            [Reaction::Kill]
        );
        assert_eq!(
            run(false, &[(5000, stop.clone()), (5000, DEAF)])[2..],
            [Reaction::Kill]
        );
        assert_eq!(
            run(false, &[(10, stop), (10, DEAF)])[2..],
            [Reaction::ProbeAfter(LOOK, Goal::Stop)]
        );
    }

    #[test]
    fn an_init_that_blocks_signals_for_a_moment_is_asked_once_it_hears() {
        let look = Reaction::ProbeAfter(LOOK, Goal::Stop);
        let ask = Reaction::Ask(Goal::Stop);
        let stop = (5, Event::StopRequested);
        let events = [stop.clone(), (5, UNSETTLED), (15, DEAF), (25, HEARS)];
        let got = run(true, &events);
        assert_eq!(got[2..], [look.clone(), look.clone(), ask.clone()]);
        // Blocked all along, and blocked for a moment once more.
        for (will_hear, limit) in [(false, 1005), (true, 4005)] {
            let events = [stop.clone(), (limit - 1, UNSETTLED), (limit, UNSETTLED)];
            assert_eq!(run(will_hear, &events)[2..], [look.clone(), ask.clone()]);
            let events = [stop.clone(), (15, DEAF), (limit, UNSETTLED)];
            assert_eq!(run(will_hear, &events)[2..], [look.clone(), Reaction::Kill]);
        }
        let late = (5000, Event::StopRequested);
        let events = [late, (5000, UNSETTLED), (5010, DEAF)];
        assert_eq!(run(false, &events)[2..], [look, Reaction::Kill]);
        let second = Duration::from_secs(1);
        let mut machine = Machine::new(manners(true, Some(second)));
        machine.next(stop.1, second);
        assert_eq!(
            machine.next(UNSETTLED, second)[0],
            Reaction::Ask(Goal::Stop),
            "one that is asked again"
        );
    }

    #[test]
    fn an_init_is_looked_at_until_it_hears() {
        let got = run(
            false,
            &[
                (0, Event::Ready),
                (0, DEAF),
                (10, UNSETTLED),
                (700, DEAF),
                (1400, HEARS),
                (2800, DEAF),
            ],
        );
        let after = |ms| Reaction::ProbeAfter(Duration::from_millis(ms), Goal::Stop);
        assert_eq!(got[2..], [after(10), after(10), after(700)]);
    }

    #[test]
    fn an_init_that_shuts_down_already_is_given_its_time() {
        let ready = (0, Event::Ready);
        let reboot = (9000, Event::RebootRequested);
        for before in [
            vec![ready.clone(), (1000, HEARS)],
            vec![ready.clone(), (9000, Event::Leaving)],
            vec![(9000, Event::Leaving)],
            vec![ready.clone(), reboot.clone(), (9000, HEARS)],
            // What was believed to be heard counts as well.
            vec![reboot, (9000, UNSETTLED), (13000, UNSETTLED)],
        ] {
            for will_hear in [true, false] {
                let mut events = before.clone();
                events.extend([(14000, Event::StopRequested), (18000, DEAF), (60000, DEAF)]);
                let got = run(will_hear, &events);
                let look = Reaction::ProbeAfter(DOUBT, Goal::Stop);
                assert_eq!(got[got.len() - 2..], [look.clone(), look], "{before:?}");
                events.push((61000, HEARS));
                assert_eq!(
                    run(will_hear, &events).last(),
                    Some(&Reaction::Ask(Goal::Stop))
                );
            }
        }
        let events = [
            ready,
            (1000, DEAF),
            (14000, Event::StopRequested),
            (18000, DEAF),
        ];
        assert_eq!(run(true, &events).last(), Some(&Reaction::Kill));
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
        let mut machine = Machine::new(manners(true, Some(Duration::from_secs(1))));
        let mut next = |event, s| machine.next(event, Duration::from_secs(s));
        let sent = |s| {
            vec![
                Reaction::Ask(Goal::Stop),
                Reaction::ProbeAfter(Duration::from_secs(s), Goal::Stop),
            ]
        };
        next(Event::StopRequested, 10);
        assert_eq!(next(HEARS, 10), sent(1));
        assert_eq!(next(HEARS, 11), sent(2));
        assert_eq!(next(DEAF, 13), sent(2)[1..]);
        assert_eq!(next(HEARS, 15), sent(4));
    }

    #[test]
    fn a_reboot_follows_the_rules_of_a_stop_and_gives_way_to_one() {
        let got = run(
            true,
            &[
                (5, Event::RebootRequested),
                (5, DEAF),
                (15, HEARS),
                (16, Event::RebootRequested),
                (17, Event::StopRequested),
                (17, HEARS),
                (18, Event::Ended(End::Killed(Signal::SIGHUP))),
            ],
        );
        assert_eq!(
            got,
            [
                Reaction::Status(REBOOTING.into()),
                Reaction::Probe(Goal::Reboot),
                Reaction::ProbeAfter(LOOK, Goal::Reboot),
                Reaction::Ask(Goal::Reboot),
                Reaction::Stopping,
                Reaction::Probe(Goal::Stop),
                Reaction::Ask(Goal::Stop),
                Reaction::Finish(Outcome::Stopped),
            ]
        );
        let reboot = (0, Event::RebootRequested);
        assert_eq!(
            run(true, &[reboot.clone(), (4001, DEAF)]).last(),
            Some(&Reaction::Kill)
        );
        let end = (9, Event::Ended(End::Exited(0)));
        assert_eq!(
            run(true, &[reboot, end]).last(),
            Some(&Reaction::Finish(Outcome::Reboot))
        );
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
            Reaction::Probe(Goal::Stop),
            shown("Shutting down (from inside)"),
            shown("Shutting down (from inside): x"),
            Reaction::Running,
            Reaction::Stopping,
            Reaction::Probe(Goal::Stop),
            shown("Shutting down (asked): x"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn ready_counts_once_and_not_while_stopping() {
        assert_eq!(
            run(true, &[(1, Event::Ready), (2, Event::Ready)]),
            [Reaction::Ready, Reaction::Probe(Goal::Stop)]
        );
        assert!(
            !run(true, &[(1, Event::StopRequested), (2, Event::Ready)]).contains(&Reaction::Ready)
        );
    }
}
