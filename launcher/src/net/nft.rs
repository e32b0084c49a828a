//! Runs nft(8), which may be missing, fail or never come back: bounded in time and in what it may say.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::step::{At, StepError};
use crate::sys::{fd, pidfd};

/// How long it may take. Tens of thousands of rules of others take seconds, and it waits for other runs of itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of what it says is read.
const LIMIT: usize = 1 << 20;

/// Where it may be beside the unit's PATH, which need not have the directories of administrators' programs.
const ELSEWHERE: &str =
    "/usr/sbin:/sbin:/run/current-system/sw/bin:/run/current-system/profile/sbin";

/// Gives nft a script, which it takes as a whole or not at all.
pub(super) fn run(script: &str) -> Result<(), StepError> {
    // A file and no pipe: a program that does not read cannot make this one wait.
    let mut input = File::from(fd::memfd(c"nft").at("create", "a memory file")?);
    input
        .write_all(script.as_bytes())
        .at("write", "rules for nft")?;
    input.rewind().at("write", "rules for nft")?;
    ask(&["-f", "-"], Stdio::from(input)).map(drop)
}

/// What nft prints of the rules that are there, its complaints among it.
pub(super) fn list(what: &[&str]) -> Result<String, StepError> {
    let words: Vec<&str> = ["-a", "list"].iter().chain(what).copied().collect();
    ask(&words, Stdio::null())
}

fn ask(words: &[&str], input: Stdio) -> Result<String, StepError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let (output, said) = std::io::pipe().at("create", "a pipe")?;
    let both = said.try_clone().at("create", "a pipe")?;
    let mut command = Command::new("nft");
    command
        .args(words)
        .env_clear()
        .env("PATH", format!("{path}:{ELSEWHERE}"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(input)
        .stdout(said)
        .stderr(both);
    let mut child = match command.spawn() {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            return Err(StepError::new("the program nft is missing", "").cure(
                "install nftables: Network=nat, Port= and the fence of a link (fence=no) need it",
            ));
        }
        other => other.at("execute", "nft")?,
    };
    // Its ends of the pipe: else the end of what it says would never come.
    drop(command);
    let said = listen(&mut child, File::from(OwnedFd::from(output)), PATIENCE)?;
    let status = child.wait().at("wait for", "nft")?;
    let text = String::from_utf8_lossy(&said);
    if status.success() {
        return Ok(text.into_owned());
    }
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = crate::log::printable(line.unwrap_or("no reason given"), 300);
    let refused = StepError::new("the packet filter refused:", line);
    Err(
        match text.contains("ot supported") || text.contains("No such file") {
            true => {
                refused.cure("it needs nf_tables with NAT, fib and the netdev family in the kernel")
            }
            false => refused,
        },
    )
}

/// What a program says until it ends, which it does in time or is killed.
fn listen(child: &mut Child, mut output: File, patience: Duration) -> Result<Vec<u8>, StepError> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let handle = pidfd::open(pid).at("open", "a handle of nft")?;
    let end = Instant::now() + patience;
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    let mut open = true;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [
            PollFd::new(handle.as_fd(), PollFlags::POLLIN),
            PollFd::new(output.as_fd(), PollFlags::POLLIN),
        ];
        let awaited = if open { &mut fds[..] } else { &mut fds[..1] };
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(awaited, timeout) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.at("wait for", "nft")?,
        };
        let ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        let (ended, speaks) = (ready(&fds[0]), open && ready(&fds[1]));
        if speaks {
            let count = output.read(&mut chunk).at("read from", "nft")?;
            open = count > 0;
            let room = LIMIT.saturating_sub(said.len()).min(count);
            said.extend_from_slice(&chunk[..room]);
        } else if ended {
            return Ok(said);
        } else if left.is_zero() {
            // Not waited for: one that hangs in the kernel does not even end now.
            let _ = child.kill();
            return Err(StepError::new(
                "nft does not end:",
                format_args!("no answer within {} s", patience.as_secs()),
            )
            .cure("look at what \"nft list ruleset\" does on this host"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, patience: Duration) -> Result<Vec<u8>, StepError> {
        let (output, input) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(input);
        let mut child = command.spawn().unwrap();
        drop(command);
        let said = listen(&mut child, File::from(OwnedFd::from(output)), patience);
        child.wait().unwrap();
        said
    }

    #[test]
    fn one_that_hangs_is_killed_and_one_that_talks_is_cut_off() {
        let start = Instant::now();
        let err = said("echo a; exec sleep 60", Duration::from_millis(100)).unwrap_err();
        assert!(err.to_string().contains("nft does not end"), "{err}");
        assert!(start.elapsed() < Duration::from_secs(30));
        let long = said("head -c 3000000 /dev/zero", PATIENCE).unwrap();
        assert_eq!(long.len(), LIMIT);
        // What it leaves behind may hold the pipe.
        let short = said("echo b; sleep 2 & exit 0", PATIENCE).unwrap();
        assert_eq!(short, b"b\n");
        assert!(start.elapsed() < Duration::from_secs(50));
    }
}
