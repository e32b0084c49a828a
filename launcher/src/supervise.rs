//! Stays with a running container until it ends: one thread, one epoll over signals, leader, console and notify socket.
//!
//! `state` decides; this module turns descriptors into its events and its reactions into calls.

pub mod console;
pub mod hearing;
pub mod names;
pub mod notify;
pub mod publish;
pub mod signals;
pub mod state;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::exec::parent::Running;
use crate::load::console_path;
use crate::plan::LaunchPlan;
use crate::register::{self, Registration, machine_name};
use crate::step::{At, StepError};
use crate::supervise::console::Console;
use crate::supervise::console::share::LISTENER;
use crate::supervise::notify::Told;
use crate::supervise::publish::Publisher;
use crate::supervise::signals::Signals;
use crate::supervise::state::{End, Event, Machine, Outcome, Reaction};
use crate::sys::heap;
use crate::sys::pidfd::send_signal;

const SIGNALS: u64 = 0;
const LEADER: u64 = 1;
const CONSOLE: u64 = 2;
const NOTIFY: u64 = 3;
const OUTPUT: u64 = 4;
const MACHINED: u64 = 5;
const NAMES: u64 = 6;

/// Between two status texts of the guest.
const STATUS_PAUSE: Duration = Duration::from_millis(100);

struct Supervisor<'a> {
    plan: &'a LaunchPlan,
    running: &'a Running,
    publisher: Publisher,
    registration: Option<Registration>,
    machine: Machine,
    started: Instant,
    /// When to look again whether the init hears the shutdown signal.
    probe_at: Option<Instant>,
    outcome: Option<Outcome>,
    /// When a status of the guest was passed on last.
    described: Instant,
}

/// Supervises `running` until its init has ended.
pub fn supervise(
    plan: &LaunchPlan,
    running: &Running,
    signals: &Signals,
    publisher: Publisher,
) -> Result<Outcome, StepError> {
    let mut supervisor = Supervisor {
        plan,
        running,
        publisher,
        registration: None,
        machine: Machine::new(
            plan.init.notify_ready,
            plan.init.kind.will_hear(),
            plan.init.kind.repeats(),
        ),
        started: Instant::now(),
        probe_at: None,
        outcome: None,
        described: Instant::now(),
    };
    let mut console = Console::new(running.console.as_fd())?;
    let epoll = watch(running, signals, &console)?;
    supervisor.started();
    console.listen(&console_path(&plan.name), &epoll);
    supervisor.register(&epoll);
    // What made the plan is gone; this process stays.
    heap::trim();
    // The console is edge-triggered: what one turn leaves is remembered here.
    let mut unread = false;
    let mut events = [EpollEvent::empty(); 8];
    while supervisor.outcome.is_none() {
        let timeout = supervisor.timeout(unread, console.again());
        let ready = match epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other.at("wait for", "events")?,
        };
        for event in &events[..ready] {
            // A stop that comes with the end of a boot is left in the descriptor: a reboot must find it.
            if supervisor.outcome.is_some() {
                break;
            }
            match event.data() {
                SIGNALS if supervisor.stop_requested(signals)? => {
                    supervisor.feed(Event::StopRequested)
                }
                CONSOLE => unread = true,
                OUTPUT => console.write(),
                NOTIFY => supervisor.told(),
                MACHINED => supervisor.machined(&epoll),
                NAMES => running.names.changed(),
                LEADER => supervisor.leader_ended()?,
                id @ LISTENER.. => console.event(id, &epoll),
                _ => {}
            }
        }
        unread = unread && console.read();
        console.pass_input(&epoll);
        if supervisor.probe_at.is_some_and(|at| at <= Instant::now()) {
            supervisor.probe_at = None;
            supervisor.probe();
        }
    }
    console.finish(supervisor.outcome.as_ref());
    if let Some(registration) = supervisor.registration.take() {
        registration.end();
    }
    supervisor
        .outcome
        .ok_or_else(|| StepError::new("supervision ended without an outcome", ""))
}

/// The console is edge-triggered: without an open terminal a master reports hang-up all the time.
fn watch(running: &Running, signals: &Signals, console: &Console) -> Result<Epoll, StepError> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).at("create", "epoll")?;
    let add = |fd: BorrowedFd, flags, data| {
        epoll
            .add(fd, EpollEvent::new(flags, data))
            .at("watch", "events")
    };
    add(signals.as_fd(), EpollFlags::EPOLLIN, SIGNALS)?;
    add(running.leader.pidfd.as_fd(), EpollFlags::EPOLLIN, LEADER)?;
    add(
        running.console.as_fd(),
        EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
        CONSOLE,
    )?;
    add(running.notify.as_fd(), EpollFlags::EPOLLIN, NOTIFY)?;
    if let Some(watch) = running.names.watch() {
        add(watch, EpollFlags::EPOLLIN, NAMES)?;
    }
    // A regular file or /dev/null as output cannot be watched, and never blocks.
    if let Some(output) = console.watchable_output() {
        add(output, EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, OUTPUT)?;
    }
    Ok(epoll)
}

impl Supervisor<'_> {
    fn started(&mut self) {
        let os = self.plan.os.as_deref().unwrap_or("the container");
        notify::tell(&format!("STATUS=Booting {os}"));
        if let Err(err) = self.publisher.publish(false) {
            crate::log::line(err);
        }
        let name = &self.plan.name;
        let pid = self.running.leader.pid;
        crate::log::line(format_args!(
            "{name} is leader {pid} ({}); enter it with \"skep shell {name}\" or \"nsenter -a -t {pid}\"",
            self.plan.init.kind
        ));
        if !self.plan.init.notify_ready {
            self.feed(Event::Ready);
        }
    }

    /// A host without machined has no use for this.
    fn register(&mut self, epoll: &Epoll) {
        self.registration = machine_name(&self.plan.name).and_then(|name| {
            Registration::begin(register::Machine {
                name,
                id: self.plan.machine_id.clone(),
                leader: self.running.leader.pid.as_raw().unsigned_abs(),
                root: self
                    .plan
                    .root
                    .as_ref()
                    .map_or_else(String::new, |root| root.display().to_string()),
            })
        });
        self.await_machined(epoll);
    }

    fn await_machined(&self, epoll: &Epoll) {
        if let Some(socket) = self.registration.as_ref().and_then(Registration::socket) {
            // Not watched, not heard: the container runs all the same.
            let _ = epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, MACHINED));
        }
    }

    fn machined(&mut self, epoll: &Epoll) {
        if self.registration.as_mut().is_some_and(Registration::read) {
            self.await_machined(epoll);
        }
    }

    fn timeout(&self, unread: bool, console: Option<Duration>) -> EpollTimeout {
        if unread {
            return EpollTimeout::ZERO;
        }
        let probe = self
            .probe_at
            .map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        match probe.into_iter().chain(console).min() {
            None => EpollTimeout::NONE,
            Some(left) => EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO),
        }
    }

    fn feed(&mut self, event: Event) {
        for reaction in self.machine.next(event, self.started.elapsed()) {
            match reaction {
                Reaction::Ready => self.ready(),
                Reaction::Status(text) => notify::tell(&format!("STATUS={text}")),
                Reaction::Stopping => notify::tell("STOPPING=1\nSTATUS=Shutting down"),
                Reaction::Probe => self.probe(),
                Reaction::ProbeAfter(wait) => self.probe_at = Some(Instant::now() + wait),
                Reaction::Shutdown => self.signal(self.plan.init.kill_signal),
                Reaction::Kill => {
                    crate::log::line("the init does not hear its shutdown signal: killing it");
                    self.signal(libc::SIGKILL);
                }
                Reaction::Finish(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn ready(&mut self) {
        let os = self.plan.os.as_deref().unwrap_or(&self.plan.name);
        let (kind, pid) = (self.plan.init.kind, self.running.leader.pid);
        notify::tell(&format!(
            "READY=1\nSTATUS=Running: {os}, {kind}, leader {pid}"
        ));
        if let Err(err) = self.publisher.publish(true) {
            crate::log::line(err);
        }
    }

    fn signal(&self, signal: i32) {
        // Gone meanwhile: its end is the next event.
        let _ = send_signal(self.running.leader.pidfd.as_fd(), signal);
    }

    fn probe(&mut self) {
        let hears = hearing::hears(self.running.leader.pid.as_raw(), self.plan.init.kill_signal);
        self.feed(Event::Hears(hears));
    }

    /// Its end may stand in the same turn as the signal, or be about to.
    fn stop_requested(&self, signals: &Signals) -> Result<bool, StepError> {
        let mut leader = [PollFd::new(
            self.running.leader.pidfd.as_fd(),
            PollFlags::POLLIN,
        )];
        match poll(&mut leader, PollTimeout::ZERO) {
            Ok(1..) => signals.stop_requested_after_end(),
            _ => signals.stop_requested(),
        }
    }

    fn told(&mut self) {
        for told in notify::receive(self.running.notify.as_fd(), self.running.leader.pid) {
            match told {
                Told::Ready => self.feed(Event::Ready),
                // The host's systemd reads each of them, so the guest does not set the pace.
                Told::Status(_) if self.described.elapsed() < STATUS_PAUSE => {}
                Told::Status(text) => {
                    self.described = Instant::now();
                    self.feed(Event::Status(text));
                }
            }
        }
    }

    fn leader_ended(&mut self) -> Result<(), StepError> {
        // Its last words may still be in the socket.
        self.told();
        let id = Id::PIDFd(self.running.leader.pidfd.as_fd());
        match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).at("wait for", "leader")? {
            WaitStatus::Exited(_, code) => self.feed(Event::Ended(End::Exited(code))),
            WaitStatus::Signaled(_, signal, _) => self.feed(Event::Ended(End::Killed(signal))),
            _ => {}
        }
        Ok(())
    }
}
