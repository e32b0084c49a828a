//! Absolute paths.

use std::path::PathBuf;

use crate::problem::quoted;

/// PATH_MAX without the final NUL.
const MAX: usize = 4095;
/// NAME_MAX.
const MAX_NAME: usize = 255;

/// An absolute path with `//` and `.` removed. `what` names it in messages.
pub(crate) fn absolute(what: &str, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if !text.starts_with('/') {
        return Err(format!("{what} is not absolute: {}", quoted(text)));
    }
    if text.contains('\0') {
        return Err(format!("{what} contains a NUL byte"));
    }
    let mut path = PathBuf::from("/");
    for name in text
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
    {
        if name == ".." {
            return Err(format!("{what} contains \"..\": {}", quoted(text)));
        }
        if name.len() > MAX_NAME {
            return Err(format!(
                "{what} has a name longer than {MAX_NAME} bytes: {}",
                quoted(text)
            ));
        }
        path.push(name);
    }
    if path.as_os_str().len() > MAX {
        return Err(format!("{what} is longer than {MAX} bytes"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn normalised() {
        for (text, expected) in [
            ("/", "/"),
            ("//a/./b//", "/a/b"),
            ("/a b", "/a b"),
            ("/...", "/..."),
            ("/.", "/"),
        ] {
            assert_eq!(
                absolute("path", text).as_deref(),
                Ok(Path::new(expected)),
                "{text}"
            );
        }
        let long = format!("/{}", "a".repeat(256));
        let deep = "/abcdefghi".repeat(410);
        for (text, expected) in [
            ("", "source is empty"),
            ("a/b", "source is not absolute: \"a/b\""),
            ("/a/../b", "source contains \"..\""),
            (long.as_str(), "longer than 255"),
            (deep.as_str(), "longer than 4095"),
            ("/a\0b", "NUL"),
        ] {
            assert!(
                absolute("source", text).is_err_and(|message| message.contains(expected)),
                "{text}"
            );
        }
    }
}
