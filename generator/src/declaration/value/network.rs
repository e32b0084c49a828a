//! Networks: addresses with prefix length, and systemd's names for some.

use std::net::IpAddr;

use super::number;
use crate::problem::quoted;

/// Family, address in network order and prefix length, as `a(iayu)` carries it.
pub(crate) type Prefix = (i32, Vec<u8>, u32);

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// The networks of one word: `10.0.0.0/8`, `fd00::/8`, an address, or a name.
pub(crate) fn networks(word: &str) -> Result<Vec<Prefix>, String> {
    let named: &[&str] = match word {
        "any" => &["0.0.0.0/0", "::/0"],
        "localhost" => &["127.0.0.0/8", "::1/128"],
        "link-local" => &["169.254.0.0/16", "fe80::/64"],
        "multicast" => &["224.0.0.0/4", "ff00::/8"],
        _ => return Ok(vec![prefix(word)?]),
    };
    named.iter().map(|network| prefix(network)).collect()
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let wrong = || {
        format!(
            "not a network: {}; write as 10.0.0.0/8, fd00::/8, any or localhost",
            quoted(text)
        )
    };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let (family, mut bytes) = match address.parse().map_err(|_| wrong())? {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let bits = if family == AF_INET { 32 } else { 128 };
    let length = match length {
        Some(length) => {
            number(length, 0, bits).map_err(|message| format!("prefix length {message}"))?
        }
        None => bits,
    };
    let mut left = length;
    for byte in &mut bytes {
        let kept = left.min(8);
        *byte &= u8::try_from(0xff00u32 >> kept & 0xff).unwrap_or(0xff);
        left -= kept;
    }
    Ok((family, bytes, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!(
            networks("10.1.2.3/12"),
            Ok(vec![(2, vec![10, 0, 0, 0], 12)])
        );
        assert_eq!(networks("192.0.2.7"), Ok(vec![(2, vec![192, 0, 2, 7], 32)]));
        assert_eq!(
            networks("any"),
            Ok(vec![(2, vec![0; 4], 0), (10, vec![0; 16], 0)])
        );
        let mut local = vec![0; 16];
        local[0] = 0xfe;
        local[1] = 0x80;
        assert_eq!(networks("fe80::1/10"), Ok(vec![(10, local, 10)]));
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0",
            "example.org",
            "10.0.0.0/-1",
            "10.0.0.0/",
        ] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }
}
