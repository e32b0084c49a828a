//! Credentials of this thread: setfsuid(2), setfsgid(2), prctl(2).

use nix::libc;

use crate::sys::caps::{CapSet, limit_permitted};

/// Creates files as another owner until dropped.
///
/// Host root has no id in a tree that is idmapped for a container, so files made there need the container's ids. The
/// privileges of root stay: directories that only another owner may enter are no obstacle.
#[derive(Debug)]
pub struct AsOwner(());

impl AsOwner {
    /// Switches the file system ids to `id`.
    pub fn of(id: u32) -> AsOwner {
        set_fs_ids(id);
        // setfsuid(2) to another id than 0 has taken the capabilities over files out of the effective set.
        let _ = limit_permitted(CapSet(u64::MAX));
        AsOwner(())
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        set_fs_ids(0);
    }
}

fn set_fs_ids(id: u32) {
    // SAFETY: setfsgid(2) only changes this thread's credentials; it cannot fail for a privileged caller.
    unsafe { libc::setfsgid(id) };
    // SAFETY: as above for setfsuid(2).
    unsafe { libc::setfsuid(id) };
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
