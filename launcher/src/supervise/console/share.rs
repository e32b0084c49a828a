//! Those who are attached to a console: a socket in the container's runtime directory, which only root can enter, and at
//! most [`MOST`] clients.
//!
//! Nobody of them is waited for. A packet that finds no room in a client's socket is skipped, and the client told so later;
//! input that the guest does not take is left in the socket of who wrote it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::{PeerCredentials, SndBufForce};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, recv,
    send, setsockopt, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use super::message::{INPUT_LIMIT, Notice, Request, Wish};
use super::seats::Seats;
use crate::step::{At, StepError};
use crate::sys::pty::Size;

/// Clients at once.
pub(super) const MOST: usize = 16;

/// Accepted at one turn, and packets read from one client at one turn.
const TURN: usize = 8;

/// What may wait in the socket of a client that is slow.
const ROOM: usize = 512 << 10;

/// Marks the events of the listening socket and of clients for epoll: ids count up from here.
pub(crate) const LISTENER: u64 = 1 << 32;

/// What a client asks of the console.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To be told what was there before.
    Replay(u64),
    /// To write this.
    Input(Vec<u8>),
    /// The writer's terminal has this size.
    Size(Size),
}

#[derive(Debug)]
struct Client {
    id: u64,
    socket: UnixStream,
    pid: u32,
    greeted: bool,
    size: Option<Size>,
    skipped: u64,
    /// The latest notice that found no room.
    due: Option<Vec<u8>>,
    /// What epoll watches for.
    watched: EpollFlags,
}

/// The socket and its clients.
#[derive(Debug)]
pub(super) struct Share {
    listener: UnixListener,
    path: PathBuf,
    clients: Vec<Client>,
    seats: Seats,
    next: u64,
}

impl Share {
    /// Listens at `path` and has `epoll` watch. One that an earlier boot left is replaced.
    pub(super) fn open(path: &Path, epoll: &Epoll) -> Result<Share, StepError> {
        let step = "open console socket";
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .at(step, path.display())?;
        let _ = fs::remove_file(path);
        // The file takes the socket's mode: there is no moment at which it has another one.
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        fchmod(&socket, mode).at(step, path.display())?;
        let address = UnixAddr::new(path).at(step, path.display())?;
        bind(socket.as_raw_fd(), &address).at(step, path.display())?;
        let backlog = Backlog::new(i32::try_from(MOST).unwrap_or(1)).at(step, path.display())?;
        listen(&socket, backlog).at(step, path.display())?;
        let interest = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        epoll.add(&socket, interest).at("watch", path.display())?;
        Ok(Share {
            listener: socket.into(),
            path: path.to_owned(),
            clients: Vec::new(),
            seats: Seats::default(),
            next: LISTENER + 1,
        })
    }

    /// Takes what happened at the event of `id`.
    pub(super) fn event(&mut self, id: u64, epoll: &Epoll) -> Vec<Asked> {
        match id {
            LISTENER => {
                self.accept(epoll);
                Vec::new()
            }
            _ => self.hear(id),
        }
    }

    fn accept(&mut self, epoll: &Epoll) {
        for _ in 0..TURN {
            let Ok((socket, _)) = self.listener.accept() else {
                return;
            };
            // The directory lets nobody else come here; this is the second lock.
            let Ok(peer) = getsockopt(&socket, PeerCredentials) else {
                continue;
            };
            if peer.uid() != geteuid().as_raw() || socket.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() >= MOST {
                let why = format!("{MOST} are attached already");
                let _ = tell(&socket, &Notice::Refused(&why).encode());
                continue;
            }
            // With the default a burst of the guest leaves gaps.
            let _ = setsockopt(&socket, SndBufForce, &ROOM);
            let id = self.next;
            let watched = EpollFlags::EPOLLIN;
            if epoll.add(&socket, EpollEvent::new(watched, id)).is_err() {
                continue;
            }
            self.next += 1;
            self.clients.push(Client {
                id,
                socket,
                pid: peer.pid().unsigned_abs(),
                greeted: false,
                size: None,
                skipped: 0,
                due: None,
                watched,
            });
        }
    }

    fn hear(&mut self, id: u64) -> Vec<Asked> {
        let mut asked = Vec::new();
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.catch_up();
        }
        for _ in 0..TURN {
            let Some(client) = self.clients.iter().find(|client| client.id == id) else {
                break;
            };
            let mut packet = [0; INPUT_LIMIT + 1];
            let flags = MsgFlags::MSG_DONTWAIT;
            match recv(client.socket.as_raw_fd(), &mut packet, flags) {
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Ok(length @ 1..=INPUT_LIMIT) => {
                    let Some(request) = Request::decode(&packet[..length]) else {
                        asked.extend(
                            self.refuse(id, "the container's launcher is of another release"),
                        );
                        break;
                    };
                    let input = matches!(request, Request::Input(_));
                    asked.extend(self.obey(id, request));
                    // One at a time: the guest may not take it.
                    if input {
                        break;
                    }
                }
                // The end, or a packet that is too long.
                Ok(_) | Err(_) => {
                    asked.extend(self.remove(id));
                    break;
                }
            }
        }
        asked
    }

    fn obey(&mut self, id: u64, request: Request<'_>) -> Vec<Asked> {
        let Some(at) = self.clients.iter().position(|client| client.id == id) else {
            return Vec::new();
        };
        let writes = self.seats.writer() == Some(id);
        match (self.clients[at].greeted, request) {
            (false, Request::Hello(wish, size)) => {
                self.clients[at].greeted = true;
                self.clients[at].size = size;
                self.seat(id, wish)
            }
            (true, Request::Input(bytes)) if writes => vec![Asked::Input(bytes.to_vec())],
            // Typed while another one writes.
            (true, Request::Input(_)) => Vec::new(),
            (true, Request::Resize(size)) => {
                self.clients[at].size = Some(size);
                writes.then_some(Asked::Size(size)).into_iter().collect()
            }
            (true, Request::Done) => {
                let next = self.seats.read_only(id);
                self.promote(next)
            }
            (true, Request::Hello(..)) | (false, _) => self.refuse(id, "unexpected message"),
        }
    }

    fn seat(&mut self, id: u64, wish: Wish) -> Vec<Asked> {
        let before = self.seats.writer();
        let mut asked = Vec::new();
        if self.seats.join(id, wish) {
            asked = self.promote(Some(id));
            if let Some(before) = before {
                self.tell(before, self.reads());
            }
        } else {
            self.tell(id, self.reads());
        }
        asked.push(Asked::Replay(id));
        asked
    }

    /// Tells the new writer; the console takes the size of its terminal.
    fn promote(&mut self, id: Option<u64>) -> Vec<Asked> {
        let Some(id) = id else { return Vec::new() };
        self.tell(id, Notice::Writes);
        let size = self.clients.iter().find(|client| client.id == id);
        let size = size.and_then(|client| client.size);
        size.map(Asked::Size).into_iter().collect()
    }

    fn reads(&self) -> Notice<'static> {
        let writer = self.seats.writer();
        let writer = self.clients.iter().find(|client| Some(client.id) == writer);
        Notice::Reads {
            writer: writer.map_or(0, |client| client.pid),
        }
    }

    fn refuse(&mut self, id: u64, why: &str) -> Vec<Asked> {
        self.tell(id, Notice::Refused(why));
        self.remove(id)
    }

    /// Closing the socket ends epoll's watch, too.
    fn remove(&mut self, id: u64) -> Vec<Asked> {
        self.clients.retain(|client| client.id != id);
        let next = self.seats.leave(id);
        self.promote(next)
    }

    /// Tells client `id`.
    pub(super) fn tell(&mut self, id: u64, notice: Notice<'_>) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.due = Some(notice.encode());
            client.catch_up();
        }
    }

    /// Tells all that this was it.
    pub(super) fn tell_all(&mut self, notice: Notice<'_>) {
        for client in self.clients.iter_mut().filter(|client| client.greeted) {
            client.due = Some(notice.encode());
            client.catch_up();
        }
    }

    /// Passes lines on that `id` has missed.
    pub(super) fn replay(&mut self, id: u64, text: &[u8]) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.send(&Notice::Output(text).encode());
        }
    }

    /// Passes a packet of output on.
    pub(super) fn output(&mut self, packet: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| client.greeted) {
            client.send(packet);
        }
    }

    /// Reads from the writer only while the guest takes what it writes, which `held` denies; that it has gone is noticed all
    /// the same. One that fell behind is told so when it has room, not only with what the guest says next.
    pub(super) fn watch(&mut self, held: bool, epoll: &Epoll) {
        for client in &mut self.clients {
            let mut wanted = EpollFlags::empty();
            wanted.set(
                EpollFlags::EPOLLIN,
                !held || self.seats.writer() != Some(client.id),
            );
            wanted.set(EpollFlags::EPOLLOUT, client.is_behind());
            if wanted != client.watched {
                client.watched = wanted;
                // Cannot fail for a socket that is watched.
                let _ = epoll.modify(&client.socket, &mut EpollEvent::new(wanted, client.id));
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    fn send(&mut self, packet: &[u8]) {
        self.catch_up();
        // Of one that has gone epoll tells.
        if self.skipped > 0 || tell(&self.socket, packet).is_err() {
            self.skipped += packet.len() as u64 - 1;
        }
    }

    fn is_behind(&self) -> bool {
        self.skipped > 0 || self.due.is_some()
    }

    /// Sends what found no room before.
    fn catch_up(&mut self) {
        if self.skipped > 0 && tell(&self.socket, &Notice::Skipped(self.skipped).encode()).is_ok() {
            self.skipped = 0;
        }
        self.due = self
            .due
            .take()
            .filter(|notice| tell(&self.socket, notice).is_err());
    }
}

fn tell(socket: &UnixStream, packet: &[u8]) -> nix::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(socket.as_raw_fd(), packet, flags).map(drop)
}

/// Connects to the console at `path`, without waiting.
pub(crate) fn connect(path: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::connect(socket.as_fd().as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}
