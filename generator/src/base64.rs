//! Base64 as of RFC 4648, for encrypted credentials.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes as text, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 0x3f) as usize;
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            out.push(if place <= group.len() { digit } else { b'=' }.into());
        }
    }
    out
}

/// The bytes that a text stands for; blanks are left out of account.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let wrong = || "not base64".to_owned();
    let digits = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    if !text.len().is_multiple_of(4) || text.len() - digits > 2 {
        return Err(wrong());
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in text[..digits].chunks(4) {
        let mut bits = 0u32;
        for place in 0..4 {
            let digit = match group.get(place) {
                Some(byte) => DIGITS
                    .iter()
                    .position(|digit| digit == byte)
                    .ok_or_else(wrong)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(digit).unwrap_or(0);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(&bytes[..group.len() - 1]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes), "{text}");
        }
        assert_eq!(decode(" Zm\n9v ").as_deref(), Ok(&b"foo"[..]));
        for wrong in ["Z", "Zg=", "Zg", "=Zg=", "Z===", "Zm9!", "Zg==Zg=="] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
