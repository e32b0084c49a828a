//! Tells systemd-machined about a running container: machinectl, `systemctl -M` and the like then work on it.
//!
//! Best effort: a host without machined or without a bus loses nothing else, and nothing here ever waits during a boot: the
//! request is written at once, and the answer is an event of the supervisor. That process asks itself, because machined
//! (258 and later) ends a machine by a signal to who registered it. Varlink first, which needs no bus; else D-Bus.

mod dbus;
mod varlink;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// How long the end of a container waits for machined to forget it, so that the next start finds the name free.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers are short; more than this is none.
const LIMIT: usize = 64 << 10;

/// What machined is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Name, a valid host name.
    pub name: String,
    /// Machine id: 32 hex digits.
    pub id: String,
    /// PID of the init.
    pub leader: u32,
    /// Host path of the tree, or nothing.
    pub root: String,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Done.
    Done,
    /// A machine is known under this name: an earlier boot, or somebody else's.
    Exists,
    /// Not this way: the next one is tried.
    Unknown,
    /// Refused, with the error's name.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Varlink,
    Bus,
}

impl Way {
    fn connect(self) -> io::Result<UnixStream> {
        let address = UnixAddr::new(match self {
            Way::Varlink => varlink::SOCKET,
            Way::Bus => dbus::SOCKET,
        })?;
        // A listener that takes no more connections is an error now instead of a wait.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &address)?;
        Ok(socket.into())
    }

    fn register(self, machine: &Machine) -> Vec<u8> {
        match self {
            Way::Varlink => varlink::register(machine),
            Way::Bus => dbus::register(machine),
        }
    }

    fn unregister(self, name: &str) -> Vec<u8> {
        match self {
            Way::Varlink => varlink::unregister(name),
            Way::Bus => dbus::unregister(name),
        }
    }

    /// The answer, once all of it has come.
    fn answer(self, received: &[u8]) -> Option<Answer> {
        match self {
            Way::Varlink => varlink::answer(received),
            Way::Bus => dbus::answer(received),
        }
    }
}

/// A registration that is under way or done.
#[derive(Debug)]
pub struct Registration {
    machine: Machine,
    way: Way,
    /// Open until the answer has come.
    stream: Option<UnixStream>,
    received: Vec<u8>,
    /// Whether a machine of that name was removed once already.
    cleared: bool,
    registered: bool,
    /// Asked once more: machined may know this very machine.
    renewing: bool,
}

impl Registration {
    /// Asks machined to register; `None` when it cannot be reached.
    pub fn begin(machine: Machine) -> Option<Registration> {
        let mut registration = Registration {
            machine,
            way: Way::Varlink,
            stream: None,
            received: Vec::new(),
            cleared: false,
            registered: false,
            renewing: false,
        };
        let asked = registration.ask(Way::Varlink) || registration.ask(Way::Bus);
        asked.then_some(registration)
    }

    /// Asks once more. True when there is a socket to be watched anew. A request that is still to be answered stands: the
    /// machined that was just started answers it.
    pub fn renew(&mut self) -> bool {
        if self.stream.is_some() {
            return false;
        }
        self.renewing = self.registered;
        self.cleared = false;
        self.ask(Way::Varlink) || self.ask(Way::Bus)
    }

    /// The socket on which the answer comes.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    fn ask(&mut self, way: Way) -> bool {
        self.way = way;
        self.received.clear();
        self.stream = way.connect().ok().filter(|stream| {
            let mut stream = stream;
            // Shorter than any socket's buffer: written in one piece or not at all.
            stream.write_all(&way.register(&self.machine)).is_ok()
        });
        self.stream.is_some()
    }

    /// Takes what has come. True when the socket is another one now, to be watched anew.
    pub fn read(&mut self) -> bool {
        let ended = match self.stream.as_mut() {
            Some(stream) => fill(stream, &mut self.received),
            None => return false,
        };
        let answer = match self.way.answer(&self.received) {
            None if ended => Answer::Unknown,
            None => return false,
            Some(answer) => answer,
        };
        self.stream = None;
        match answer {
            Answer::Done => {
                self.registered = true;
                false
            }
            Answer::Exists if self.renewing => false,
            Answer::Exists if !self.cleared && is_leftover(&self.machine.name) => {
                self.cleared = true;
                self.forget();
                self.ask(self.way)
            }
            Answer::Unknown if self.way == Way::Varlink => self.ask(Way::Bus),
            Answer::Unknown => false,
            Answer::Exists => {
                self.complain("a machine of this name is registered already");
                false
            }
            Answer::Refused(error) => {
                self.complain(&error);
                false
            }
        }
    }

    fn complain(&self, why: &str) {
        let why = crate::log::printable(why, 200);
        crate::log::line(format_args!("not registered with systemd-machined: {why}"));
    }

    /// Has machined forget the container.
    pub fn end(mut self) {
        // An answer that has not come is not waited for, and the name may still be taken by then.
        self.stream = None;
        if self.registered {
            self.forget();
        }
    }

    fn forget(&self) {
        // On failure machined notices by itself that the leader is gone.
        let _ = self.try_forget();
    }

    fn try_forget(&self) -> io::Result<()> {
        let mut stream = self.way.connect()?;
        stream.write_all(&self.way.unregister(&self.machine.name))?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut received = Vec::new();
        while self.way.answer(&received).is_none() && received.len() < LIMIT {
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes)? {
                0 => break,
                length => received.extend(&bytes[..length]),
            }
        }
        Ok(())
    }
}

/// Whether what machined knows under this name is of an earlier boot of this very container, or of nobody any more. A machine
/// of others keeps its name, or tools that mean it would work on this container.
fn is_leftover(name: &str) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let record = read(&format!("/run/systemd/machines/{name}"));
    let alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    yields(&record, &read("/proc/self/cgroup"), alive)
}

/// Judges the record of a machine: what sd-login reads, too. One that is not understood yields to nobody.
fn yields(record: &str, own_cgroup: &str, alive: impl Fn(u32) -> bool) -> bool {
    let field = |key: &str| record.lines().find_map(|line| line.strip_prefix(key));
    let unit = field("SCOPE=").unwrap_or_default();
    let leader = field("LEADER=").and_then(|pid| pid.parse().ok());
    let own = |cgroup: &str| !unit.is_empty() && cgroup.split('/').any(|part| part == unit);
    own_cgroup.lines().any(own) || leader.is_some_and(|pid| !alive(pid))
}

/// Reads what is there; true at the end of the stream. The buffer must not become a part of the frame in which the
/// supervisor waits.
#[inline(never)]
fn fill(stream: &mut UnixStream, received: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    while received.len() < LIMIT {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(length) => received.extend(&bytes[..length]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return err.kind() != io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// A name that machined takes: containers may be called what no host may be called.
pub fn machine_name(container: &str) -> Option<String> {
    let name = container.replace(['@', '_'], "-");
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    name.split('.').all(label).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_yield_their_name() {
        let cgroup = "0::/machine.slice/skep@web.service/supervisor\n";
        let record = |unit: &str| format!("NAME=web\nSCOPE={unit}\nLEADER=7\n");
        for (record, alive, want) in [
            (record("skep@web.service"), true, true),
            (record("systemd-nspawn@web.service"), true, false),
            (record("systemd-nspawn@web.service"), false, true),
            (record("skep@we.service"), true, false),
            ("LEADER=x\n".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            assert_eq!(yields(&record, cgroup, |_| alive), want, "{record}");
        }
    }

    #[test]
    fn names_that_machined_takes() {
        for (name, want) in [
            ("web", Some("web")),
            ("web@1", Some("web-1")),
            ("a_b.c", Some("a-b.c")),
            ("a.", None),
            ("a..b", None),
            ("a-", None),
        ] {
            assert_eq!(machine_name(name).as_deref(), want, "{name}");
        }
    }
}
