//! `Template=`: the first start makes the tree, as a copy.
//!
//! The copy has another name until it is complete and on disk, so whatever interrupts it, a part is never taken for a tree.
//! cp(1), sync(1) and rm(1) do the work as children: they end with the stop that was asked for, however long a call takes.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::execvp;

use crate::lock::{Lock, take_locks};
use crate::step::{At, StepError};
use crate::supervise::notify;
use crate::supervise::signals::Signals;
use crate::sys::clone::{Child, Side, clone3, exit_now};
use crate::sys::fd::LockKind;
use crate::sys::pidfd::send_signal;
use crate::tree::Site;

/// How often systemd is told that the copy goes on.
const BEAT: u16 = 2000;

/// How long systemd waits from then on: many beats, because a busy disk may hold the launcher, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How making the tree ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    There,
    /// A stop was asked for; what it may have left behind is no tree yet.
    Stopped,
}

/// Makes `root` from `template` unless it exists. `locks` is the directory of the locks of trees.
pub fn make(
    root: &Path,
    template: &Path,
    signals: &Signals,
    locks: &Path,
) -> Result<Made, StepError> {
    if exists(root)? {
        return Ok(Made::There);
    }
    if fs::symlink_metadata(root).is_ok() {
        return Err(
            StepError::new("a link that leads to nothing:", root.display())
                .cure("remove it, and the start makes the tree"),
        );
    }
    let source = fs::canonicalize(template)
        .at("open template", template.display())
        .map_err(|err| err.cure("create it or correct Template="))?;
    if !(source.is_dir() || source.is_file()) {
        return Err(StepError::new("no tree to copy:", template.display())
            .cure("Template= is a directory or an image in a file"));
    }
    let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else {
        return Err(StepError::new("no tree can be made at", root.display()));
    };
    if parent.starts_with(&source) {
        return Err(
            StepError::new("the template holds the tree:", root.display())
                .cure("Root= must not lie below Template="),
        );
    }
    let _lock = lock(parent, name)?;
    let _shared = lock_template(&source, locks)?;
    // Another start may have been faster.
    if exists(root)? {
        return Ok(Made::There);
    }
    let part = parent.join(hidden(name, ".skep-part"));
    if remove(&part, signals)? == Made::Stopped {
        return Ok(Made::Stopped);
    }
    let made = copy(&source, &part, template, signals).and_then(|made| match made {
        Made::Stopped => Ok(Made::Stopped),
        Made::There => renameat2(
            AT_FDCWD,
            &part,
            AT_FDCWD,
            root,
            RenameFlags::RENAME_NOREPLACE,
        )
        .at("rename the copy to", root.display())
        .map(|()| Made::There),
    });
    if made != Ok(Made::There) {
        remove(&part, signals)?;
    }
    made
}

fn exists(root: &Path) -> Result<bool, StepError> {
    match fs::metadata(root) {
        Ok(_) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err).at("open root", root.display()),
    }
}

fn hidden(name: &std::ffi::OsStr, end: &str) -> OsString {
    let mut hidden = OsString::from(".#");
    hidden.push(name);
    hidden.push(end);
    hidden
}

/// The lock of systemd-nspawn for this name: machinectl copies and removes trees under it, too.
fn lock(parent: &Path, name: &std::ffi::OsStr) -> Result<Vec<OwnedFd>, StepError> {
    take_locks(&[Lock {
        path: parent.join(hidden(name, ".lck")),
        kind: LockKind::Exclusive,
        what: format!("Root={}", parent.join(name).display()),
        optional: false,
    }])
}

/// Any number of copies at once, but none of a tree that a container writes to meanwhile: it would be of no one moment.
fn lock_template(template: &Path, locks: &Path) -> Result<Vec<OwnedFd>, StepError> {
    // The host's own OS always runs, and nobody locks it.
    if template == Path::new("/") {
        return Ok(Vec::new());
    }
    let key = Site::find(Some(template))?.key;
    let what = format!("Template={}", template.display());
    take_locks(&[Lock::of_tree(locks, &key, LockKind::Shared, what)])
}

/// Copies, and waits until the copy is on disk.
fn copy(source: &Path, part: &Path, template: &Path, signals: &Signals) -> Result<Made, StepError> {
    let mut copy: Vec<OsString> = ["cp", "--archive", "--reflink=auto", "--one-file-system"]
        .map(OsString::from)
        .into();
    // With it a copy of a directory is the directory, not one below it.
    copy.push("--no-target-directory".into());
    copy.extend(["--".into(), source.into(), part.into()]);
    let sync: Vec<OsString> = vec![
        "sync".into(),
        "--file-system".into(),
        "--".into(),
        part.into(),
    ];
    let doing = format!("Copying {}", template.display());
    for argv in [copy, sync] {
        let object = format!("{} to {}", template.display(), part.display());
        match run(&argv, &doing, signals)? {
            None => return Ok(Made::Stopped),
            Some(WaitStatus::Exited(_, 0)) => {}
            Some(_) => {
                return Err(StepError::new("copy", object)
                    .cure("the lines above say why; is there room on the disk?"));
            }
        }
    }
    Ok(Made::There)
}

/// Runs a program; `None` when a stop was asked for first, and then it has ended.
fn run(argv: &[OsString], doing: &str, signals: &Signals) -> Result<Option<WaitStatus>, StepError> {
    let words = argv
        .iter()
        .map(|word| CString::new(word.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| StepError::new("NUL in a path:", doing))?;
    let child = match clone3(0, None).at("clone", "copying process")? {
        Side::Child => become_program(&words),
        Side::Parent(child) => child,
    };
    let begin = Instant::now();
    loop {
        let written = written(&child) >> 20;
        notify::tell(&format!(
            "STATUS={doing}: {written} MiB in {} s\nEXTEND_TIMEOUT_USEC={}",
            begin.elapsed().as_secs(),
            PATIENCE.as_micros()
        ));
        let mut fds = [
            PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::from(BEAT)) {
            Err(Errno::EINTR) => continue,
            other => other.at("wait for", "the copy")?,
        };
        let stop = fds[1].any() == Some(true) && signals.stop_requested()?;
        if stop {
            // It may have ended already.
            let _ = send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        if stop || fds[0].any() == Some(true) {
            let status = wait(&child)?;
            return Ok((!stop).then_some(status));
        }
    }
}

fn become_program(words: &[CString]) -> ! {
    // The copy must not go on when nobody is left to name it.
    let _ = set_pdeathsig(Signal::SIGKILL);
    let _ = SigSet::empty().thread_set_mask();
    if let Some(program) = words.first() {
        let _ = execvp(program, words);
    }
    exit_now(127)
}

fn wait(child: &Child) -> Result<WaitStatus, StepError> {
    loop {
        match waitid(Id::PIDFd(child.pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            other => return other.at("wait for", "the copy"),
        }
    }
}

/// Bytes that the child has written so far, proc_pid_io(5).
fn written(child: &Child) -> u64 {
    fs::read_to_string(format!("/proc/{}/io", child.pid))
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("wchar: "))?;
            line.parse().ok()
        })
        .unwrap_or(0)
}

/// Removes what an interrupted copy has left, which may be deeper than this process may have files open.
fn remove(part: &Path, signals: &Signals) -> Result<Made, StepError> {
    if fs::symlink_metadata(part).is_err_and(|err| err.kind() == io::ErrorKind::NotFound) {
        return Ok(Made::There);
    }
    let mut argv: Vec<OsString> = ["rm", "--recursive", "--force", "--one-file-system", "--"]
        .map(OsString::from)
        .into();
    argv.push(part.into());
    match run(&argv, "Removing an unfinished copy", signals)? {
        None => Ok(Made::Stopped),
        Some(WaitStatus::Exited(_, 0)) => Ok(Made::There),
        Some(_) => Err(StepError::new("remove unfinished copy", part.display())
            .cure("the lines above say why")),
    }
}

#[cfg(test)]
mod tests;
