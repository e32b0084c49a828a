//! Runs cp, tar and rm: progress from what they print, their complaints passed on, ended when skep is interrupted.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::TreeError;
use super::progress::Progress;
use crate::report;

/// Complaints of a tool that are shown; a broken archive has thousands.
const SHOWN: usize = 20;

/// How often progress is looked at, in milliseconds.
const TICK: u8 = 100;

/// SIGINT, SIGTERM and SIGHUP, held back so that half-made trees are cleaned up first.
#[derive(Debug)]
pub struct Interrupts {
    mask: SigSet,
    pending: SignalFd,
}

impl Interrupts {
    /// Holds them back until the value goes. Tools started meanwhile have them as usual.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn hold() -> Result<Interrupts, TreeError> {
        let mask: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        let held = mask.thread_block().and_then(|()| {
            SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        });
        let pending = held.map_err(|errno| TreeError::file(Path::new("signalfd"), errno))?;
        Ok(Interrupts { mask, pending })
    }

    fn came(&self) -> bool {
        matches!(self.pending.read_signal(), Ok(Some(_)))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = self.mask.thread_unblock();
    }
}

/// What a tool's progress is measured by.
pub(super) enum Measure<'a> {
    /// The lines that it prints, one for each file.
    Lines,
    /// The bytes that a file has on disk, of how many.
    Bytes(&'a Path, u64),
}

/// How a tool treats interrupts.
pub(super) enum Until<'a> {
    /// It is killed when one comes.
    Interrupted(&'a Interrupts),
    /// It cleans up, which is not interrupted.
    Done,
}

/// A tool and its name in messages.
pub(super) fn tool(program: &'static str) -> Command {
    let mut command = Command::new(program);
    // Their own variables change what they do, and the language what they say.
    command.env_clear().env("LC_ALL", "C");
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Ctrl-C reaches skep alone, which then decides.
    command.process_group(0);
    command
}

/// Runs a tool to its end.
pub(super) fn run(
    program: &'static str,
    command: &mut Command,
    task: String,
    measure: &Measure<'_>,
    until: &Until<'_>,
) -> Result<(), TreeError> {
    let mut child = command
        .spawn()
        .map_err(|error| TreeError::file(Path::new(program), error))?;
    let mut progress = Progress::new(task);
    let (complaints, interrupted) = watch(&mut child, &mut progress, measure, until);
    progress.clear();
    let status = child
        .wait()
        .map_err(|error| TreeError::file(Path::new(program), error))?;
    if interrupted {
        return Err(TreeError::Interrupted);
    }
    for line in complaints.lines.iter().take(SHOWN) {
        report::note(line);
    }
    if complaints.lines.len() > SHOWN {
        report::note(&format!(
            "{program}: and {} more",
            complaints.lines.len() - SHOWN
        ));
    }
    match status.success() {
        true => Ok(()),
        false => Err(TreeError::Tool {
            program,
            status: status.to_string(),
        }),
    }
}

/// What a tool wrote to standard error.
#[derive(Default)]
struct Complaints {
    lines: Vec<String>,
    rest: Vec<u8>,
}

impl Complaints {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            // Those that are not shown are only counted.
            let keep = if self.lines.len() < SHOWN {
                line.as_slice()
            } else {
                b""
            };
            self.lines
                .push(String::from_utf8_lossy(keep).trim_end().to_owned());
        }
    }
}

fn watch(
    child: &mut Child,
    progress: &mut Progress,
    measure: &Measure<'_>,
    until: &Until<'_>,
) -> (Complaints, bool) {
    let (mut output, mut errors) = (child.stdout.take(), child.stderr.take());
    let mut complaints = Complaints::default();
    let (mut lines, mut interrupted) = (0_u64, false);
    let mut buffer = vec![0; 1 << 16];
    while output.is_some() || errors.is_some() {
        let mut ready = Vec::with_capacity(3);
        ready.extend(
            output
                .iter()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        ready.extend(
            errors
                .iter()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        if let Until::Interrupted(interrupts) = until {
            ready.push(PollFd::new(interrupts.pending.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut ready, PollTimeout::from(TICK)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break,
        }
        let is_ready: Vec<bool> = ready.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut is_ready = is_ready.into_iter();
        if output.is_some() && is_ready.next() == Some(true) {
            match output.as_mut().map(|pipe| pipe.read(&mut buffer)) {
                Some(Ok(count @ 1..)) => {
                    let text = buffer.get(..count).unwrap_or_default();
                    lines += text.split(|byte| *byte == b'\n').count() as u64 - 1;
                }
                _ => output = None,
            }
        }
        if errors.is_some() && is_ready.next() == Some(true) {
            match errors.as_mut().map(|pipe| pipe.read(&mut buffer)) {
                Some(Ok(count @ 1..)) => complaints.take(buffer.get(..count).unwrap_or_default()),
                _ => errors = None,
            }
        }
        if let Until::Interrupted(interrupts) = until
            && interrupts.came()
        {
            interrupted = true;
            // It may have ended meanwhile.
            let _ = child.kill();
        }
        progress.tick(|| amount(measure, lines));
    }
    (complaints, interrupted)
}

fn amount(measure: &Measure<'_>, lines: u64) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match measure {
        Measure::Lines => format!("{lines} files"),
        Measure::Bytes(path, total) => {
            let done = std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
            format!("{} of {} MiB", done >> 20, total >> 20)
        }
    }
}
