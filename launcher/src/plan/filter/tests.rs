#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
use super::code::{ALWAYS, LOAD, RETURN};
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
            ALWAYS => at += one.operand as usize,
            code => {
                let holds = match code {
                    EQUAL => value == one.operand,
                    ANY_BIT => value & one.operand != 0,
                    _ => value >= one.operand,
                };
                at += usize::from(if holds { one.jump_true } else { one.jump_false });
            }
        }
    }
}

fn plain() -> Vec<Instruction> {
    program(&SystemCalls::default(), &Confinement::default()).unwrap()
}

fn with(profile: Profile, nesting: bool) -> Confinement {
    Confinement {
        profile,
        nesting,
        architectures: Vec::new(),
    }
}

fn of(program: &[Instruction], call: Sysno, args: [u64; 3]) -> u32 {
    verdict(program, ARCHITECTURE, call.id() as u32, args)
}

#[test]
fn every_call_gets_its_verdict() {
    let plain = plain();
    assert!(plain.len() < 400, "{} instructions", plain.len());
    let special = special(Profile::Default);
    let by_number = |call: &Sysno| special.iter().all(|(other, _)| *other != call.name());
    for call in native().filter(by_number) {
        let want = if REFUSED.contains(&call) {
            fail(libc::EPERM)
        } else {
            ALLOW
        };
        assert_eq!(of(&plain, call, [0; 3]), want, "{}", call.name());
    }
    let unknown = native().map(|call| call.id() as u32).max().unwrap() + 1;
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
    let plain = plain();
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
        (Sysno::socketpair, [1, 1, 0], ALLOW),
        (Sysno::socketpair, [1 | high, 1, 0], ALLOW),
        (Sysno::socketpair, [2, 1, 0], family),
        (Sysno::socketpair, [30, 1, 0], family),
        (Sysno::socketpair, [40, 1, 0], family),
        (Sysno::socketpair, [40 | high, 1, 0], family),
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
    let declared = SystemCalls {
        allowed: names(&["keyctl", "nonsense"]),
        refused: names(&["mount", "socket"]),
    };
    let own = program(&declared, &Confinement::default()).unwrap();
    assert_eq!(of(&own, Sysno::keyctl, [0; 3]), ALLOW);
    assert_eq!(of(&own, Sysno::bpf, [0; 3]), fail(libc::EPERM));
    assert_eq!(of(&own, Sysno::mount, [0; 3]), fail(libc::EPERM));
    assert_eq!(of(&own, Sysno::socket, [1, 1, 0]), fail(libc::EPERM));
}

/// A newer table of system calls must not open the kernel further without anybody looking.
#[test]
fn what_is_allowed_was_decided() {
    let allowed = native().filter(|call| !REFUSED.contains(call)).count();
    let newest = native().map(|call| call.id()).max();
    #[cfg(target_arch = "x86_64")]
    assert_eq!((allowed, newest), (340, Some(469)));
    #[cfg(not(target_arch = "x86_64"))]
    assert!(allowed > 200 && newest.is_some());
    assert_eq!(of(&plain(), Sysno::last(), [0; 3]), ALLOW);
}

#[test]
fn profiles() {
    let none = SystemCalls::default();
    let no = fail(libc::EPERM);
    let strict = program(&none, &with(Profile::Strict, false)).unwrap();
    let user = 0x1000_0000;
    for (call, args, want) in [
        (Sysno::mount, [0; 3], no),
        (Sysno::setns, [0; 3], no),
        (Sysno::ptrace, [0; 3], no),
        (Sysno::keyctl, [0; 3], no),
        (Sysno::clone3, [0; 3], fail(libc::ENOSYS)),
        (Sysno::clone, [0x3d_0f00, 0, 0], ALLOW),
        (Sysno::clone, [user | 17, 0, 0], no),
        (Sysno::unshare, [0x400, 0, 0], ALLOW),
        (Sysno::unshare, [user, 0, 0], no),
        (Sysno::openat, [0; 3], ALLOW),
    ] {
        assert_eq!(of(&strict, call, args), want, "{} {args:x?}", call.name());
    }
    let nesting = program(&none, &with(Profile::Default, true)).unwrap();
    assert_eq!(of(&nesting, Sysno::keyctl, [0; 3]), ALLOW);
    assert_eq!(of(&nesting, Sysno::bpf, [0; 3]), no);
    assert_eq!(program(&none, &with(Profile::Privileged, false)), None);
    let declared = SystemCalls {
        allowed: vec!["unshare".into()],
        refused: vec!["keyctl".into()],
    };
    let privileged = program(&declared, &with(Profile::Privileged, false)).unwrap();
    assert_eq!(of(&privileged, Sysno::keyctl, [0; 3]), no);
    assert_eq!(of(&privileged, Sysno::bpf, [0; 3]), ALLOW);
    assert_eq!(of(&privileged, Sysno::ioctl, [0, libc::TIOCSTI, 0]), ALLOW);
    let strict = program(&declared, &with(Profile::Strict, false)).unwrap();
    assert_eq!(of(&strict, Sysno::unshare, [user, 0, 0]), ALLOW);
}

/// A 32-bit program gets the verdict of the same name, whatever its number.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_another_architecture() {
    use syscalls::x86::Sysno as Other;
    let confinement = Confinement {
        architectures: vec![Architecture::X86],
        ..Confinement::default()
    };
    let both = program(&SystemCalls::default(), &confinement).unwrap();
    assert!(both.len() < 1000, "{} instructions", both.len());
    let no = fail(libc::EPERM);
    for (call, args, want) in [
        (Other::write, [1, 0, 0], ALLOW),
        (Other::socketcall, [1, 0, 0], ALLOW),
        (Other::keyctl, [0; 3], no),
        (Other::clock_settime64, [0; 3], no),
        (Other::vm86, [0; 3], no),
        (Other::last(), [0; 3], ALLOW),
        (Other::ioctl, [0, libc::TIOCSTI, 0], no),
        (Other::socket, [40, 1, 0], fail(libc::EAFNOSUPPORT)),
        (Other::socket, [2, 1, 0], ALLOW),
        (Other::socketpair, [1, 1, 0], ALLOW),
        (Other::socketpair, [30, 1, 0], fail(libc::EAFNOSUPPORT)),
        (Other::personality, [0x8, 0, 0], ALLOW),
    ] {
        let got = verdict(&both, ARCHITECTURE_X86, call.id() as u32, args);
        assert_eq!(got, want, "{} {args:x?}", call.name());
    }
    for call in Other::iter().filter(|call| REFUSED.iter().any(|one| one.name() == call.name())) {
        let got = verdict(&both, ARCHITECTURE_X86, call.id() as u32, [0; 3]);
        assert_eq!(got, no, "{}", call.name());
    }
    assert_eq!(of(&both, Sysno::keyctl, [0; 3]), no);
    assert_eq!(of(&both, Sysno::openat, [0; 3]), ALLOW);
    assert_eq!(verdict(&both, 0x4000_0028, 4, [0; 3]), KILL);
    let unknown = verdict(&both, ARCHITECTURE_X86, 9_999, [0; 3]);
    assert_eq!(unknown, fail(libc::ENOSYS));
}

/// Names that no table has would refuse nothing.
#[cfg(target_arch = "x86_64")]
#[test]
fn names_are_of_calls() {
    let known = |name: &str| {
        native().any(|call| call.name() == name)
            || syscalls::x86::Sysno::iter().any(|call| call.name() == name)
    };
    for name in REFUSED_32
        .iter()
        .chain(STRICT)
        .chain(NESTING)
        .chain(&NAMESPACES)
    {
        assert!(known(name), "{name}");
    }
}
