//! What systemd hands the launcher for its container: sockets and credentials, systemd.exec(5) and sd_listen_fds(3).

use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::step::{At, StepError};
use crate::sys::fd::{cloexec_from, close_from, keep_on_exec};

/// First descriptor of socket activation.
const FIRST: RawFd = 3;

/// More than any socket unit has.
const MOST: usize = 512;

/// What was handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Names of the descriptors from 3 on, in their order.
    pub sockets: Vec<String>,
    /// Directory with one file per credential.
    pub credentials: Option<PathBuf>,
}

impl Handed {
    /// As the environment says. Variables that are meant for another process do not count.
    pub fn of_environment() -> Result<Handed, StepError> {
        Handed::of(std::process::id(), |name| std::env::var(name).ok())
    }

    fn of(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Result<Handed, StepError> {
        let mine = variable("LISTEN_PID").is_some_and(|text| text.parse() == Ok(pid));
        let count = match variable("LISTEN_FDS").filter(|_| mine) {
            None => 0,
            Some(text) => match text.parse() {
                Ok(count) if count <= MOST => count,
                _ => return Err(StepError::new("not understood: LISTEN_FDS", text)),
            },
        };
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let sockets = (0..count).map(|_| match names.next() {
            None | Some("") => "unknown".to_owned(),
            Some(name) => name.to_owned(),
        });
        Ok(Handed {
            sockets: sockets.collect(),
            credentials: variable("CREDENTIALS_DIRECTORY")
                .filter(|path| path.starts_with('/'))
                .map(PathBuf::from),
        })
    }

    /// Closes every descriptor above standard error that is no socket of these, and keeps these from all programs that
    /// are executed. Only for a process about to begin.
    pub fn keep_nothing_else(&self) -> Result<(), StepError> {
        close_from(self.end()).at("close", "inherited descriptors")?;
        cloexec_from(FIRST).at("keep", "sockets")
    }

    fn end(&self) -> RawFd {
        FIRST.saturating_add(RawFd::try_from(self.sockets.len()).unwrap_or(RawFd::MAX))
    }
}

/// Lets `count` sockets through the next exec.
pub fn pass_on(count: usize) -> Result<(), StepError> {
    for fd in (FIRST..).take(count) {
        keep_on_exec(fd).at("pass on socket", fd)?;
    }
    Ok(())
}

/// `LISTEN_*` for the first process of a container.
pub fn variables(sockets: &[String]) -> Vec<(String, String)> {
    if sockets.is_empty() {
        return Vec::new();
    }
    [
        ("LISTEN_PID", "1".to_owned()),
        ("LISTEN_FDS", sockets.len().to_string()),
        ("LISTEN_FDNAMES", sockets.join(":")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Handed, StepError> {
        Handed::of(7, |name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn only_what_is_meant_for_this_process() {
        let fds = ("LISTEN_FDS", "2");
        let names = ("LISTEN_FDNAMES", "http");
        let handed = of(&[("LISTEN_PID", "7"), fds, names]).unwrap();
        assert_eq!(handed.sockets, ["http", "unknown"]);
        assert_eq!(handed.end(), 5);
        assert!(of(&[("LISTEN_PID", "8"), fds]).unwrap().sockets.is_empty());
        assert!(of(&[fds]).unwrap().sockets.is_empty());
        for wrong in ["x", "-1", "513", "99999999999999999999"] {
            assert!(
                of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", wrong)]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_first_process_is_told() {
        assert!(variables(&[]).is_empty());
        let all = variables(&["a".to_owned(), "b".to_owned()]);
        let all: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(all, ["LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"]);
    }
}
