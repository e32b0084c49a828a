//! Named barriers between the processes of a launch: framed messages, with descriptors, over a SEQPACKET pair.
//!
//! The order is `Cloned`, `Unshared`, `Mapped`, `Built`, `Go`; `Failed` may stand in for any of them and ends the launch.
//! The guest's end closes on exec, so the end of its stream after `Go` means that the init runs.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::step::{At, StepError};
use crate::sys::fd::own_received;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Stage to supervisor, with a pidfd: the guest exists.
    Cloned {
        /// Its PID.
        pid: i32,
    },
    /// Guest to supervisor: it has its cgroup namespace; maps may be written.
    Unshared,
    /// Supervisor to stage: the guest's ids are mapped; mounts may be made.
    Mapped,
    /// Stage to supervisor, with console, notify socket, exported sockets and the files to be filled: the tree stands and is pivoted.
    Built,
    /// Supervisor to guest: exec.
    Go,
    /// Any to supervisor: the launch failed.
    Failed(StepError),
}

/// Longest frame: an error text, or one of the short ones.
const LIMIT: usize = 16 << 10;

/// One end of a pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A received frame and the descriptors that came with it.
pub type Received = (Frame, Vec<OwnedFd>);

impl Channel {
    /// Two connected ends, both closed on exec.
    pub fn pair() -> Result<(Channel, Channel), StepError> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .at("create", "barrier socket")?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &Frame, fds: &[BorrowedFd]) -> Result<(), StepError> {
        let mut bytes =
            serde_json::to_vec(frame).map_err(|err| StepError::new("write frame", err))?;
        bytes.truncate(LIMIT);
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
        sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .at("send", "barrier frame")
        .map(drop)
    }

    /// Receives a frame; `None` when the other side closed or ended.
    pub fn receive(&self) -> Result<Option<Received>, StepError> {
        let mut bytes = vec![0; LIMIT];
        let mut control = cmsg_space!([RawFd; 12]);
        let (length, fds) = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(None),
                Err(err) => return Err(err).at("receive", "barrier frame"),
                Ok(message) => {
                    break (
                        message.bytes,
                        received_fds(message.cmsgs().at("receive", "descriptors")?),
                    );
                }
            }
        };
        if length == 0 {
            return Ok(None);
        }
        match serde_json::from_slice(&bytes[..length])
            .map_err(|err| StepError::new("read frame", err))?
        {
            Frame::Failed(error) => Err(error),
            frame => Ok(Some((frame, fds))),
        }
    }

    /// Receives exactly `wanted`.
    pub fn expect(&self, wanted: &Frame) -> Result<Vec<OwnedFd>, StepError> {
        match self.receive()? {
            Some((frame, fds)) if frame == *wanted => Ok(fds),
            Some((frame, _)) => Err(StepError::new(
                "barrier out of order:",
                format_args!("{frame:?}, not {wanted:?}"),
            )),
            None => Err(StepError::new(
                "the other process ended before",
                format_args!("{wanted:?}"),
            )),
        }
    }

    /// Fails when the other side has ended. A process whose creator died before its parent-death signal was set is ended by
    /// nobody any more, and there is no other way to see that: the parent is always 0 from inside another PID namespace.
    /// Only while the other side has nothing to say.
    pub fn refuse_orphan(&self) -> Result<(), StepError> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO).at("look at", "the creator")? {
            0 => Ok(()),
            _ => Err(StepError::new(
                "the process that wanted this one is gone",
                "",
            )),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn received_fds(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    messages
        .flat_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds,
            _ => Vec::new(),
        })
        .map(own_received)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_descriptors_and_errors() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Frame::Cloned { pid: 7 }, &[a.as_fd()]).unwrap();
        let (frame, fds) = b.receive().unwrap().unwrap();
        assert_eq!((frame, fds.len()), (Frame::Cloned { pid: 7 }, 1));
        drop(fds);
        a.send(&Frame::Failed(StepError::new("pivot", "/")), &[])
            .unwrap();
        assert_eq!(b.receive().unwrap_err().to_string(), "pivot /");
        drop(a);
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn an_orphan_is_refused() {
        let (a, b) = Channel::pair().unwrap();
        assert_eq!(b.refuse_orphan(), Ok(()));
        drop(a);
        assert!(b.refuse_orphan().is_err());
    }

    #[test]
    fn wrong_order_is_named() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Frame::Go, &[]).unwrap();
        assert!(
            b.expect(&Frame::Mapped)
                .unwrap_err()
                .to_string()
                .contains("Go, not Mapped")
        );
    }
}
