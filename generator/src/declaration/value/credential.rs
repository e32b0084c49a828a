//! Credentials, systemd.exec(5): what the unit is given and skep hands to the container.

use super::{path, survives_reload};
use crate::base64;
use crate::declaration::words;
use crate::problem::quoted;

/// Longest name.
const MAX_NAME: usize = 255;

/// `ID` or `ID:PATH`: a file of the host, or a credential that the host itself was given.
pub(crate) fn load(text: &str) -> Result<(String, String), String> {
    let (id, source) = text.split_once(':').unwrap_or((text, text));
    let id = name(id)?;
    if !source.starts_with('/') {
        let source = name(source).map_err(|_| {
            format!(
                "{} is neither an absolute path nor the name of a credential of the host",
                quoted(source)
            )
        })?;
        return Ok((id, source));
    }
    let source = path::absolute("the path", source)?
        .to_string_lossy()
        .into_owned();
    survives_reload("the path", &source, &['\n', '%', '\\', '"', '\''])?;
    Ok((id, source))
}

/// `ID:TEXT` with C escapes.
pub(crate) fn set(text: &str) -> Result<(String, Vec<u8>), String> {
    let (id, data) = parts(text)?;
    let bytes = words::unescape(data)?;
    if bytes.ends_with(b" ") {
        return Err(format!(
            "the credential {id} ends in a blank, which systemd does not keep over a reload; use LoadCredential="
        ));
    }
    Ok((id, bytes))
}

/// `ID:BASE64`, as systemd-creds(1) prints it.
pub(crate) fn set_encrypted(text: &str) -> Result<(String, Vec<u8>), String> {
    let (id, data) = parts(text)?;
    match base64::decode(data)? {
        empty if empty.is_empty() => Err(format!("the credential {id} is empty")),
        bytes => Ok((id, bytes)),
    }
}

/// A name, or the beginning of names and `*`.
pub(crate) fn import(text: &str) -> Result<String, String> {
    match text.strip_suffix('*') {
        Some("") => {}
        Some(start) => drop(name(start)?),
        None => drop(name(text)?),
    }
    Ok(text.to_owned())
}

fn parts(text: &str) -> Result<(String, &str), String> {
    match text.split_once(':') {
        Some((id, data)) => Ok((name(id)?, data)),
        None => Err(format!("not ID:VALUE: {}", quoted(text))),
    }
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/:*?[]%\\\"'".contains(&byte);
    if text.is_empty() || matches!(text, "." | "..") || !text.bytes().all(plain) {
        return Err(format!(
            "not the name of a credential: {}; write letters, digits, \".\", \"-\" and \"_\"",
            quoted(text)
        ));
    }
    if text.len() > MAX_NAME {
        return Err(format!(
            "the name of a credential is longer than {MAX_NAME} bytes"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sources() {
        for (text, id, source) in [
            ("tls.key:/etc/tls//key", "tls.key", "/etc/tls/key"),
            ("a:/with space", "a", "/with space"),
            ("a", "a", "a"),
            ("a:b", "a", "b"),
            ("a:/x:y", "a", "/x:y"),
        ] {
            assert_eq!(load(text).unwrap(), (id.to_owned(), source.to_owned()));
        }
        for wrong in [
            "",
            ":",
            "a:",
            "a/b",
            "..",
            "a:../b",
            "a:/x/../y",
            "a b",
            "a:/50%",
        ] {
            assert!(load(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values() {
        let (id, bytes) = set(r"motd:two\x20words\n\xff: \x5c").unwrap();
        assert_eq!(
            (id.as_str(), bytes.as_slice()),
            ("motd", &b"two words\n\xff: \\"[..])
        );
        assert_eq!(set("a:").unwrap().1, b"");
        assert_eq!(set_encrypted("a: Zm9v ").unwrap().1, b"foo");
        for wrong in ["a", ":x", "a:\\q", "a\\", "a:x\\x20"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        for wrong in ["a:", "a:x", "a"] {
            assert!(set_encrypted(wrong).is_err(), "{wrong}");
        }
        for (text, good) in [
            ("tls.*", true),
            ("*", true),
            ("a", true),
            ("a*b", false),
            ("", false),
        ] {
            assert_eq!(import(text).is_ok(), good, "{text}");
        }
    }
}
