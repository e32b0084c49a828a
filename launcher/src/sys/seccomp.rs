//! The system call filter of this process: seccomp(2).

use nix::errno::Errno;
use nix::libc;

/// One instruction: struct sock_filter of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Sets the filter for this process and all that it starts. Needs CAP_SYS_ADMIN in its user namespace: without the
/// no_new_privs bit, which would break every set-user-ID program of the guest.
pub fn set_filter(program: &[Instruction]) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads; Instruction has the layout of sock_filter.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: SECCOMP_SET_MODE_FILTER reads one sock_fprog and the `len` instructions it points to, all alive here.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
    .map(drop)
}
