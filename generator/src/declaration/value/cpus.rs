//! Lists of CPUs and memory nodes.

use super::number;
use crate::problem::quoted;

/// Highest number: the kernel's limit of CPUs.
const MAX: usize = 8191;

/// `0-3,8` or `0 1 2` as a bit mask, lowest byte first.
pub(crate) fn mask(text: &str) -> Result<Vec<u8>, String> {
    let mut mask = Vec::new();
    for part in text.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, 0, MAX)?, number(last, 0, MAX)?);
        if first > last {
            return Err(format!("the range {} runs backwards", quoted(part)));
        }
        for bit in first..=last {
            if mask.len() <= bit / 8 {
                mask.resize(bit / 8 + 1, 0u8);
            }
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    if mask.is_empty() {
        return Err(format!("no numbers in {}; write as 0-3,8", quoted(text)));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let cases: [(&str, &[u8]); 4] = [
            ("0", &[1]),
            ("0-3,8", &[0x0f, 1]),
            ("1 2", &[6]),
            ("7-9", &[0x80, 3]),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", ",", "3-1", "a", "-1", "1-", "8192", "0-99999999"] {
            assert!(mask(bad).is_err(), "{bad}");
        }
    }
}
