//! Why a container ended last time: what its supervisor remembers, and what systemd saw of the supervisor.

use serde::Serialize;
use skep_spec::{End, Ended, Ends};

use crate::ends::{describe, signal_name};
use crate::manager::UnitState;

/// `CLD_KILLED` of sigaction(2); `CLD_DUMPED` is the next one.
const KILLED: i32 = 2;

/// The last end of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LastEnd {
    /// Seconds since the epoch, when it is known.
    pub(crate) at: Option<u64>,
    /// Start of the boot that ended, likewise.
    pub(crate) since: Option<u64>,
    /// For programs, as the supervisor calls it; absent when only systemd knows.
    pub(crate) end: Option<End>,
    /// `Result` of the unit, when it is not `success`.
    pub(crate) result: Option<String>,
    /// For people.
    pub(crate) reason: String,
}

/// What is known. `running`: the unit runs, so its properties say nothing about an end.
pub(super) fn last_end(
    ends: Option<&Ends>,
    unit: Option<&UnitState>,
    running: bool,
) -> Option<LastEnd> {
    let ended = ends.and_then(|ends| ends.last.as_ref());
    let remembered = ended.map(|ended| LastEnd {
        at: ended.at,
        since: Some(ended.since),
        end: Some(ended.end.clone()),
        result: None,
        reason: describe(ended),
    });
    let Some(unit) = unit.filter(|unit| !running && !unit.result.is_empty()) else {
        return remembered;
    };
    let result = Some(unit.result.clone()).filter(|result| result != "success");
    let at = Some(unit.exited / 1_000_000).filter(|at| *at != 0);
    // Started, and not a word about its end.
    let lost = ends.and_then(|ends| ends.running);
    match (lost, said_by_systemd(unit, ended)) {
        (Some(since), reason) => Some(LastEnd {
            at,
            since: Some(since),
            end: Some(End::Lost),
            result,
            reason: reason.unwrap_or_else(|| killed(unit)),
        }),
        (None, Some(reason)) => Some(LastEnd {
            at: at.or(remembered.as_ref().and_then(|last| last.at)),
            since: ended.map(|ended| ended.since),
            end: ended.map(|ended| ended.end.clone()),
            result,
            reason,
        }),
        (None, None) => remembered.map(|last| LastEnd { result, ..last }),
    }
}

/// What the supervisor cannot know.
fn said_by_systemd(unit: &UnitState, ended: Option<&Ended>) -> Option<String> {
    let ready = ended.is_some_and(|ended| ended.ready);
    let text = match unit.result.as_str() {
        "timeout" if ready => "it did not stop in time",
        "timeout" => "it took too long to start or stop",
        "oom-kill" => "it ran out of memory",
        "watchdog" => "its watchdog bit",
        "start-limit-hit" => "it was started too often",
        "resources" => "systemd could not start it",
        _ => return None,
    };
    Some(text.to_owned())
}

fn killed(unit: &UnitState) -> String {
    match unit.code {
        KILLED | 3 => format!("its supervisor was killed by {}", signal_name(unit.exit)),
        _ => "its supervisor was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::VERSION;

    use super::*;

    fn ends(running: Option<u64>, end: Option<End>) -> Ends {
        let last = end.map(|end| Ended {
            since: 10,
            at: Some(20),
            ready: true,
            end,
        });
        Ends {
            version: VERSION,
            name: "web".into(),
            running,
            last,
        }
    }

    fn unit(result: &str) -> UnitState {
        UnitState {
            result: result.into(),
            code: KILLED,
            exit: 9,
            exited: 30_000_000,
            ..UnitState::default()
        }
    }

    #[test]
    fn who_knows_best_is_believed() {
        let reason = |ends: &Ends, result: &str, running| {
            let last = last_end(Some(ends), Some(&unit(result)), running)?;
            Some((last.at, last.reason))
        };
        let off = ends(None, Some(End::PoweredOff));
        let say = |at, text: &str| Some((Some(at), text.to_owned()));
        assert_eq!(
            reason(&off, "success", false),
            say(20, "it powered itself off")
        );
        assert_eq!(
            reason(&off, "timeout", false),
            say(30, "it did not stop in time")
        );
        // A new boot says nothing about the last end.
        assert_eq!(
            reason(&off, "timeout", true),
            say(20, "it powered itself off")
        );
        let lost = ends(Some(25), Some(End::PoweredOff));
        let killed = "its supervisor was killed by SIGKILL";
        assert_eq!(reason(&lost, "signal", false), say(30, killed));
        assert_eq!(
            reason(&lost, "success", true),
            say(20, "it powered itself off")
        );
        assert_eq!(reason(&ends(Some(25), None), "success", true), None);
        assert_eq!(last_end(None, None, false), None);
        assert_eq!(last_end(None, Some(&unit("success")), false), None);
    }
}
