//! What an attached console and the supervisor tell each other: one message per packet of a SOCK_SEQPACKET socket, its kind
//! in the first byte. Numbers are little-endian.

use crate::sys::pty::Size;

/// Of this exchange: an upgraded launcher may meet the supervisor of an earlier one.
const VERSION: u8 = 1;

/// Bytes of the console in one packet.
pub(crate) const CHUNK: usize = 8192;

/// Longest packet towards the supervisor.
pub(crate) const INPUT_LIMIT: usize = 1024;

/// First byte of a packet with output.
pub(crate) const OUTPUT: u8 = b'O';

const HELLO: u8 = b'H';
const INPUT: u8 = b'I';
const SIZE: u8 = b'S';
const DONE: u8 = b'D';
const READS: u8 = b'R';
const WRITES: u8 = b'W';
const SKIPPED: u8 = b'L';
const REBOOTS: u8 = b'B';
const ENDED: u8 = b'E';
const REFUSED: u8 = b'X';

/// What somebody who attaches wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To read only.
    Read,
    /// To write as well, as soon as nobody else does.
    Write,
    /// To go on writing after a reboot of the guest.
    Resume,
}

/// To the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// The first one: the wish and the size of the terminal, if it has one.
    Hello(Wish, Option<Size>),
    /// To be written to the console.
    Input(&'a [u8]),
    /// The terminal has another size.
    Resize(Size),
    /// Nothing will be written any more.
    Done,
}

/// From the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    /// What the guest wrote.
    Output(&'a [u8]),
    /// What you write reaches the guest.
    Writes,
    /// You only read; process `writer` writes, or nobody (0).
    Reads {
        /// Its PID.
        writer: u32,
    },
    /// So many bytes were left out, because you did not take them.
    Skipped(u64),
    /// The guest boots again; attach anew.
    Reboots,
    /// The container has ended.
    Ended,
    /// Why you are not attached.
    Refused(&'a str),
}

impl<'a> Request<'a> {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Request::Hello(wish, size) => {
                let wish = match wish {
                    Wish::Read => 0,
                    Wish::Write => 1,
                    Wish::Resume => 2,
                };
                let mut packet = vec![HELLO, VERSION, wish];
                push_size(&mut packet, size);
                packet
            }
            Request::Input(bytes) => [&[INPUT], bytes].concat(),
            Request::Resize(size) => {
                let mut packet = vec![SIZE];
                push_size(&mut packet, Some(size));
                packet
            }
            Request::Done => vec![DONE],
        }
    }

    pub(crate) fn decode(packet: &'a [u8]) -> Option<Request<'a>> {
        match packet {
            [HELLO, VERSION, wish, size @ ..] => {
                let wish = match wish {
                    0 => Wish::Read,
                    1 => Wish::Write,
                    2 => Wish::Resume,
                    _ => return None,
                };
                Some(Request::Hello(wish, size_of(size)?))
            }
            [INPUT, bytes @ ..] => Some(Request::Input(bytes)),
            [SIZE, size @ ..] => size_of(size)?.map(Request::Resize),
            [DONE] => Some(Request::Done),
            _ => None,
        }
    }
}

/// No terminal, or one that never was told its size, has 0 lines.
fn push_size(packet: &mut Vec<u8>, size: Option<Size>) {
    let (rows, columns) = size.map_or((0, 0), |size| (size.rows, size.columns));
    packet.extend(rows.to_le_bytes());
    packet.extend(columns.to_le_bytes());
}

fn size_of(bytes: &[u8]) -> Option<Option<Size>> {
    let [a, b, c, d] = *bytes else { return None };
    let size = Size {
        rows: u16::from_le_bytes([a, b]),
        columns: u16::from_le_bytes([c, d]),
    };
    Some((size.rows != 0 && size.columns != 0).then_some(size))
}

impl<'a> Notice<'a> {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Notice::Output(bytes) => [&[OUTPUT], bytes].concat(),
            Notice::Writes => vec![WRITES],
            Notice::Reads { writer } => [&[READS][..], &writer.to_le_bytes()].concat(),
            Notice::Skipped(bytes) => [&[SKIPPED][..], &bytes.to_le_bytes()].concat(),
            Notice::Reboots => vec![REBOOTS],
            Notice::Ended => vec![ENDED],
            Notice::Refused(why) => [&[REFUSED], why.as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(packet: &'a [u8]) -> Option<Notice<'a>> {
        match packet {
            [OUTPUT, bytes @ ..] => Some(Notice::Output(bytes)),
            [WRITES] => Some(Notice::Writes),
            [READS, pid @ ..] => Some(Notice::Reads {
                writer: u32::from_le_bytes(pid.try_into().ok()?),
            }),
            [SKIPPED, bytes @ ..] => {
                Some(Notice::Skipped(u64::from_le_bytes(bytes.try_into().ok()?)))
            }
            [REBOOTS] => Some(Notice::Reboots),
            [ENDED] => Some(Notice::Ended),
            [REFUSED, why @ ..] => Some(Notice::Refused(std::str::from_utf8(why).ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let size = Size {
            rows: 300,
            columns: 80,
        };
        for request in [
            Request::Hello(Wish::Read, None),
            Request::Hello(Wish::Write, Some(size)),
            Request::Hello(Wish::Resume, None),
            Request::Input(b"ls\n"),
            Request::Input(b""),
            Request::Resize(size),
            Request::Done,
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for notice in [
            Notice::Output(b"\xff"),
            Notice::Writes,
            Notice::Reads { writer: 70000 },
            Notice::Skipped(1 << 40),
            Notice::Reboots,
            Notice::Ended,
            Notice::Refused("no"),
        ] {
            assert_eq!(Notice::decode(&notice.encode()), Some(notice));
        }
    }

    #[test]
    fn junk_is_refused() {
        let junk: [&[u8]; 8] = [
            b"",
            b"?",
            b"H",
            b"H\x02\x00\0\0\0\0",
            b"H\x01\x03\0\0\0\0",
            b"S\0\0\0\0",
            b"S\0",
            b"Dx",
        ];
        for packet in junk {
            assert_eq!(Request::decode(packet), None, "{}", packet.escape_ascii());
        }
        for packet in [&b""[..], b"R\0", b"L\0", b"X\xff", b"Wx"] {
            assert_eq!(Notice::decode(packet), None, "{}", packet.escape_ascii());
        }
    }
}
