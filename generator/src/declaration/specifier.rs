//! Specifiers: `%i` and its like in values.
//!
//! Owns their meaning, that of systemd.unit(5) for the unit `skep@NAME.service`. D-Bus properties are not expanded by
//! systemd, so what reaches a unit is expanded here too. Two deviations, because a declaration's own name says more than
//! the unit's: `%j` is the container's name, and in an instance of a template `%p`, `%i` and `%j` are those of
//! `PREFIX@INSTANCE`, and not of `skep@PREFIX@INSTANCE`.

use std::borrow::Cow;

use super::Facts;
use crate::name;

/// Letters and what they stand for, for help.
pub const SPECIFIERS: [(char, &str); 18] = [
    ('n', "full unit name, skep@NAME.service"),
    ('N', "unit name without suffix, skep@NAME"),
    (
        'p',
        "prefix of the unit name, skep; of an instance web@1: web",
    ),
    ('i', "container name; of an instance web@1: 1"),
    ('j', "container name; of an instance shop-web@1: web"),
    ('m', "machine id of the host"),
    ('b', "boot id of the host"),
    ('H', "host name of the host"),
    ('l', "host name up to the first dot"),
    ('v', "kernel release"),
    ('t', "runtime directory, /run"),
    ('S', "state directory, /var/lib"),
    ('C', "cache directory, /var/cache"),
    ('L', "log directory, /var/log"),
    ('E', "configuration directory, /etc"),
    ('T', "temporary directory, /tmp"),
    ('V', "larger temporary directory, /var/tmp"),
    ('%', "a percent sign"),
];

/// Expands the specifiers of `text` for container `container`.
///
/// # Errors
/// An unknown specifier, or one whose value this host does not have.
pub(crate) fn expand<'a>(
    text: &'a str,
    container: &str,
    facts: &Facts,
) -> Result<Cow<'a, str>, String> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(letter) = chars.next() else {
            return Err("a single % at the end; write %% for a percent sign".into());
        };
        out.push_str(&meaning(letter, container, facts)?);
    }
    Ok(Cow::Owned(out))
}

fn meaning<'a>(letter: char, container: &'a str, facts: &'a Facts) -> Result<Cow<'a, str>, String> {
    let (prefix, instance) = name::instance(container).unwrap_or(("skep", container));
    let fixed = match letter {
        'n' => return Ok(Cow::Owned(name::unit(container))),
        'N' => return Ok(Cow::Owned(format!("skep@{container}"))),
        'i' => instance,
        'j' if instance == container => container,
        'j' => prefix.rsplit('-').next().unwrap_or(prefix),
        'm' => facts
            .machine_id
            .as_deref()
            .ok_or("%m: this host has no machine id")?,
        'b' => &facts.boot_id,
        'H' => &facts.hostname,
        'l' => facts.hostname.split('.').next().unwrap_or_default(),
        'v' => &facts.kernel,
        'p' => prefix,
        't' => "/run",
        'S' => "/var/lib",
        'C' => "/var/cache",
        'L' => "/var/log",
        'E' => "/etc",
        'T' => "/tmp",
        'V' => "/var/tmp",
        '%' => "%",
        other => {
            return Err(format!(
                "unknown specifier %{other}; write %% for a percent sign"
            ));
        }
    };
    Ok(Cow::Borrowed(fixed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn meanings() {
        let facts = Facts {
            systemd: None,
            hostname: "big.example.org".into(),
            machine_id: Some("a".repeat(32)),
            boot_id: "b".repeat(32),
            kernel: "6.1.0".into(),
        };
        let cases = [
            ("plain", "plain"),
            ("%n %N %p %i %j", "skep@web.service skep@web skep web web"),
            ("%H %l %v", "big.example.org big 6.1.0"),
            (
                "%t%S%C%L%E%T%V",
                "/run/var/lib/var/cache/var/log/etc/tmp/var/tmp",
            ),
            ("50%% %%i", "50% %i"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, "web", &facts).unwrap(), expected);
        }
        assert_eq!(
            expand("%n %N %p %i %j", "shop-web@1", &facts).unwrap(),
            "skep@shop-web@1.service skep@shop-web@1 shop-web 1 web"
        );
        for (text, expected) in [("%q", "%q"), ("50%", "%%"), ("% x", "unknown specifier % ")] {
            assert!(
                expand(text, "web", &facts).unwrap_err().contains(expected),
                "{text}"
            );
        }
        for (letter, _) in SPECIFIERS {
            assert!(meaning(letter, "web", &facts).is_ok(), "{letter}");
        }
        let none = Facts {
            machine_id: None,
            ..facts
        };
        assert!(expand("%m", "web", &none).is_err());
    }
}
