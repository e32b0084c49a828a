//! Credentials of this thread: setfsuid(2), setfsgid(2), seteuid(2), prctl(2).

use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;
use nix::unistd::{Uid, seteuid};

use crate::sys::caps::{CapSet, limit_permitted};

/// File system ids of this process, which has one thread.
static CURRENT: AtomicU32 = AtomicU32::new(0);

/// Creates files as another owner until dropped.
///
/// Host root has no id in a tree that is idmapped for a container, so files made there need the container's ids. The
/// privileges of root stay: directories that only another owner may enter are no obstacle. One inside the other of the
/// same owner costs nothing.
#[derive(Debug)]
pub struct AsOwner {
    before: u32,
}

impl AsOwner {
    /// Switches the file system ids to `id`.
    pub fn of(id: u32) -> AsOwner {
        let before = switch(id);
        if before != id {
            // setfsuid(2) to another id than 0 has taken the capabilities over files out of the effective set.
            let _ = limit_permitted(CapSet(u64::MAX));
        }
        AsOwner { before }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        switch(self.before);
    }
}

/// Takes these file system ids and returns the former ones.
fn switch(id: u32) -> u32 {
    let before = CURRENT.swap(id, Ordering::Relaxed);
    if before != id {
        set_fs_ids(id);
    }
    before
}

fn set_fs_ids(id: u32) {
    // SAFETY: setfsgid(2) only changes this thread's credentials; it cannot fail for a privileged caller.
    unsafe { libc::setfsgid(id) };
    // SAFETY: as above for setfsuid(2).
    unsafe { libc::setfsuid(id) };
}

/// Takes `id` as effective user, with all privileges that this process has. It stays root behind that, and may go back.
pub fn act_as(id: u32) -> nix::Result<()> {
    seteuid(Uid::from_raw(id))?;
    // To another user than root has emptied the effective set.
    limit_permitted(CapSet(u64::MAX))
}

/// Makes the process undumpable: no ptrace, no /proc/PID/{exe,fd,mem} for processes of a container it joins.
pub fn set_undumpable() -> nix::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes one integer.
    super::check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}

/// Gives the process a new anonymous session keyring, so that it shares no key with the host.
pub fn new_keyring() -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with a null name reads no memory.
    super::check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
    })
    .map(drop)
}
