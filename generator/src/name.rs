//! Names of containers, of their instances and of their units.
//!
//! Owns the rule; knows nothing about files. `PREFIX@INSTANCE` is one of several containers made from the template
//! `PREFIX@`; its unit `skep@PREFIX@INSTANCE.service` is an instance of `skep@.service` to systemd too, which reads the
//! first `@` only. The launcher's `is_name` is the same rule.

/// Longest name: a host name of Linux.
const MAX: usize = 64;

/// Names that machined and tools that talk to it give to the host itself.
const RESERVED: [&str; 3] = ["host", "localhost", ".host"];

/// Checks a container name.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a container needs a name".into());
    }
    if RESERVED.contains(&name) {
        return Err(format!(
            "\"{name}\" means the host itself; choose another name"
        ));
    }
    if name.len() > MAX {
        return Err(format!(
            "the name has {} characters, {MAX} are allowed",
            name.len()
        ));
    }
    match name.split_once('@') {
        None => check_part("a container's name", name),
        Some((_, "")) => Err(format!(
            "{name} is a template, which is no container; name an instance of it: {name}1"
        )),
        Some((prefix, instance)) => {
            check_part("the name of a template", prefix)?;
            check_part("the name of an instance", instance)
        }
    }
}

/// Checks the name of a template, with its `@`.
///
/// # Errors
/// What is wrong with it.
pub fn check_template(template: &str) -> Result<(), String> {
    // The shortest instance must still have a valid name.
    check(&format!("{template}0"))
}

fn check_part(what: &str, part: &str) -> Result<(), String> {
    if !part.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("{what} starts with a letter A-Z, a-z or a digit"));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !part.bytes().all(known) {
        return Err(format!(
            "{what} has only the characters A-Z, a-z, 0-9, \".\", \"_\" and \"-\""
        ));
    }
    Ok(())
}

/// Prefix and instance of a name that has both.
pub fn instance(name: &str) -> Option<(&str, &str)> {
    name.split_once('@')
        .filter(|(_, instance)| !instance.is_empty())
}

/// Unit of container `name`.
pub fn unit(name: &str) -> String {
    format!("skep@{name}.service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule() {
        let longest = "a".repeat(64);
        for good in [
            "a",
            "0",
            "web",
            "Web-1.2_x",
            "a.",
            "a@b",
            "shop-web@blue.1",
            longest.as_str(),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in [
            "",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "host",
            "localhost",
            ".host",
            "a@",
            "@a",
            "a@b@c",
            "a@-b",
            "a@b c",
            "\u{e4}",
            "a\n",
            &too_long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(check_template("web@"), Ok(()));
        assert!(check_template("-web@").is_err());
        assert!(check_template(&format!("{longest}@")).is_err());
    }

    #[test]
    fn instances() {
        assert_eq!(instance("web@1"), Some(("web", "1")));
        assert_eq!(instance("web@"), None);
        assert_eq!(instance("web"), None);
    }
}
