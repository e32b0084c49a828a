//! The way to a container's supervisor.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

use crate::load::{console_path, state_dir};
use crate::step::{At, StepError};
use crate::supervise::console::share::connect;
use crate::sys::pidfd;

/// How long a container that runs may have no socket.
const PATIENCE: Duration = Duration::from_secs(2);

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Connected,
    Later,
}

/// The socket, while there is one, and the process behind it.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    path: PathBuf,
    socket: Option<OwnedFd>,
    supervisor: Option<OwnedFd>,
    begun: Instant,
}

impl Link {
    pub(super) fn new(name: &str) -> Link {
        Link {
            name: name.to_owned(),
            path: console_path(name),
            socket: None,
            supervisor: None,
            begun: Instant::now(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Becomes readable when the supervisor ends; a reboot of the guest leaves it alive.
    pub(super) fn supervisor(&self) -> Option<BorrowedFd<'_>> {
        self.supervisor.as_ref().map(AsFd::as_fd)
    }

    /// The first attempt. One that can never succeed is an error.
    pub(super) fn open(&mut self) -> Result<Tried, StepError> {
        let tried = self.reopen()?;
        if tried == Tried::Connected {
            return Ok(tried);
        }
        let name = &self.name;
        let directory = state_dir(name);
        match directory.join("state.json").metadata() {
            Ok(_) if self.begun.elapsed() > PATIENCE => {
                let cure = format!(
                    "the container was started by a release without one; restart it with \"systemctl restart skep@{name}\""
                );
                Err(StepError::new("no console at", self.path.display()).cure(cure))
            }
            Err(err) if err.kind() == ErrorKind::NotFound && !directory.exists() => {
                let cure = format!("start it with \"systemctl start skep@{name}\"");
                Err(StepError::new("not running:", name).cure(cure))
            }
            Ok(_) | Err(_) => Ok(Tried::Later),
        }
    }

    /// Another attempt.
    pub(super) fn reopen(&mut self) -> Result<Tried, StepError> {
        let socket = match connect(&self.path) {
            Ok(socket) => socket,
            // None yet, nobody there any more, or more than it can take at once.
            Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN | Errno::EINTR) => {
                return Ok(Tried::Later);
            }
            Err(Errno::EACCES) => {
                return Err(Errno::EACCES)
                    .at("attach to", self.path.display())
                    .map_err(|err| err.cure("only root may"));
            }
            Err(errno) => return Err(errno).at("attach to", self.path.display()),
        };
        let peer = getsockopt(&socket, PeerCredentials).at("attach to", self.path.display())?;
        // It ended just now: the next attempt tells.
        let Ok(supervisor) = pidfd::open(Pid::from_raw(peer.pid())) else {
            return Ok(Tried::Later);
        };
        self.supervisor = Some(supervisor);
        self.socket = Some(socket);
        Ok(Tried::Connected)
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }
}
