//! The notify protocol, sd_notify(3): from the guest's init, and to the host's systemd.
//!
//! Only the init is heard, and only `READY=1`, `STOPPING=1`, `STATUS=` and `EXTEND_TIMEOUT_USEC=` count. The kernel attaches
//! who sends, and the container's root may give any process of its own as that: nobody else can speak for the init.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};
use nix::unistd::Pid;

use crate::log::printable;

/// What the init says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has reached its default target.
    Ready,
    /// It shuts down.
    Stopping,
    /// A line about itself, made printable.
    Status(String),
    /// It takes longer to boot or to stop: by so much from now on.
    Extend(Duration),
}

/// Messages of one turn: any process of the guest may write to the socket, without end.
const TURN: usize = 64;

/// The next messages of `leader` that count; others are dropped.
pub fn receive(socket: BorrowedFd, leader: Pid) -> Vec<Told> {
    let mut bytes = [0; 4096];
    let mut all = Vec::new();
    for _ in 0..TURN {
        let mut control = cmsg_space!(UnixCredentials);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        // Descriptors that a guest attaches find no room in the control buffer, so the kernel closes them.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let Ok(message) = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
        else {
            break;
        };
        let sender = message.cmsgs().ok().and_then(|mut cmsgs| {
            cmsgs.find_map(|cmsg| match cmsg {
                ControlMessageOwned::ScmCredentials(creds) => Some(creds.pid()),
                _ => None,
            })
        });
        let length = message.bytes;
        if sender == Some(leader.as_raw()) {
            all.extend(parse(&String::from_utf8_lossy(&bytes[..length])));
        }
    }
    all
}

/// `READY=1` and `STOPPING=1` outweigh a status in the same message.
fn parse(text: &str) -> Vec<Told> {
    let has = |line| text.lines().any(|is| is == line);
    let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
    let extended = value("EXTEND_TIMEOUT_USEC=").and_then(|usec| usec.parse().ok());
    let mut all: Vec<_> = extended
        .map(|usec| Told::Extend(Duration::from_micros(usec)))
        .into_iter()
        .collect();
    if has("READY=1") {
        all.push(Told::Ready);
    } else if has("STOPPING=1") {
        all.push(Told::Stopping);
    } else if let Some(status) = value("STATUS=") {
        all.push(Told::Status(printable(status, 200)));
    }
    all
}

/// How long a message waits for a systemd that is busy, `READY=1` excepted: a unit would never become active without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the host's systemd, when it listens. Without it nobody waits, so failure is no error.
pub fn tell(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let patience = (!text.starts_with("READY=1")).then_some(PATIENCE);
        let _ = socket.set_write_timeout(patience);
        let _ = socket.send_to_addr(text.as_bytes(), &address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let status = |text: &str| Told::Status(text.into());
        let extend = |usec| Told::Extend(Duration::from_micros(usec));
        for (text, want) in [
            ("STATUS=x\nREADY=1", vec![Told::Ready]),
            ("READY=10", vec![]),
            ("STATUS=a\u{1b}[2Jb", vec![status("a[2Jb")]),
            ("X_SYSTEMD_SIGNALS_LEVEL=2", vec![]),
            ("STOPPING=1\nSTATUS=x", vec![Told::Stopping]),
            ("MAINPID=1", vec![]),
            (
                "STATUS=x\nEXTEND_TIMEOUT_USEC=7",
                vec![extend(7), status("x")],
            ),
            ("EXTEND_TIMEOUT_USEC=18446744073709551616", vec![]),
            ("EXTEND_TIMEOUT_USEC=-1", vec![]),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
