//! Finding and executing a command's program, inside the container and with dropped privileges.

use std::convert::Infallible;
use std::ffi::{CStr, CString};

use nix::errno::Errno;
use nix::unistd::execve;

use crate::step::{At, StepError};

/// The step of an error that is the program's own: it was not found, or may not be run.
pub const STEP: &str = "execute";

/// Where programs are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit status of a command that was not run: 127 not found, 126 not executable, 125 all else, as of env(1).
pub fn status_of(error: &StepError) -> u8 {
    match error.step.as_str() {
        STEP if error.is(Errno::ENOENT) => 127,
        STEP => 126,
        _ => 125,
    }
}

/// A program with all that execve(2) needs, made beforehand.
#[derive(Debug)]
pub struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// A program without a slash is looked for in the `PATH` of `environment`.
    pub fn new(argv: &[&[u8]], environment: &[String]) -> Result<Program, StepError> {
        let program = argv.first().copied().unwrap_or_default();
        let search = environment
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .unwrap_or(PATH);
        let candidates = match program {
            b"" => Vec::new(),
            _ if program.contains(&b'/') => vec![c_string(program)?],
            _ => search
                .split(':')
                .map(|directory| c_string(&[directory.as_bytes(), b"/", program].concat()))
                .collect::<Result<_, _>>()?,
        };
        Ok(Program {
            candidates,
            argv: argv
                .iter()
                .map(|arg| c_string(arg))
                .collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|entry| c_string(entry.as_bytes()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Replaces this process by it. As execvp(3): a program that may not be run outweighs one that is not there.
    pub fn execute(&self) -> Result<Infallible, StepError> {
        let mut failure = Errno::ENOENT;
        for candidate in &self.candidates {
            let Err(errno) = execve(candidate, &self.argv, &self.environment);
            if errno != Errno::ENOENT && errno != Errno::ENOTDIR {
                failure = errno;
                if errno != Errno::EACCES {
                    break;
                }
            }
        }
        let name = self.argv.first().map(CString::as_c_str);
        let name = name.map(CStr::to_string_lossy).unwrap_or_default();
        Err(failure).at(STEP, name)
    }
}

/// A string as system calls take it.
pub fn c_string(bytes: &[u8]) -> Result<CString, StepError> {
    CString::new(bytes).map_err(|_| StepError::new("NUL in", "an argument"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let error = |step: &str, errno| Err::<(), _>(errno).at(step, "x").unwrap_err();
        for (step, errno, want) in [
            (STEP, Errno::ENOENT, 127),
            (STEP, Errno::EACCES, 126),
            (STEP, Errno::ENOEXEC, 126),
            ("enter", Errno::ENOENT, 125),
        ] {
            assert_eq!(status_of(&error(step, errno)), want, "{step} {errno}");
        }
    }

    #[test]
    fn programs_are_looked_for_where_the_command_would_look() {
        let candidates = |program: &[u8], environment: &[&str]| {
            let environment: Vec<_> = environment.iter().map(ToString::to_string).collect();
            let program = Program::new(&[program], &environment).unwrap();
            let text = |path: CString| path.into_string().unwrap();
            program.candidates.into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(candidates(b"sh", &["PATH=/a:/b"]), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates(b"./sh", &["PATH=/a"]), ["./sh"]);
        assert_eq!(candidates(b"sh", &[]).len(), 6);
        assert!(candidates(b"", &[]).is_empty());
        assert!(Program::new(&[b"a\0b"], &[]).is_err());
    }
}
