//! What the probes aim at on the host: a process with things of its own.

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::{
        prctl::set_name,
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
    },
    unistd::pause,
};
use std::os::fd::AsRawFd;

use crate::call::call;

/// Name of the process.
pub(crate) const NAME: &std::ffi::CStr = c"skep-target";

/// Name of its abstract socket.
pub(crate) const SOCKET: &[u8] = b"skep-target";

/// Key of its shared memory.
pub(crate) const SHARED_MEMORY: i64 = 0x736b_6570;

/// Waits to be attacked.
pub(crate) fn run() -> Result<()> {
    set_name(NAME).context("name")?;
    let address = UnixAddr::new_abstract(SOCKET)?;
    let listener = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(listener.as_raw_fd(), &address).context("bind")?;
    listen(&listener, Backlog::new(16)?).context("listen")?;
    call!(
        libc::SYS_shmget,
        SHARED_MEMORY,
        4096,
        i64::from(libc::IPC_CREAT | 0o666)
    )
    .context("shmget")?;
    loop {
        pause();
    }
}
