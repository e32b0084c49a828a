//! The system call filter of a container, as a program for seccomp(2).
//!
//! An allow list: what this release of the launcher knows and does not refuse. A refused call fails with EPERM, one that
//! is not known yet with ENOSYS, so that programs fall back as on an older kernel. Calls of another architecture end the
//! program: a filter sees their arguments differently, or not at all (socketcall). Arguments are compared by their lower
//! 32 bits where the kernel reads only those.
// Constants of the kernel's interface, all of them small, come in several widths.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use nix::libc;
use skep_spec::SystemCalls;
use syscalls::Sysno;

use crate::sys::seccomp::Instruction;

/// Refused to every container unless its declaration allows them: they reach the kernel beyond the container, need a
/// capability that no container has, or are large and rarely needed.
const REFUSED: &[Sysno] = &[
    // The clock, the log, accounting, quota and swap are the host's.
    Sysno::adjtimex,
    Sysno::clock_adjtime,
    Sysno::clock_settime,
    Sysno::settimeofday,
    Sysno::syslog,
    Sysno::acct,
    Sysno::quotactl,
    Sysno::quotactl_fd,
    Sysno::swapon,
    Sysno::swapoff,
    // Other kernels and parts of this one.
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::bpf,
    Sysno::perf_event_open,
    // Keys are not namespaced in full.
    Sysno::add_key,
    Sysno::request_key,
    Sysno::keyctl,
    // Files by handle leave every root directory behind.
    Sysno::open_by_handle_at,
    Sysno::lookup_dcookie,
    Sysno::nfsservctl,
    Sysno::fanotify_init,
    Sysno::fanotify_mark,
    // Favourites of kernel exploits.
    Sysno::io_uring_setup,
    Sysno::io_uring_enter,
    Sysno::io_uring_register,
    Sysno::userfaultfd,
    Sysno::vmsplice,
    Sysno::pkey_alloc,
    Sysno::pkey_free,
    Sysno::pkey_mprotect,
    #[cfg(target_arch = "x86_64")]
    Sysno::create_module,
    #[cfg(target_arch = "x86_64")]
    Sysno::get_kernel_syms,
    #[cfg(target_arch = "x86_64")]
    Sysno::query_module,
    #[cfg(target_arch = "x86_64")]
    Sysno::ioperm,
    #[cfg(target_arch = "x86_64")]
    Sysno::iopl,
    #[cfg(target_arch = "x86_64")]
    Sysno::modify_ldt,
    #[cfg(target_arch = "x86_64")]
    Sysno::uselib,
    #[cfg(target_arch = "x86_64")]
    Sysno::ustat,
    #[cfg(target_arch = "x86_64")]
    Sysno::sysfs,
    #[cfg(target_arch = "x86_64")]
    Sysno::_sysctl,
];

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Calls of the x32 ABI carry this bit.
const X32_BIT: u32 = 0x4000_0000;

/// Address families that a guest may use. The others are for the host's hardware or for its hypervisor, or a part of the
/// kernel that hardly anybody uses and many have broken (AF_ALG, AF_VSOCK).
const FAMILIES: [u32; 5] = [
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
    libc::AF_PACKET as u32,
];

/// Personalities that change only what a program sees of the machine's name; the others weaken address randomization.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Requests that put input into a terminal.
const TERMINAL_INPUT: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const fn fail(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// The filter with what a declaration changes. A call that this machine does not have is passed over.
pub fn program(declared: &SystemCalls) -> Vec<Instruction> {
    let has = |names: &[String], call: Sysno| names.iter().any(|name| name == call.name());
    let verdict = |call: Sysno| {
        let refuse = REFUSED.contains(&call) && !has(&declared.allowed, call)
            || has(&declared.refused, call);
        if refuse { fail(libc::EPERM) } else { ALLOW }
    };
    let mut verdicts: Vec<(u32, u32)> = Sysno::iter()
        .filter_map(|call| Some((u32::try_from(call.id()).ok()?, verdict(call))))
        .collect();
    verdicts.sort_unstable();
    let mut program = vec![
        load(ARCH),
        jump(EQUAL, ARCHITECTURE, 1, 0),
        ret(KILL),
        load(NUMBER),
        jump(AT_LEAST, X32_BIT, 0, 1),
        ret(fail(libc::ENOSYS)),
    ];
    for (call, body) in special() {
        // A call that is refused altogether needs no look at its arguments.
        if verdict(call) == ALLOW {
            let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
            let number = u32::try_from(call.id()).unwrap_or(u32::MAX);
            program.push(jump(EQUAL, number, 0, length));
            program.extend(body);
        }
    }
    program.extend(search(&segments(&verdicts)));
    program
}

/// The calls whose arguments decide. Each body ends in a return on every path.
fn special() -> [(Sysno, Vec<Instruction>); 3] {
    let mut ioctl = vec![load(argument(1))];
    for request in TERMINAL_INPUT {
        ioctl.extend([jump(EQUAL, request, 0, 1), ret(fail(libc::EPERM))]);
    }
    ioctl.push(ret(ALLOW));
    let mut personality = vec![load(argument(0))];
    for known in PERSONALITIES {
        personality.extend([jump(EQUAL, known, 0, 1), ret(ALLOW)]);
    }
    personality.push(ret(fail(libc::EPERM)));
    let mut socket = vec![load(argument(0))];
    for family in FAMILIES.into_iter().filter(|family| *family != NETLINK) {
        socket.extend([jump(EQUAL, family, 0, 1), ret(ALLOW)]);
    }
    socket.extend([
        jump(EQUAL, NETLINK, 1, 0),
        ret(fail(libc::EAFNOSUPPORT)),
        // Without audit a login works; with an audit that refuses it does not.
        load(argument(2)),
        jump(EQUAL, libc::NETLINK_AUDIT as u32, 0, 1),
        ret(fail(libc::EAFNOSUPPORT)),
        ret(ALLOW),
    ]);
    [
        (Sysno::ioctl, ioctl),
        (Sysno::personality, personality),
        (Sysno::socket, socket),
    ]
}

const NETLINK: u32 = libc::AF_NETLINK as u32;

/// Neighbours with the same verdict become one segment: its first number, and the verdict up to the next segment.
fn segments(verdicts: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut segments: Vec<(u32, u32)> = vec![(0, fail(libc::ENOSYS))];
    let mut next = 0;
    let mut push = |start: u32, verdict: u32| match segments.last_mut() {
        Some((at, last)) if *at == start => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        _ => segments.push((start, verdict)),
    };
    for (number, verdict) in verdicts {
        if *number > next {
            push(next, fail(libc::ENOSYS));
        }
        push(*number, *verdict);
        next = number + 1;
    }
    push(next, fail(libc::ENOSYS));
    segments
}

/// A binary search for the segment of the loaded number.
fn search(segments: &[(u32, u32)]) -> Vec<Instruction> {
    if let [(_, verdict)] = segments {
        return vec![ret(*verdict)];
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let (Some((start, _)), below) = (high.first(), search(low)) else {
        return Vec::new();
    };
    // A jump skips at most 255 instructions; the test below keeps the program far smaller.
    let length = u8::try_from(below.len()).unwrap_or(u8::MAX);
    let mut code = vec![jump(AT_LEAST, *start, length, 0)];
    code.extend(below);
    code.extend(search(high));
    code
}

const fn load(offset: u32) -> Instruction {
    jump(LOAD, offset, 0, 0)
}

const fn ret(verdict: u32) -> Instruction {
    jump(RETURN, verdict, 0, 0)
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Runs a program on a call, as the kernel would.
    fn verdict(program: &[Instruction], arch: u32, number: u32, args: [u64; 3]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let one = program[at];
            at += 1;
            match one.code {
                LOAD => {
                    value = match one.operand {
                        NUMBER => number,
                        ARCH => arch,
                        offset => args[(offset as usize - 16) / 8] as u32,
                    }
                }
                RETURN => return one.operand,
                code => {
                    let holds = match code {
                        EQUAL => value == one.operand,
                        _ => value >= one.operand,
                    };
                    at += usize::from(if holds { one.jump_true } else { one.jump_false });
                }
            }
        }
    }

    fn of(program: &[Instruction], call: Sysno, args: [u64; 3]) -> u32 {
        verdict(program, ARCHITECTURE, call.id() as u32, args)
    }

    #[test]
    fn every_call_gets_its_verdict() {
        let plain = program(&SystemCalls::default());
        assert!(plain.len() < 255, "{} instructions", plain.len());
        for call in Sysno::iter().filter(|call| special().iter().all(|(other, _)| other != call)) {
            let want = if REFUSED.contains(&call) {
                fail(libc::EPERM)
            } else {
                ALLOW
            };
            assert_eq!(of(&plain, call, [0; 3]), want, "{}", call.name());
        }
        let unknown = Sysno::iter().map(|call| call.id() as u32).max().unwrap() + 1;
        for number in [unknown, 9_999, X32_BIT, X32_BIT + 1, u32::MAX] {
            assert_eq!(
                verdict(&plain, ARCHITECTURE, number, [0; 3]),
                fail(libc::ENOSYS),
                "{number}"
            );
        }
        assert_eq!(verdict(&plain, 0x4000_0003, 102, [0; 3]), KILL);
    }

    #[test]
    fn arguments_decide_by_what_the_kernel_reads() {
        let plain = program(&SystemCalls::default());
        let no = fail(libc::EPERM);
        let family = fail(libc::EAFNOSUPPORT);
        let high = 1 << 32;
        for (call, args, want) in [
            (Sysno::ioctl, [0, libc::TIOCSTI, 0], no),
            (Sysno::ioctl, [0, libc::TIOCSTI | high, 0], no),
            (Sysno::ioctl, [0, libc::TIOCGWINSZ, 0], ALLOW),
            (Sysno::personality, [0xffff_ffff, 0, 0], ALLOW),
            (Sysno::personality, [0x4_0000, 0, 0], no),
            (Sysno::socket, [1, 1, 0], ALLOW),
            (Sysno::socket, [17, 3, 0], ALLOW),
            (Sysno::socket, [38, 5, 0], family),
            (Sysno::socket, [38 | high, 5, 0], family),
            (Sysno::socket, [40, 1, 0], family),
            (Sysno::socket, [16, 3, 0], ALLOW),
            (Sysno::socket, [16, 3, 9], family),
        ] {
            assert_eq!(of(&plain, call, args), want, "{} {args:x?}", call.name());
        }
    }

    #[test]
    fn a_declaration_allows_and_refuses() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let own = program(&SystemCalls {
            allowed: names(&["keyctl", "nonsense"]),
            refused: names(&["mount", "socket"]),
        });
        assert_eq!(of(&own, Sysno::keyctl, [0; 3]), ALLOW);
        assert_eq!(of(&own, Sysno::bpf, [0; 3]), fail(libc::EPERM));
        assert_eq!(of(&own, Sysno::mount, [0; 3]), fail(libc::EPERM));
        assert_eq!(of(&own, Sysno::socket, [1, 1, 0]), fail(libc::EPERM));
    }

    /// A newer table of system calls must not open the kernel further without anybody looking.
    #[test]
    fn what_is_allowed_was_decided() {
        let allowed = Sysno::iter().filter(|call| !REFUSED.contains(call)).count();
        let newest = Sysno::iter().map(|call| call.id()).max();
        #[cfg(target_arch = "x86_64")]
        assert_eq!((allowed, newest), (339, Some(468)));
        #[cfg(not(target_arch = "x86_64"))]
        assert!(allowed > 200 && newest.is_some());
    }
}
