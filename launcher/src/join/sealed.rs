//! Runs this program from a sealed copy in memory, so that no guest can ever write to the installed one through
//! `/proc/PID/exe` (the class of CVE-2019-5736).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use nix::unistd::execve;

use crate::handed::{Handed, pass_on};
use crate::step::{At, StepError};
use crate::sys::fd::{is_sealed, memfd, seal};

/// Returns when this is the sealed copy; executes it otherwise, with what `handed` lists.
pub(crate) fn ensure(handed: &Handed) -> Result<(), StepError> {
    const SELF: &str = "/proc/self/exe";
    let mut program = File::open(SELF).at("open", SELF)?;
    if is_sealed(program.as_fd()) {
        return Ok(());
    }
    drop(program);
    // What the caller left open would otherwise go along.
    handed.keep_nothing_else()?;
    program = File::open(SELF).at("open", SELF)?;
    let mut copy = File::from(memfd(c"skep-launcher").at("create", "memory file")?);
    io::copy(&mut program, &mut copy).at("copy", SELF)?;
    seal(copy.as_fd()).at("seal", "memory file")?;
    let strings = |texts: Vec<Vec<u8>>| {
        texts
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
    };
    let argv = strings(std::env::args_os().map(OsStringExt::into_vec).collect());
    let environment = strings(
        std::env::vars_os()
            .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
            .collect(),
    );
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    let (Ok(path), Ok(argv), Ok(environment)) = (path, argv, environment) else {
        return Err(StepError::new("NUL in", "an argument"));
    };
    pass_on(handed.sockets.len())?;
    match execve(&path, &argv, &environment).at("execute", "sealed copy") {
        Err(err) => Err(err),
        Ok(never) => match never {},
    }
}
