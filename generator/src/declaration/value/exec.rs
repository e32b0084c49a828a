//! Command lines of `Exec...=`.

use super::path::absolute;
use super::survives_reload;
use crate::declaration::words;
use crate::problem::quoted;
use crate::property::Command;

/// A command line: `[-]/path argument...`. Variables are refused: systemd would take them literally after a
/// reload.
pub(crate) fn command(text: &str) -> Result<Command, String> {
    let (ignore_failure, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Some(prefix) = rest.chars().next().filter(|c| "@:+!|-".contains(*c)) {
        return Err(format!(
            "the prefix {prefix} is not supported; only one - is"
        ));
    }
    let mut argv = words::split(rest)?;
    if argv.iter().any(|word| word == ";") {
        return Err("one command per line; repeat the key for another".into());
    }
    let Some(program) = argv.first_mut() else {
        return Err("no command".into());
    };
    if program.ends_with('/') {
        return Err(format!("the command is a directory: {}", quoted(program)));
    }
    let path = absolute("the command", program)?
        .to_string_lossy()
        .into_owned();
    survives_reload("the command", &path, &['\\', '"', '\'', '`', '%'])?;
    program.clone_from(&path);
    for word in &argv {
        survives_reload("the command", word, &['$'])
            .map_err(|message| format!("{message}; put it into a script"))?;
    }
    Ok(Command {
        path,
        argv,
        ignore_failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let expected = Command {
            path: "/bin/sh".into(),
            argv: vec!["/bin/sh".into(), "-c".into(), "a b".into()],
            ignore_failure: true,
        };
        assert_eq!(command("-/bin//sh -c 'a b'"), Ok(expected));
        for bad in [
            "",
            "-",
            "true",
            "+/bin/true",
            "--/bin/true",
            "@/bin/sh sh",
            "/bin/true ; /bin/false",
            "/bin/'x",
            "/",
            "/bin/",
            "/bin/echo $HOME",
            r"/bin/a\\b",
            "/bin/a%b",
        ] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }
}
