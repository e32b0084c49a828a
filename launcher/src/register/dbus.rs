//! org.freedesktop.machine1 over D-Bus, as far as two calls need it: the client sends authentication, Hello and its call
//! in one piece, and reads until the reply to the call. The D-Bus specification describes the messages.

use super::{Answer, Machine};

/// The system bus.
pub(super) const SOCKET: &str = "/run/dbus/system_bus_socket";

/// Serial number of the call; Hello has 1.
const SERIAL: u32 = 2;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// RegisterMachineWithNetwork, which every supported version has: name, id, service, class, leader, root, interfaces.
pub(super) fn register(machine: &Machine) -> Vec<u8> {
    let id: Vec<u8> = (0..16)
        .filter_map(|at| u8::from_str_radix(machine.id.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    let mut body = Vec::new();
    string(&mut body, &machine.name);
    word(&mut body, length(&id));
    body.extend(&id);
    string(&mut body, "skep");
    string(&mut body, "container");
    word(&mut body, machine.leader);
    string(&mut body, &machine.root);
    word(&mut body, 0);
    call("RegisterMachineWithNetwork", "sayssusai", &body)
}

pub(super) fn unregister(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, name);
    call("UnregisterMachine", "s", &body)
}

fn call(member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
    // "30" is user id 0 in hex. The kernel tells the bus who really asks.
    let mut bytes = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n".to_vec();
    let bus = "org.freedesktop.DBus";
    let hello = [
        (PATH, "o", "/org/freedesktop/DBus"),
        (INTERFACE, "s", bus),
        (MEMBER, "s", "Hello"),
        (DESTINATION, "s", bus),
    ];
    bytes.extend(message(1, &hello, &[]));
    let machined = [
        (PATH, "o", "/org/freedesktop/machine1"),
        (INTERFACE, "s", "org.freedesktop.machine1.Manager"),
        (MEMBER, "s", member),
        (DESTINATION, "s", "org.freedesktop.machine1"),
        (SIGNATURE, "g", signature),
    ];
    bytes.extend(message(SERIAL, &machined, body));
    bytes
}

fn message(serial: u32, fields: &[(u8, &str, &str)], body: &[u8]) -> Vec<u8> {
    let mut array = Vec::new();
    for (code, kind, value) in fields {
        pad(&mut array, 8);
        array.push(*code);
        short_string(&mut array, kind);
        match *kind {
            "g" => short_string(&mut array, value),
            _ => string(&mut array, value),
        }
    }
    // Little endian, a call, no flags, protocol version 1. The array starts at a multiple of 8.
    let mut bytes = vec![b'l', CALL, 0, 1];
    word(&mut bytes, length(body));
    word(&mut bytes, serial);
    word(&mut bytes, length(&array));
    bytes.extend(array);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

fn word(bytes: &mut Vec<u8>, value: u32) {
    pad(bytes, 4);
    bytes.extend(value.to_le_bytes());
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    word(bytes, length(text.as_bytes()));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A signature: its length is one byte.
fn short_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap_or(0));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn length(bytes: &[u8]) -> u32 {
    // All of it is a name, an id or a path.
    u32::try_from(bytes.len()).unwrap_or(0)
}

pub(super) fn answer(received: &[u8]) -> Option<Answer> {
    let line = received.windows(2).position(|pair| pair == b"\r\n")?;
    if !received.starts_with(b"OK ") {
        return Some(Answer::Unknown);
    }
    let mut rest = &received[line + 2..];
    loop {
        let (kind, fields, length) = header(rest)?;
        let message = rest.get(..length)?;
        if let Some(answer) = reply(kind, message, fields) {
            return Some(answer);
        }
        rest = &rest[length..];
    }
}

/// Type, end of the header fields and length of the message that starts here; `None` while it is not whole. A message
/// that no bus sends counts as one that never becomes whole, so the caller's limit ends it.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let fields = 16 + usize::try_from(read_word(bytes, 12)?).ok()?;
    let body = usize::try_from(read_word(bytes, 4)?).ok()?;
    let length = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (bytes.first() == Some(&b'l')).then_some((bytes[1], fields, length))
}

fn read_word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// What the message says about our call, if it is the reply to it.
fn reply(kind: u8, message: &[u8], end: usize) -> Option<Answer> {
    let (mut at, mut ours, mut error) = (16, false, String::new());
    while at < end {
        let code = *message.get(at)?;
        let signature = usize::from(*message.get(at + 1)?);
        let kind = *message.get(at + 2)?;
        let value = at + 3 + signature;
        at = match kind {
            b'u' => {
                let value = value.next_multiple_of(4);
                ours |= code == REPLY_SERIAL && read_word(message, value)? == SERIAL;
                value + 4
            }
            b'g' => value + 2 + usize::from(*message.get(value)?),
            b's' | b'o' => {
                let value = value.next_multiple_of(4);
                let text = value + 4;
                let length = usize::try_from(read_word(message, value)?).ok()?;
                if code == ERROR_NAME {
                    error = String::from_utf8_lossy(message.get(text..text + length)?).into_owned();
                }
                text + length + 1
            }
            _ => return None,
        }
        .next_multiple_of(8);
    }
    match (ours, kind) {
        (true, RETURN) => Some(Answer::Done),
        (true, ERROR) => Some(match error.as_str() {
            "org.freedesktop.machine1.MachineExists" => Answer::Exists,
            // There is no machined, or it may not be started.
            name if name.starts_with("org.freedesktop.DBus.")
                || name.starts_with("org.freedesktop.systemd1.") =>
            {
                Answer::Unknown
            }
            _ => Answer::Refused(error),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply as a bus sends it: our own message with another type and the serial it answers.
    fn made(kind: u8, serial: u32, error: &str) -> Vec<u8> {
        let mut array = Vec::new();
        array.extend([REPLY_SERIAL, 1, b'u', 0]);
        word(&mut array, serial);
        if !error.is_empty() {
            array.extend([ERROR_NAME, 1, b's', 0]);
            string(&mut array, error);
        }
        let mut bytes = vec![b'l', kind, 0, 1];
        word(&mut bytes, 0);
        word(&mut bytes, 77);
        word(&mut bytes, length(&array));
        bytes.extend(array);
        pad(&mut bytes, 8);
        bytes
    }

    #[test]
    fn the_reply_to_the_call_counts_whenever_it_is_whole() {
        let exists = "org.freedesktop.machine1.MachineExists";
        for (kind, error, want) in [
            (RETURN, "", Answer::Done),
            (ERROR, exists, Answer::Exists),
            (ERROR, "org.x", Answer::Refused("org.x".into())),
        ] {
            let mut all = b"OK 1234\r\n".to_vec();
            all.extend(made(RETURN, 1, ""));
            all.extend(made(kind, SERIAL, error));
            for cut in 0..all.len() {
                assert_eq!(answer(&all[..cut]), None, "{cut}");
            }
            assert_eq!(answer(&all), Some(want));
        }
        assert_eq!(answer(b"REJECTED EXTERNAL\r\n"), Some(Answer::Unknown));
    }

    #[test]
    fn damaged_replies_end_nothing() {
        let mut all = b"OK 1234\r\n".to_vec();
        all.extend(made(ERROR, SERIAL, "org.x"));
        for at in 9..all.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = all.clone();
                damaged[at] = byte;
                let _ = answer(&damaged);
            }
        }
    }

    #[test]
    fn messages_are_aligned() {
        let machine = Machine {
            name: "web".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            leader: 42,
            root: "/var/lib/machines/web".into(),
        };
        let bytes = register(&machine);
        let start = bytes
            .windows(7)
            .position(|part| part == b"BEGIN\r\n")
            .unwrap()
            + 7;
        let (kind, _, hello) = header(&bytes[start..]).unwrap();
        assert_eq!((kind, hello % 8), (CALL, 0));
        let (_, _, length) = header(&bytes[start + hello..]).unwrap();
        assert_eq!(start + hello + length, bytes.len());
    }
}
