//! Names of containers and of their units.
//!
//! Owns the rule; knows nothing about files.

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
    if name.contains('@') {
        return Err("templates are not supported: a container's name has no @".into());
    }
    if name.len() > MAX {
        return Err(format!(
            "the name has {} characters, {MAX} are allowed",
            name.len()
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("a container's name starts with a letter A-Z, a-z or a digit".into());
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Err(
            "a container's name has only the characters A-Z, a-z, 0-9, \".\", \"_\" and \"-\""
                .into(),
        );
    }
    Ok(())
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
        for good in ["a", "0", "web", "Web-1.2_x", "a.", longest.as_str()] {
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
            "a@b",
            "\u{e4}",
            "a\n",
            &too_long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
