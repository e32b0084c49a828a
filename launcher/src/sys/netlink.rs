//! A blocking rtnetlink socket and the few bytes that its messages are made of: rtnetlink(7), netlink(7).
//!
//! One request at a time. What a message means is the caller's business; here it is a header and attributes.
//!
//! A socket may be in a container's namespace, whose root may send to it: it is connected to the kernel, so that nothing
//! else arrives.

use std::fmt;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recvmsg, send,
    socket,
};

use super::check;

/// Room for one answer: the kernel sends no longer ones.
const ANSWER: usize = 64 << 10;

/// Most messages of one listing.
const MOST: usize = 1 << 16;

/// Length of nlmsghdr.
const HEADER: usize = 16;

/// A listing during which something changed is begun anew, but not for ever.
const LISTINGS: usize = 10;

// netlink.h, what libc lacks.
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;

/// What the kernel did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number for the reason.
    pub errno: Errno,
    /// Its words, when it has any.
    pub said: Option<String>,
}

/// An answer of the kernel.
pub type Result<T> = std::result::Result<T, Refused>;

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused { errno, said: None }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Some(said) => write!(f, "{}: {said}", self.errno),
            None => self.errno.fmt(f),
        }
    }
}

/// A request: a fixed header of its family, then attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
}

/// A place in a request where a nested attribute began.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Nest(usize);

impl Request {
    /// A request of type `kind`, with this fixed part.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Request {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and port, both the socket's.
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        let mut request = Request { bytes };
        request.pad();
        request
    }

    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Request {
        let nest = self.open(kind);
        self.bytes.extend(value);
        self.close(nest)
    }

    /// Adds an attribute that is a number.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Request {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute that is text, with the NUL that ends it.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Request {
        let nest = self.open(kind);
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
        self.close(nest)
    }

    /// Begins an attribute that holds others.
    pub fn open(&mut self, kind: u16) -> Nest {
        let nest = Nest(self.bytes.len());
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        nest
    }

    /// Adds bytes that are no attribute: some nested ones begin with a header.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Request {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// Ends an attribute.
    pub fn close(&mut self, nest: Nest) -> &mut Request {
        let length = (self.bytes.len() - nest.0) as u16;
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
        self
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn numbered(&self, sequence: u32, more: i32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | more as u16;
        bytes[0..4].copy_from_slice(&(self.bytes.len() as u32).to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }
}

/// One message of an answer, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// The number of four bytes at `at` of the fixed part.
    pub fn u32_at(&self, at: usize) -> u32 {
        number(&self.0, at)
    }

    /// The byte at `at` of the fixed part.
    pub fn u8_at(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The attributes after a fixed part of `fixed` bytes.
    pub fn attributes(&self, fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
        Attributes(self.0.get(fixed..).unwrap_or_default())
    }
}

/// The attributes in these bytes, as a nested attribute has them.
pub fn nested(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    Attributes(bytes)
}

/// A number of four bytes; 0 when there are fewer.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_ne_bytes)
}

/// Text up to its NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        // The two highest bits are flags.
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A socket to the routing tables and links of one network namespace, whatever namespace its holder is in later.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: std::cell::Cell<u32>,
}

impl Socket {
    /// Of this process's network namespace.
    pub fn open() -> nix::Result<Socket> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // A kernel without them says less about errors: before 4.12 and 4.3.
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            let _ = switch_on(fd.as_fd(), option);
        }
        Ok(Socket {
            fd,
            sequence: std::cell::Cell::new(0),
        })
    }

    /// A kernel that is a test's.
    #[cfg(test)]
    pub(crate) fn of(fd: OwnedFd) -> Socket {
        Socket {
            fd,
            sequence: std::cell::Cell::new(0),
        }
    }

    /// Of the network namespace `target`. The one thread of this process is there for a moment.
    pub fn open_in(target: BorrowedFd) -> nix::Result<Socket> {
        within(target, Socket::open)?
    }

    /// Sends a request and waits until it is done.
    pub fn ask(&self, request: &Request) -> Result<()> {
        self.talk(request, libc::NLM_F_ACK).map(drop)
    }

    /// Sends a request that has one answer.
    pub fn look(&self, request: &Request) -> Result<Answer> {
        let answers = self.talk(request, libc::NLM_F_ACK)?;
        let first = answers.into_iter().next();
        first.ok_or_else(|| Errno::ENODATA.into())
    }

    /// All objects of a kind.
    pub fn list(&self, request: &Request) -> Result<Vec<Answer>> {
        let mut last = Errno::EINTR.into();
        for _ in 0..LISTINGS {
            match self.talk(request, libc::NLM_F_DUMP) {
                // The list changed meanwhile.
                Err(refused) if refused.errno == Errno::EINTR => last = refused,
                done => return done,
            }
        }
        Err(last)
    }

    fn talk(&self, request: &Request, flags: i32) -> Result<Vec<Answer>> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let bytes = request.numbered(sequence, flags);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut taking = Taking {
            sequence,
            answers: Vec::new(),
            changed: false,
        };
        let mut buffer = vec![0; ANSWER];
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let socket = self.fd.as_raw_fd();
            let (length, cut) = match recvmsg::<()>(socket, &mut parts, None, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other.map(|got| (got.bytes, got.flags))?,
            };
            if cut.contains(MsgFlags::MSG_TRUNC) {
                return Err(Errno::EMSGSIZE.into());
            }
            if taking.take(buffer.get(..length).unwrap_or_default())? {
                return match taking.changed {
                    true => Err(Errno::EINTR.into()),
                    false => Ok(taking.answers),
                };
            }
            if taking.answers.len() > MOST {
                return Err(Errno::EMSGSIZE.into());
            }
        }
    }
}

fn switch_on(socket: BorrowedFd, option: libc::c_int) -> nix::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: setsockopt(2) reads an int from where `on` lives until it returns; its length is that of an int.
    check(
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Does `work` in the network namespace `target`.
pub fn within<T>(target: BorrowedFd, work: impl FnOnce() -> T) -> nix::Result<T> {
    let own = File::open("/proc/self/ns/net")
        .map_err(|err| err.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    setns(target, CloneFlags::CLONE_NEWNET)?;
    let done = work();
    setns(own.as_fd(), CloneFlags::CLONE_NEWNET)?;
    Ok(done)
}

/// An answer as far as it has come.
struct Taking {
    sequence: u32,
    answers: Vec<Answer>,
    /// Something changed during the listing.
    changed: bool,
}

impl Taking {
    /// Takes the messages of one datagram; true when the answer is complete.
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while bytes.len() >= HEADER {
            let length = number(bytes, 0) as usize;
            let message = bytes.get(HEADER..length).ok_or(Errno::EBADMSG)?;
            let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            let (kind, flags) = (i32::from(half(4)), half(6));
            // An answer to an earlier request that failed half-way.
            let ours = number(bytes, 8) == self.sequence;
            self.changed |= ours && flags & NLM_F_DUMP_INTR != 0;
            match kind {
                _ if !ours => {}
                // Both begin with a number: a listing may fail at its end too.
                libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                    return match number(message, 0).cast_signed() {
                        0.. => Ok(true),
                        code => Err(Refused {
                            errno: Errno::from_raw(code.saturating_neg()),
                            said: (kind == libc::NLMSG_ERROR)
                                .then(|| words(message, flags))
                                .flatten(),
                        }),
                    };
                }
                libc::NLMSG_NOOP => {}
                libc::NLMSG_OVERRUN => return Err(Errno::ENOBUFS.into()),
                _ => self.answers.push(Answer(message.to_vec())),
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// What the kernel says beside the number of an error: after the number comes the request, or only its header.
fn words(message: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = match flags & NLM_F_CAPPED {
        0 => (number(message, 4) as usize).max(HEADER),
        _ => HEADER,
    };
    let at = request.checked_next_multiple_of(4)?.checked_add(4)?;
    let mut attributes = nested(message.get(at..)?);
    let (_, said) = attributes.find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
    Some(crate::log::printable(&text(said), 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_padded_and_nested() {
        let mut request = Request::new(16, libc::NLM_F_CREATE, &[0; 16]);
        let nest = request.open(18);
        request.put_text(1, "veth").close(nest);
        let bytes = request.numbered(7, libc::NLM_F_ACK);
        assert_eq!(number(&bytes, 0) as usize, bytes.len());
        assert_eq!(number(&bytes, 8), 7);
        assert_eq!(bytes.len(), 16 + 16 + 4 + 12);
        assert_eq!(
            &bytes[32..36],
            &[16, 0, 18, 0],
            "padding counts in the nest"
        );
        assert_eq!(&bytes[36..40], &[9, 0, 1, 0], "the NUL counts");
        let (kind, value) = nested(&bytes[32..]).next().unwrap();
        assert_eq!(kind, 18);
        assert_eq!(text(nested(value).next().unwrap().1), "veth");
    }

    #[test]
    fn what_the_kernel_cuts_off_is_no_panic() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 16], &[255; 40]] {
            let _ = taking(1).take(bytes);
            let _ = words(bytes, u16::MAX);
            let _ = words(bytes, NLM_F_ACK_TLVS);
            assert!(nested(bytes).count() < 20);
        }
    }

    fn taking(sequence: u32) -> Taking {
        Taking {
            sequence,
            answers: Vec::new(),
            changed: false,
        }
    }

    fn message(kind: i32, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut request = Request::new(kind as u16, 0, body);
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let mut bytes = request.numbered(sequence, 0);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn errors_have_the_words_of_the_kernel() {
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        let mut attributes = Request::new(0, 0, &[]);
        attributes.put_text(NLMSGERR_ATTR_MSG, "no such master");
        body.extend(&attributes.bytes[HEADER..]);
        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let error = message(libc::NLMSG_ERROR, flags, 3, &body);
        let refused = taking(3).take(&error).unwrap_err();
        assert_eq!(refused.errno, Errno::EINVAL);
        assert_eq!(refused.said.as_deref(), Some("no such master"));
        // An answer to somebody else's question, then none.
        assert_eq!(taking(4).take(&error), Ok(false));
        for end in 0..error.len() {
            let _ = taking(3).take(&error[..end]);
        }
        let refused = taking(1).take(&message(
            libc::NLMSG_DONE,
            0,
            1,
            &(-libc::ENOBUFS).to_ne_bytes(),
        ));
        assert_eq!(refused, Err(Errno::ENOBUFS.into()));
        let mut listing = taking(1);
        assert_eq!(
            listing.take(&message(16, NLM_F_DUMP_INTR, 1, &[0; 16])),
            Ok(false)
        );
        assert!(listing.changed && listing.answers.len() == 1);
    }

    #[test]
    fn loopback_is_listed() {
        let socket = Socket::open().unwrap();
        let all = socket
            .list(&Request::new(libc::RTM_GETLINK, 0, &[0; 16]))
            .unwrap();
        let names = all.iter().flat_map(|answer| answer.attributes(16));
        assert!(
            names
                .into_iter()
                .any(|(kind, value)| kind == libc::IFLA_IFNAME && text(value) == "lo")
        );
    }
}
