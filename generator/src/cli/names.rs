//! Values of the command line, checked while it is parsed.

use crate::name;
use crate::unit::container_of;

/// A container, given as `NAME`, `NAME.container` or, as to systemctl, `skep@NAME` with or without `.service`.
pub(super) fn container(text: &str) -> Result<String, String> {
    let plain = container_of(text)
        .or_else(|| text.strip_prefix("skep@"))
        .or_else(|| text.strip_suffix(".container"))
        .unwrap_or(text);
    // An instance may be called so, but whoever types it means another unit.
    if plain == text && text.contains('@') && text.ends_with(".service") {
        return Err(format!("{text} is not the unit of a container"));
    }
    name::check(plain)?;
    Ok(plain.to_owned())
}

/// `UID` or `UID:GID`. Names are known inside only, where nothing of ours runs.
pub(super) fn identity(text: &str) -> Result<String, String> {
    let is_id = |id: &str| id.parse::<u32>().is_ok_and(|id| id != u32::MAX);
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    match is_id(user) && group.is_none_or(is_id) {
        true => Ok(text.to_owned()),
        false => Err("expected UID or UID:GID, both numbers".to_owned()),
    }
}

/// `UID[:GID]` of a container whose map is known: it has 65536 of each.
pub(super) fn ids(text: &str) -> Result<(u32, u32), String> {
    let id = |id: &str| id.parse().ok().filter(|id| *id < skep_spec::ID_RANGE);
    let pair = match text.split_once(':') {
        Some((user, group)) => id(user).zip(id(group)),
        None => id(text).map(|user| (user, user)),
    };
    pair.ok_or_else(|| "expected UID or UID:GID, numbers below 65536".to_owned())
}

/// An absolute path.
pub(super) fn chdir(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("expected an absolute path".to_owned()),
    }
}

/// `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<String, String> {
    let name = text
        .split_once('=')
        .map(|(name, _)| name)
        .unwrap_or_default();
    let mut characters = name.chars();
    let starts = characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    match starts && characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(text.to_owned()),
        false => Err("expected NAME=VALUE".to_owned()),
    }
}

/// `NAME=VALUE`, or the name of a variable of the caller.
pub(super) fn inherited(text: &str) -> Result<String, String> {
    let whole = match text.contains('=') {
        true => text.to_owned(),
        false => format!("{text}="),
    };
    match variable(&whole) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected NAME=VALUE or NAME".to_owned()),
    }
}

/// A name for a run.
pub(super) fn run_name(text: &str) -> Result<String, String> {
    name::check(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_three_spellings() {
        for text in ["web", "web.container", "skep@web.service", "skep@web"] {
            assert_eq!(container(text), Ok("web".to_owned()), "{text}");
        }
        for text in [
            "web@1",
            "web@1.container",
            "skep@web@1.service",
            "skep@web@1",
        ] {
            assert_eq!(container(text), Ok("web@1".to_owned()), "{text}");
        }
        for text in [
            "",
            "a/b",
            "-x",
            "skep@.service",
            "nginx@web.service",
            "../web",
        ] {
            assert!(container(text).is_err(), "{text}");
        }
    }

    #[test]
    fn identities_are_numbers() {
        for (text, good) in [
            ("0", true),
            ("1000:100", true),
            ("root", false),
            ("1:", false),
            ("4294967295", false),
            ("-1", false),
        ] {
            assert_eq!(identity(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn variables_have_names() {
        for (text, good) in [
            ("A=1", true),
            ("_a1=", true),
            ("A", false),
            ("=1", false),
            ("1A=1", false),
            ("A B=1", false),
        ] {
            assert_eq!(variable(text).is_ok(), good, "{text}");
        }
    }
}
