//! A stable 64-bit digest (FNV-1a) of anything serialisable.
//!
//! It tells equal from changed between two runs, also across releases and compilers, which `std`'s hashes do not promise.
//! Nothing here defends against collisions made on purpose: only root writes what is hashed.

use std::io;

use serde::Serialize;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the bytes written to it.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Digest {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The digest of everything so far.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Digest of some bytes.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.update(bytes);
    digest.value()
}

/// Digest of the JSON form of a value.
///
/// # Errors
/// When the value has no JSON form, such as a path that is not UTF-8.
pub fn of_value<T: Serialize>(value: &T) -> serde_json::Result<u64> {
    let mut digest = Digest::default();
    serde_json::to_writer(&mut digest, value)?;
    Ok(digest.value())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Published FNV-1a test vectors: the digest must never change, or an upgrade would see every unit as changed.
    #[test]
    fn is_fnv_1a() {
        for (text, want) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(of_bytes(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn values_are_hashed_as_json() {
        assert_eq!(of_value(&["a", "b"]).unwrap(), of_bytes(br#"["a","b"]"#));
    }
}
