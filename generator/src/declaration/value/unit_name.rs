//! Unit names, and names of declarations used as such.

use crate::declaration::suggest::nearest;
use crate::name;
use crate::problem::quoted;

/// Longest unit name.
const MAX: usize = 255;

const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];

/// A unit name. `web.container` stands for the unit of that container.
pub(crate) fn unit(text: &str) -> Result<String, String> {
    if let Some(container) = text.strip_suffix(".container") {
        name::check(container).map_err(|message| format!("{}: {message}", quoted(text)))?;
        return Ok(name::unit(container));
    }
    let wrong = |why: String| Err(format!("not a unit name: {}; {why}", quoted(text)));
    let Some((stem, suffix)) = text.rsplit_once('.') else {
        return wrong(format!(
            "it has no suffix; write {text}.service, {text}.target or, for a container, {text}.container"
        ));
    };
    if !SUFFIXES.contains(&suffix) {
        return match nearest(suffix, SUFFIXES.into_iter().chain(["container"])) {
            Some(near) => wrong(format!("did you mean {stem}.{near}?")),
            None => wrong(format!("the suffix .{suffix} is none of a unit")),
        };
    }
    if text.len() > MAX {
        return wrong(format!("longer than {MAX} characters"));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if let Some(c) = text.chars().find(|c| !valid(*c)) {
        return wrong(format!("{c:?} cannot stand in one"));
    }
    if stem.is_empty() || stem.starts_with('@') {
        return wrong("nothing stands before the suffix".into());
    }
    if stem.ends_with('@') {
        return wrong("a template has no instance; write it behind the @".into());
    }
    Ok(text.to_owned())
}

/// The name of a slice.
pub(crate) fn slice(text: &str) -> Result<String, String> {
    let name = unit(text)?;
    let Some(stem) = name.strip_suffix(".slice") else {
        return Err(format!(
            "not a slice: {}; its name ends in .slice",
            quoted(text)
        ));
    };
    if stem != "-"
        && (stem.starts_with('-')
            || stem.ends_with('-')
            || stem.contains("--")
            || stem.contains('@'))
    {
        return Err(format!(
            "not a slice: {}; every - separates a parent from its child",
            quoted(text)
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for good in [
            "a.service",
            "a@b.service",
            "dev-sda\\x2d1.device",
            "network-online.target",
            "-.slice",
            "a.b.mount",
        ] {
            assert_eq!(unit(good).as_deref(), Ok(good), "{good}");
        }
        assert_eq!(unit("web.container").as_deref(), Ok("skep@web.service"));
        assert_eq!(unit("web@1.container").as_deref(), Ok("skep@web@1.service"));
        let cases = [
            (
                "web",
                "write web.service, web.target or, for a container, web.container",
            ),
            ("web.servce", "did you mean web.service?"),
            ("web.txt", "suffix .txt"),
            ("a b.service", "' '"),
            ("\u{e4}.service", "'\u{e4}'"),
            (".service", "nothing stands before"),
            ("a@.service", "template"),
            ("@a.service", "nothing stands before"),
            ("-x.container", "starts with"),
            ("a@.container", "is a template"),
        ];
        for (bad, expected) in cases {
            assert!(
                unit(bad).is_err_and(|message| message.contains(expected)),
                "{bad}"
            );
        }
        assert!(unit(&format!("{}.service", "a".repeat(250))).is_err());
    }

    #[test]
    fn slices() {
        for good in ["machine.slice", "a-b.slice", "-.slice"] {
            assert_eq!(slice(good).as_deref(), Ok(good));
        }
        for bad in [
            "machine",
            "a.service",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "a@b.slice",
            "x.container",
        ] {
            assert!(slice(bad).is_err(), "{bad}");
        }
    }
}
