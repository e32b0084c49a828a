//! Stays with a running container until it ends: one thread, one epoll over signals, leader, console and notify socket.
//!
//! `state` decides; this module turns descriptors into its events and its reactions into calls.

pub mod addresses;
pub mod ask;
pub mod console;
pub mod describe;
pub mod ends;
pub mod extend;
pub mod hearing;
pub mod names;
pub mod notify;
pub mod pace;
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
use crate::plan::init::Ask;
use crate::register::{self, Registration, machine_name};
use crate::step::{At, StepError};
use crate::supervise::addresses::{Addresses, Look};
use crate::supervise::ask::Asking;
use crate::supervise::console::Console;
use crate::supervise::console::share::LISTENER;
use crate::supervise::extend::Extension;
use crate::supervise::hearing::Hearing;
use crate::supervise::notify::Told;
use crate::supervise::pace::Pace;
use crate::supervise::publish::Publisher;
use crate::supervise::signals::Signals;
use crate::supervise::state::{End, Event, Goal, Machine, Manners, Outcome, Reaction};
use crate::sys::memory;
use crate::sys::pidfd::send_signal;

const SIGNALS: u64 = 0;
const LEADER: u64 = 1;
const CONSOLE: u64 = 2;
const NOTIFY: u64 = 3;
const OUTPUT: u64 = 4;
const MACHINED: u64 = 5;
const NAMES: u64 = 6;
const ADDRESSES: u64 = 7;
const NETWORK: u64 = 8;

/// Between two looks at the container's addresses, which its root may change all the time.
const ADDRESS_PAUSE: Duration = Duration::from_secs(1);

/// After so long without an event, what the last ones took of memory is given back. Longer than a look at the addresses is put
/// off.
const REST: Duration = Duration::from_secs(2);

/// Which boot of a unit's run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// None before it became ready: the unit is being started.
    First,
    /// The unit is active since an earlier one.
    Again,
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub outcome: Outcome,
    /// Whether it had become ready.
    pub ready: bool,
}

impl From<Outcome> for Ending {
    /// Of a boot that never became ready.
    fn from(outcome: Outcome) -> Ending {
        Ending {
            outcome,
            ready: false,
        }
    }
}

struct Supervisor<'a> {
    plan: &'a LaunchPlan,
    running: &'a Running,
    publisher: Publisher,
    registration: Option<Registration>,
    machine: Machine,
    started: Instant,
    /// When to look again whether the init hears what it is to be asked.
    probe_at: Option<(Instant, Goal)>,
    asking: Asking,
    outcome: Option<Outcome>,
    status: Pace,
    extension: Extension,
    ready: bool,
    /// Until there are too many of them.
    addresses: Option<Addresses>,
    /// When to look at them.
    look_at: Option<Instant>,
}

/// Supervises `running` until its init has ended.
pub fn supervise(
    plan: &LaunchPlan,
    running: &mut Running,
    signals: &Signals,
    publisher: Publisher,
    boot: Boot,
) -> Result<Ending, StepError> {
    signals.forget_reboot();
    let addresses = running.addresses.take();
    let running = &*running;
    let mut supervisor = Supervisor {
        plan,
        running,
        publisher,
        registration: None,
        machine: Machine::new(Manners {
            announces: plan.init.notify_ready,
            will_hear: plan.init.kind.will_hear(),
            again: plan.init.kind.again(),
        }),
        started: Instant::now(),
        probe_at: None,
        asking: Asking::default(),
        outcome: None,
        status: Pace::default(),
        extension: Extension::booting(boot),
        ready: false,
        addresses: addresses.and_then(|socket| Addresses::of(socket).ok()),
        look_at: Some(Instant::now()),
    };
    let mut console = Console::new(running.console.as_fd(), &plan.name, &plan.identifier)?;
    let epoll = watch(running, signals, &console)?;
    supervisor.watch_addresses(&epoll);
    supervisor.started();
    console.listen(&console_path(&plan.name), &epoll);
    supervisor.register(&epoll);
    // What made the plan is gone; this process stays.
    memory::release();
    let mut release_at = Some(Instant::now() + REST);
    // The console is edge-triggered: what one turn leaves is remembered here.
    let mut unread = false;
    let mut events = [EpollEvent::empty(); 8];
    while supervisor.outcome.is_none() {
        let timeout = supervisor.timeout(unread, console.again(), release_at);
        let ready = match epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other.at("wait for", "events")?,
        };
        if ready > 0 {
            release_at = Some(Instant::now() + REST);
        } else if release_at.take_if(|at| *at <= Instant::now()).is_some() {
            console.shrink();
            memory::release();
        }
        // First of all: when the guest hangs up its terminal, the kernel drops what nobody has read yet.
        unread |= events[..ready].iter().any(|event| event.data() == CONSOLE);
        unread = unread && console.read();
        for event in &events[..ready] {
            // A stop that comes with the end of a boot is left in the descriptor: a reboot must find it.
            if supervisor.outcome.is_some() {
                break;
            }
            match event.data() {
                SIGNALS => supervisor.signalled(signals)?,
                OUTPUT => {
                    let closed = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
                    if event.events().intersects(closed) {
                        console.renew();
                    }
                    console.write();
                }
                NOTIFY => supervisor.told(),
                MACHINED => supervisor.machined(&epoll),
                NAMES => running.names.changed(),
                LEADER => supervisor.leader_ended()?,
                ADDRESSES => supervisor.addresses_changed(),
                NETWORK => supervisor.network_ended(),
                id @ LISTENER.. => console.event(id, &epoll),
                _ => {}
            }
            if signals.register_requested() && supervisor.outcome.is_none() {
                supervisor.register_again(&epoll);
            }
        }
        if console.reopened() {
            // Not watched, a journal that is full is only noticed later.
            let _ = watch_output(&epoll, &console);
        }
        console.pass_input(&epoll);
        if let Some((_, goal)) = supervisor.probe_at.take_if(|(at, _)| *at <= Instant::now()) {
            supervisor.probe(goal);
        }
        supervisor.tell_late_status();
        if supervisor.look_at.is_some_and(|at| at <= Instant::now()) {
            supervisor.look(&epoll);
        }
    }
    console.finish(supervisor.outcome.as_ref());
    supervisor.asking.finish();
    if let Some(registration) = supervisor.registration.take() {
        registration.end();
    }
    let ready = supervisor.ready;
    match supervisor.outcome {
        Some(outcome) => Ok(Ending { outcome, ready }),
        None => Err(StepError::new("supervision ended without an outcome", "")),
    }
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
    if let Some(owner) = running.network.owner() {
        add(
            owner,
            EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            NETWORK,
        )?;
    }
    watch_output(&epoll, console).at("watch", "events")?;
    Ok(epoll)
}

/// A regular file or /dev/null as output cannot be watched, and never blocks.
fn watch_output(epoll: &Epoll, console: &Console) -> nix::Result<()> {
    let flags = EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    match console.watchable_output() {
        Some(output) => epoll.add(output, EpollEvent::new(flags, OUTPUT)),
        None => Ok(()),
    }
}

impl Supervisor<'_> {
    fn started(&mut self) {
        notify::tell(&format!("STATUS={}", describe::booting(self.plan)));
        if let Err(err) = self.publisher.publish() {
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

    /// Another machined runs, which may not know what the one before it knew.
    fn register_again(&mut self, epoll: &Epoll) {
        match &mut self.registration {
            None => self.register(epoll),
            Some(registration) => {
                if registration.renew() {
                    self.await_machined(epoll);
                }
            }
        }
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

    fn timeout(
        &self,
        unread: bool,
        console: Option<Duration>,
        release: Option<Instant>,
    ) -> EpollTimeout {
        if unread {
            return EpollTimeout::ZERO;
        }
        let at = self.probe_at.map(|(at, _)| at);
        let left = at
            .into_iter()
            .chain(self.look_at)
            .chain(self.status.at())
            .chain(release)
            .map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        match left.chain(console).min() {
            None => EpollTimeout::NONE,
            Some(left) => EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO),
        }
    }

    fn feed(&mut self, event: Event) {
        for reaction in self.machine.next(event, self.started.elapsed()) {
            match reaction {
                Reaction::Ready => self.ready(),
                Reaction::Running => self.tell_status(self.description()),
                Reaction::Status(text) => self.tell_status(text),
                Reaction::Stopping => {
                    self.extension.stopping(self.started.elapsed());
                    self.status.overtaken(Instant::now());
                    notify::tell(&format!("STOPPING=1\nSTATUS={}", describe::ASKED));
                }
                Reaction::Probe(goal) => self.probe(goal),
                Reaction::ProbeAfter(wait, goal) => {
                    self.probe_at = Some((Instant::now() + wait, goal));
                }
                Reaction::Ask(goal) => self.ask(goal),
                Reaction::Kill => self.kill("does not hear what it is asked"),
                Reaction::Finish(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn ready(&mut self) {
        self.ready = true;
        self.extension.ready();
        self.status.overtaken(Instant::now());
        notify::tell(&format!("READY=1\nSTATUS={}", self.description()));
        if let Err(err) = self.publisher.ready() {
            crate::log::line(err);
        }
    }

    fn tell_status(&mut self, text: String) {
        if let Some(text) = self.status.offer(text, Instant::now()) {
            notify::tell(&format!("STATUS={text}"));
        }
    }

    /// Tells what had to wait.
    fn tell_late_status(&mut self) {
        if let Some(text) = self.status.due(Instant::now()) {
            notify::tell(&format!("STATUS={text}"));
        }
    }

    fn description(&self) -> String {
        let leader = self.running.leader.pid.as_raw();
        let addresses = self.addresses.as_ref().map_or(&[][..], Addresses::found);
        describe::running(self.plan, leader, addresses)
    }

    /// One change wakes once, until the next look: the guest does not set the pace.
    fn watch_addresses(&mut self, epoll: &Epoll) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, ADDRESSES);
        let watched = self
            .addresses
            .as_ref()
            .is_some_and(|addresses| epoll.add(addresses.socket(), event).is_ok());
        if !watched {
            (self.addresses, self.look_at) = (None, None);
        }
    }

    fn addresses_changed(&mut self) {
        self.look_at = Some(Instant::now() + ADDRESS_PAUSE);
    }

    fn look(&mut self, epoll: &Epoll) {
        self.look_at = None;
        let Some(addresses) = &mut self.addresses else {
            return;
        };
        let look = addresses.look();
        if look == Look::TooMany {
            // Those found so far stay.
            let _ = epoll.delete(addresses.socket());
        } else {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
            let mut event = EpollEvent::new(flags, ADDRESSES);
            let _ = epoll.modify(addresses.socket(), &mut event);
        }
        if look == Look::Same {
            return;
        }
        if let Err(err) = self.publisher.addresses(addresses.found()) {
            crate::log::line(err);
        }
        if self.machine.is_running() {
            self.tell_status(self.description());
        }
    }

    fn signal(&self, signal: i32) {
        // Gone meanwhile: its end is the next event.
        let _ = send_signal(self.running.leader.pidfd.as_fd(), signal);
    }

    fn kill(&self, why: &str) {
        crate::log::line(format_args!("the init {why}: killing it"));
        self.signal(libc::SIGKILL);
    }

    fn way(&self, goal: Goal) -> Ask {
        let init = &self.plan.init;
        match goal {
            Goal::Stop => init.shutdown,
            Goal::Reboot => init.reboot.unwrap_or(init.shutdown),
        }
    }

    fn ask(&mut self, goal: Goal) {
        match self.way(goal) {
            Ask::Signal(signal) => self.signal(signal),
            Ask::Program(argv) => {
                if let Err(err) = self.asking.run(&self.plan.name, argv) {
                    crate::log::line(err);
                }
            }
        }
    }

    fn probe(&mut self, goal: Goal) {
        let pid = self.running.leader.pid.as_raw();
        let heard = match self.way(goal) {
            Ask::Signal(signal) => hearing::hearing(pid, signal),
            Ask::Program(_) if hearing::runit_listens(pid) => Hearing::Hears,
            Ask::Program(_) => Hearing::Default,
        };
        self.feed(Event::Heard(heard));
    }

    fn signalled(&mut self, signals: &Signals) -> Result<(), StepError> {
        if self.stop_requested(signals)? {
            self.feed(Event::StopRequested);
        } else if signals.reboot_requested() {
            self.reboot_requested();
        }
        if self.asking.failed() {
            self.kill("cannot be asked, its program did not run");
        }
        Ok(())
    }

    /// The container whose network this one shares has ended or boots again, and its links are gone.
    fn network_ended(&mut self) {
        crate::log::line("the container whose network this one shares has ended");
        // One that has no signal for it is shut down, and boots again all the same.
        self.feed(Event::RebootRequested);
    }

    fn reboot_requested(&mut self) {
        match self.plan.init.reboot {
            Some(_) => self.feed(Event::RebootRequested),
            None => crate::log::line(
                "asked to reboot, but the init has no signal for it: set RebootSignal=",
            ),
        }
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
                Told::Extend(wanted) => {
                    let granted = self.extension.extend(wanted, self.started.elapsed());
                    if let Some(more) = granted {
                        let more = more.as_micros();
                        notify::tell(&format!("EXTEND_TIMEOUT_USEC={more}"));
                    }
                }
                Told::Stopping => self.feed(Event::Leaving),
                Told::Status(text) => self.feed(Event::Status(text)),
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
