//! Following a run to its end.
//!
//! systemd knows how it ended; this only has to ask at the right time, pass signals on meanwhile, and find systemd again
//! when the bus or systemd itself restarts.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use nix::libc;

use crate::manager::{self, BusError, Changes, RunState, Systemd, Verb, Whom};

use super::signals::Signals;

/// How often is asked without a reason: a change may have been missed.
const TICK: Duration = Duration::from_secs(2);

/// How long a restart of the bus or of systemd may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);

/// `CLD_EXITED` of waitid(2); what else ends a process is a signal.
const EXITED: i32 = 1;

/// Exit statuses of systemd's own, for a process that it could not execute: systemd.exec(5).
const OF_SYSTEMD: std::ops::RangeInclusive<i32> = 200..=245;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this status, 128 and more for signals.
    Status(u8),
    /// It never ran.
    NotStarted(String),
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The end.
    End,
    /// The command's start, or the end.
    Start,
}

/// A run on its way.
pub(super) struct Follower<'a> {
    pub(super) systemd: Systemd,
    pub(super) changes: Changes,
    pub(super) unit: &'a str,
    pub(super) signals: Signals,
    /// The last signal that asked for the end.
    pub(super) asked: Option<i32>,
    /// How many of them came.
    pub(super) times: u32,
}

/// What happened.
enum Event {
    Changed,
    Signal(i32),
    Lost,
}

impl Follower<'_> {
    /// Waits; `None` when the run was started and goes on.
    pub(super) async fn follow(&mut self, until: Until) -> Result<Option<End>, BusError> {
        loop {
            match self.systemd.run_state(self.unit).await {
                Ok(state) if state.is_over() => return Ok(Some(self.end(&state))),
                Ok(state) if until == Until::Start && state.was_active => return Ok(None),
                Ok(_) => {}
                Err(BusError::NoSuchUnit(_)) => return Ok(Some(self.gone())),
                Err(error) => self.reach_again(error).await?,
            }
            match self.next().await {
                Event::Changed => {}
                Event::Signal(signal) => self.pass_on(signal).await,
                Event::Lost => {
                    let error = BusError::Lost("it was closed".to_owned());
                    self.reach_again(error).await?;
                }
            }
        }
    }

    async fn next(&mut self) -> Event {
        let mut tick = pin!(manager::sleep(TICK));
        poll_fn(|context| {
            if let Poll::Ready(Ok(signal)) = self.signals.poll_next(context) {
                return Poll::Ready(Event::Signal(signal));
            }
            match self.changes.poll_next(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Event::Changed),
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Lost),
                Poll::Pending => {}
            }
            tick.as_mut().poll(context).map(|()| Event::Changed)
        })
        .await
    }

    /// The launcher gets the signal, passes the first one that asks for the end to the command and kills it at the
    /// second. Should it not even hear that, systemd kills both.
    async fn pass_on(&mut self, signal: i32) {
        if matches!(signal, libc::SIGINT | libc::SIGTERM) {
            self.asked = Some(signal);
            self.times += 1;
        }
        let sent = match self.times {
            0..=2 => self.systemd.kill(self.unit, Whom::Main, signal).await,
            _ => self.systemd.kill(self.unit, Whom::All, libc::SIGKILL).await,
        };
        // It does not run yet: then it shall not.
        if sent.is_err() && signal != libc::SIGWINCH {
            self.asked = Some(signal);
            // Whatever is wrong with systemd shows when the state is asked for.
            let _ = self.systemd.queue(Verb::Stop, self.unit).await;
        }
    }

    /// Connects anew until it works.
    async fn reach_again(&mut self, error: BusError) -> Result<(), BusError> {
        let start = Instant::now();
        let mut last = error;
        while start.elapsed() < PATIENCE {
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            manager::sleep(PAUSE).await;
        }
        Err(last)
    }

    async fn connect(&mut self) -> Result<(), BusError> {
        let systemd = Systemd::connect().await?;
        let changes = systemd.changes(self.unit).await?;
        match systemd.refer(self.unit).await {
            // The state, asked for next, says the same.
            Ok(()) | Err(BusError::NoSuchUnit(_)) => {}
            Err(error) => return Err(error),
        }
        (self.systemd, self.changes) = (systemd, changes);
        Ok(())
    }

    fn end(&self, state: &RunState) -> End {
        // systemd 252 may see the end before it sees that the launcher was executed: having been active proves that it
        // was, but not the other way round.
        let is_own = state.was_active || !OF_SYSTEMD.contains(&state.status);
        match (state.code, self.asked) {
            (EXITED, _) if is_own => End::Status(u8::try_from(state.status).unwrap_or(u8::MAX)),
            (0, None) if state.was_active => self.gone(),
            (0 | EXITED, Some(signal)) => End::Status(of_signal(signal)),
            (0 | EXITED, None) => End::NotStarted(format!(
                "{} could not be started: {}, status {}; \"journalctl -u {}\" may say more",
                self.unit, state.result, state.status, self.unit
            )),
            _ => End::Status(of_signal(state.status)),
        }
    }

    /// A unit is gone before its state was read when the bus was, and only if it did not fail: what failed stays.
    fn gone(&self) -> End {
        End::Status(self.asked.map_or(0, of_signal))
    }
}

fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal + 128).unwrap_or(u8::MAX)
}
