//! The least that starting a program in all namespaces can cost: one clone, two maps, one exec, one wait.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read, Write},
    os::fd::AsFd,
};

use anyhow::{Result, ensure};
use nix::{
    sched::{CloneFlags, clone},
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{close, execv, pipe},
};

const STACK: usize = 64 * 1024;

/// Runs `program` with ids 0-65535 being `base`.. outside.
pub(crate) fn run(program: &str, base: u32) -> Result<()> {
    let program = CString::new(program)?;
    let mut stack = vec![0_u8; STACK];
    let (read, write) = pipe()?;
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let (start, writer) = (File::from(read), write);
    let inside = Box::new(|| {
        let mut byte = [0];
        // Our copy of the other end has to go, or a dead parent would not be noticed.
        let _ = close(std::os::fd::AsRawFd::as_raw_fd(&writer.as_fd()));
        if (&start).read_exact(&mut byte).is_ok() {
            let _ = execv(&program, &[&program]);
        }
        127
    });
    // SAFETY: no CLONE_VM, so the child has a copy of everything, its stack included; this process has one thread, so no
    // lock can be held in the copy; the child only closes, reads and executes.
    let child = unsafe { clone(inside, &mut stack, namespaces, Some(Signal::SIGCHLD as i32)) }?;
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{child}/{file}"), format!("0 {base} 65536\n"))?;
    }
    File::from(writer).write_all(b"g")?;
    let status = waitpid(child, None)?;
    ensure!(
        status == WaitStatus::Exited(child, 0),
        "the bare clone ended with {status:?}"
    );
    Ok(())
}
