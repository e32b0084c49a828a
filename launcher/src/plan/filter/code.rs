//! Filter programs out of tables: the instructions of classic BPF and a search by number.
// Constants of the kernel's interface, all of them small, come in several widths.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use nix::libc;

use crate::sys::seccomp::Instruction;

// Offsets in struct seccomp_data.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
pub(super) const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const ALWAYS: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub(super) const fn fail(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// Neighbours with the same verdict become one segment: its first number, and the verdict up to the next segment.
pub(super) fn segments(verdicts: &[(u32, u32)], unknown: u32) -> Vec<(u32, u32)> {
    let mut segments: Vec<(u32, u32)> = vec![(0, unknown)];
    let mut next = 0;
    let mut push = |start: u32, verdict: u32| match segments.last_mut() {
        Some((at, last)) if *at == start => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        _ => segments.push((start, verdict)),
    };
    for (number, verdict) in verdicts {
        if *number > next {
            push(next, unknown);
        }
        push(*number, *verdict);
        next = number + 1;
    }
    push(next, unknown);
    segments
}

/// A binary search for the segment of the loaded number.
pub(super) fn search(segments: &[(u32, u32)]) -> Vec<Instruction> {
    if let [(_, verdict)] = segments {
        return vec![ret(*verdict)];
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let (Some((start, _)), below) = (high.first(), search(low)) else {
        return Vec::new();
    };
    // A conditional jump skips at most 255 instructions, another one as many as there are.
    let mut code = match u8::try_from(below.len()) {
        Ok(length) => vec![jump(AT_LEAST, *start, length, 0)],
        Err(_) => vec![jump(AT_LEAST, *start, 0, 1), skip(below.len())],
    };
    code.extend(below);
    code.extend(search(high));
    code
}

pub(super) const fn load(offset: u32) -> Instruction {
    jump(LOAD, offset, 0, 0)
}

/// Passes over so many instructions in any case.
pub(super) fn skip(instructions: usize) -> Instruction {
    // The kernel takes no more than 4096 altogether.
    jump(
        ALWAYS,
        u32::try_from(instructions).unwrap_or(u32::MAX),
        0,
        0,
    )
}

pub(super) const fn ret(verdict: u32) -> Instruction {
    jump(RETURN, verdict, 0, 0)
}

pub(super) const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}
