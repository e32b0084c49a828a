//! System calls that reach the kernel beyond the container.

use nix::{errno::Errno, libc};

use super::Probe;
use crate::{
    attempt::{Attempt::Code, Facts},
    call::call,
    outcome::Outcome,
};

pub(super) const PROBES: &[Probe] = &[
    ("module-init", Code(module_init)),
    ("module-init-from-file", Code(module_from_file)),
    ("module-delete", Code(module_delete)),
    ("kexec-load", Code(kexec)),
    ("kexec-file-load", Code(kexec_file)),
    ("swap-on", Code(|_| named(libc::SYS_swapon))),
    ("swap-off", Code(|_| named(libc::SYS_swapoff))),
    ("accounting", Code(|_| named(libc::SYS_acct))),
    ("quota", Code(quota)),
    ("clock-adjust", Code(adjtimex)),
    ("clock-adjust-other", Code(clock_adjtime)),
    ("clock-set", Code(clock_settime)),
    ("clock-set-day", Code(settimeofday)),
    ("reboot-of-nonsense", Code(reboot)),
    ("kernel-log", Code(syslog)),
    ("bpf-program", Code(bpf)),
    ("performance-events", Code(perf)),
    ("file-by-handle", Code(handle)),
    ("fanotify-content", Code(fanotify)),
    ("fanotify-reports", Code(fanotify_plain)),
    ("io-uring", Code(io_uring)),
    ("userfaultfd", Code(userfaultfd)),
    ("vmsplice", Code(vmsplice)),
    ("protection-key", Code(pkey)),
    ("personality-no-randomization", Code(personality)),
    ("personality-read-implies-exec", Code(personality_exec)),
    ("terminal-input", Code(|_| terminal(libc::TIOCSTI))),
    ("terminal-console", Code(|_| terminal(libc::TIOCLINUX))),
    ("terminal-input-high-bits", Code(terminal_high)),
    ("hang-up", Code(vhangup)),
    ("unknown-call", Code(unknown)),
    ("move-pages-of-others", Code(move_pages)),
    #[cfg(target_arch = "x86_64")]
    ("port-permission", Code(ioperm)),
    #[cfg(target_arch = "x86_64")]
    ("port-level", Code(iopl)),
    #[cfg(target_arch = "x86_64")]
    ("segment-table", Code(modify_ldt)),
    #[cfg(target_arch = "x86_64")]
    ("call-of-x32", Code(x32)),
    #[cfg(target_arch = "x86_64")]
    ("call-of-i386", Code(i386)),
];

/// An image that is too short to be one.
fn module_init(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_init_module, 0, 0, c"");
    Outcome::of(result, &[Errno::ENOEXEC, Errno::EFAULT])
}

fn module_from_file(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_finit_module, -1, c"", 0);
    Outcome::of(result, &[Errno::EBADF])
}

fn module_delete(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_delete_module, c"skep_no_such", libc::O_NONBLOCK);
    Outcome::of(result, &[Errno::ENOENT])
}

/// More segments than there can be.
fn kexec(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_kexec_load, 0, 4096, 0, 0);
    Outcome::of(result, &[Errno::EINVAL])
}

fn kexec_file(_: &Facts) -> Outcome {
    #[cfg(target_arch = "x86_64")]
    const NUMBER: libc::c_long = 320;
    #[cfg(not(target_arch = "x86_64"))]
    const NUMBER: libc::c_long = 294;
    // Flags that no kernel knows.
    let result = call!(NUMBER, -1, -1, 0, 0, 0x4000_0000);
    Outcome::of(result, &[Errno::EINVAL, Errno::EBADF])
}

fn named(number: libc::c_long) -> Outcome {
    let result = call!(number, c"/no/such/file", 0);
    Outcome::of(result, &[Errno::ENOENT])
}

/// Q_GETFMT of a device that is none.
fn quota(_: &Facts) -> Outcome {
    let mut buffer = vec![0; 256];
    let result = call!(
        libc::SYS_quotactl,
        0x0080_0004_i64 << 8,
        c"/no/such/file",
        0,
        &mut buffer
    );
    Outcome::of(
        result,
        &[
            Errno::ENOENT,
            Errno::ENOTBLK,
            Errno::ENODEV,
            Errno::EINVAL,
            Errno::ESRCH,
        ],
    )
}

/// Asks for a tick of no length: refused as such only to who may change the clock.
fn impossible_tick() -> Vec<u8> {
    let mut timex = vec![0; 512];
    timex[0..4].copy_from_slice(&0x4000_u32.to_ne_bytes());
    timex
}

fn adjtimex(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_adjtimex, &mut impossible_tick());
    Outcome::of(result, &[Errno::EINVAL])
}

fn clock_adjtime(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_clock_adjtime, 0, &mut impossible_tick());
    Outcome::of(result, &[Errno::EINVAL])
}

/// A time that is none.
fn clock_settime(_: &Facts) -> Outcome {
    let mut time = [0_i64.to_ne_bytes(), (-1_i64).to_ne_bytes()].concat();
    let result = call!(libc::SYS_clock_settime, 0, &mut time);
    Outcome::of(result, &[Errno::EINVAL])
}

/// Neither a time nor a zone: permitted, it changes nothing.
fn settimeofday(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_settimeofday, 0, 0), &[])
}

fn reboot(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_reboot, 0, 0, 0, 0);
    Outcome::of(result, &[Errno::EINVAL])
}

/// A level that does not exist.
fn syslog(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_syslog, 8, 0, 99);
    Outcome::of(result, &[Errno::EINVAL])
}

fn bpf(_: &Facts) -> Outcome {
    let mut attributes = vec![0; 256];
    let result = call!(libc::SYS_bpf, 5, &mut attributes, 64);
    Outcome::of(result, &[Errno::EINVAL, Errno::EFAULT])
}

fn perf(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_perf_event_open, 0, 0, -1, -1, 0);
    Outcome::of(result, &[Errno::EFAULT])
}

/// A handle of this very root directory.
fn handle(_: &Facts) -> Outcome {
    let mut handle = vec![0; 256];
    handle[0..4].copy_from_slice(&128_u32.to_ne_bytes());
    let mut mount = vec![0; 64];
    let named = call!(
        libc::SYS_name_to_handle_at,
        libc::AT_FDCWD,
        c"/",
        &mut handle,
        &mut mount,
        0
    );
    if let Err(errno) = named {
        return Outcome::Absent(format!("name_to_handle_at: {errno:?}"));
    }
    let result = call!(
        libc::SYS_open_by_handle_at,
        libc::AT_FDCWD,
        &mut handle,
        libc::O_RDONLY
    );
    Outcome::of(result, &[Errno::ESTALE])
}

/// Class "content" can hold up every process of the host.
fn fanotify(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_fanotify_init, 4, 0), &[])
}

fn fanotify_plain(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_fanotify_init, 0x200, 0), &[])
}

fn io_uring(_: &Facts) -> Outcome {
    let mut parameters = vec![0; 256];
    Outcome::of(call!(libc::SYS_io_uring_setup, 1, &mut parameters), &[])
}

fn userfaultfd(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_userfaultfd, 1), &[])
}

fn vmsplice(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_vmsplice, -1, 0, 0, 0), &[Errno::EBADF])
}

fn pkey(_: &Facts) -> Outcome {
    let result = call!(libc::SYS_pkey_alloc, 0, 0);
    Outcome::of(result, &[Errno::ENOSPC])
}

fn personality(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_personality, 0x4_0000), &[])
}

fn personality_exec(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_personality, 0x40_0000), &[])
}

/// On a descriptor that is none.
fn terminal(request: libc::c_ulong) -> Outcome {
    let request = i64::try_from(request).unwrap_or(0);
    Outcome::of(call!(libc::SYS_ioctl, -1, request, 0), &[Errno::EBADF])
}

/// The kernel reads the lower half only, and so must a filter.
fn terminal_high(_: &Facts) -> Outcome {
    let request = i64::try_from(libc::TIOCSTI).unwrap_or(0) | 1 << 32;
    Outcome::of(call!(libc::SYS_ioctl, -1, request, 0), &[Errno::EBADF])
}

fn vhangup(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_vhangup), &[])
}

fn unknown(_: &Facts) -> Outcome {
    Outcome::of(call!(1023), &[])
}

fn move_pages(facts: &Facts) -> Outcome {
    let result = call!(libc::SYS_move_pages, i64::from(facts.target), 0, 0, 0, 0, 0);
    Outcome::of(result, &[])
}

/// For this process only, and it does not use it.
#[cfg(target_arch = "x86_64")]
fn ioperm(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_ioperm, 0x80, 1, 1), &[])
}

#[cfg(target_arch = "x86_64")]
fn iopl(_: &Facts) -> Outcome {
    Outcome::of(call!(libc::SYS_iopl, 3), &[])
}

#[cfg(target_arch = "x86_64")]
fn modify_ldt(_: &Facts) -> Outcome {
    let mut table = vec![0; 4096];
    Outcome::of(call!(libc::SYS_modify_ldt, 0, &mut table, 64), &[])
}

/// getpid with the bit of that ABI.
#[cfg(target_arch = "x86_64")]
fn x32(_: &Facts) -> Outcome {
    Outcome::of(call!(0x4000_0000 | libc::SYS_getpid), &[])
}

#[cfg(target_arch = "x86_64")]
fn i386(_: &Facts) -> Outcome {
    match crate::call::call_of_i386() {
        pid if pid > 0 => Outcome::Allowed(format!("getpid says {pid}")),
        negative => Outcome::Blocked(format!("{negative}")),
    }
}
