//! Asks the store's own tool for all that a system refers to.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::plan::store::{GUIX_STORE, NIX_STORE};
use crate::step::{At, StepError};
use crate::supervise::signals::Signals;

/// Of the tool's answer: about 200,000 paths.
const ANSWER_LIMIT: usize = 16 << 20;

/// Of what it complains.
const ERROR_LIMIT: usize = 64 << 10;

/// Between two looks whether a tool that has closed its output has ended.
const PAUSE_MS: u16 = 10;

/// Where the tools are on hosts that have them apart from the distribution's programs.
const PLACES: &str = "/run/current-system/profile/bin:/run/current-system/sw/bin:/var/guix/profiles/per-user/root/current-guix/bin:/nix/var/nix/profiles/default/bin";

/// What a tool that has ended said.
struct Answer {
    status: ExitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// The store paths that `system` refers to, itself included, separated by white space. Nothing when a stop came first.
pub(super) fn compute(
    store: &Path,
    system: &Path,
    signals: Option<&Signals>,
) -> Result<Option<String>, StepError> {
    let (tool, arguments) = match store.to_str() {
        Some(GUIX_STORE) => ("guix", ["gc", "--requisites"]),
        Some(NIX_STORE) => ("nix-store", ["--query", "--requisites"]),
        _ => {
            return Err(StepError::new("no tool knows the store", store.display())
                .cure("list the items in a file: Closure=FILE"));
        }
    };
    let own = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let child = Command::new(tool)
        .args(arguments)
        .arg(system)
        .env_clear()
        .env("PATH", format!("{own}:{PLACES}"))
        .env("HOME", "/root")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .at("run", tool)
        .map_err(|err| {
            if err.is(Errno::ENOENT) {
                err.cure("install it, or list the items in a file: Closure=FILE")
            } else {
                err
            }
        })?;
    let command = format!("{tool} {} {}", arguments.join(" "), system.display());
    let Some(answer) = listen(child, signals, &command)? else {
        return Ok(None);
    };
    if answer.status.success() {
        return Ok(Some(String::from_utf8_lossy(&answer.output).into_owned()));
    }
    let errors = String::from_utf8_lossy(&answer.errors);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty());
    let last = crate::log::printable(last.unwrap_or("without a word"), 512);
    Err(StepError::new(format!("\"{command}\" failed:"), last))
}

/// Reads what the tool says until it has ended. A stop, or too long an answer, ends it.
fn listen(
    mut child: Child,
    signals: Option<&Signals>,
    command: &str,
) -> Result<Option<Answer>, StepError> {
    let result = listen_to(&mut child, signals, command);
    if !matches!(result, Ok(Some(_))) {
        // Ended meanwhile: nothing to kill, but to reap.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn listen_to(
    child: &mut Child,
    signals: Option<&Signals>,
    command: &str,
) -> Result<Option<Answer>, StepError> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (mut from_output, mut from_errors) = (child.stdout.take(), child.stderr.take());
    loop {
        let open = from_output.is_some() || from_errors.is_some();
        if !open && let Some(status) = child.try_wait().at("wait for", command)? {
            return Ok(Some(Answer {
                status,
                output,
                errors,
            }));
        }
        let limit = if open {
            PollTimeout::NONE
        } else {
            PollTimeout::from(PAUSE_MS)
        };
        let watched = [
            signals.map(AsFd::as_fd),
            from_output.as_ref().map(AsFd::as_fd),
            from_errors.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<PollFd> = watched
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => continue,
            other => other.at("wait for", command)?,
        };
        let mut ready = fds.iter().map(|fd| fd.any() == Some(true));
        let mut next = |watched: bool| watched && ready.next() == Some(true);
        let told = next(signals.is_some());
        let (said, complained) = (next(from_output.is_some()), next(from_errors.is_some()));
        if told
            && let Some(signals) = signals
            && signals.stop_requested()?
        {
            return Ok(None);
        }
        if said && read_some(&mut from_output, &mut output).at("read from", command)? > ANSWER_LIMIT
        {
            return Err(StepError::new("too long an answer of", command));
        }
        if complained
            && read_some(&mut from_errors, &mut errors).at("read from", command)? > ERROR_LIMIT
        {
            // The end is what tells.
            errors.drain(..ERROR_LIMIT / 2);
        }
    }
}

/// Reads once from an open pipe, and closes it at its end. Returns what there is by now.
fn read_some(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut piece = [0; 16 << 10];
    let count = match pipe {
        Some(open) => open.read(&mut piece)?,
        None => 0,
    };
    if count == 0 {
        *pipe = None;
    }
    into.extend(piece.iter().take(count));
    Ok(into.len())
}
