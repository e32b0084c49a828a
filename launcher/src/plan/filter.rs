//! The system call filter of a container, as a program for seccomp(2).
//!
//! An allow list: what this release of the launcher knows and does not refuse. A refused call fails with EPERM, one that
//! is not known yet with ENOSYS, so that programs fall back as on an older kernel. Calls of another architecture end the
//! program unless it was declared, and then have a table of their own; what 32-bit x86 programs pass to socketcall(2) no
//! filter can see. Arguments are compared by their lower 32 bits where the kernel reads only those.
// Constants of the kernel's interface, all of them small, come in several widths.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod code;

use nix::libc;
use skep_spec::{Architecture, Confinement, Profile, SystemCalls};
use syscalls::Sysno;

use self::code::{
    ALLOW, ANY_BIT, ARCH, AT_LEAST, EQUAL, KILL, NUMBER, argument, fail, jump, load, ret, search,
    segments, skip,
};
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

/// The same, by names that only 32-bit ABIs have.
const REFUSED_32: &[&str] = &[
    "stime",
    "clock_settime64",
    "clock_adjtime64",
    "vm86",
    "vm86old",
    "idle",
    "bdflush",
];

/// What engines for containers do with keys: they give each container a session keyring.
const NESTING: &[&str] = &["add_key", "keyctl", "request_key"];

/// Refused by the strict profile beside the others: mounts, other namespaces, a look into other processes.
const STRICT: &[&str] = &[
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "mount_setattr",
    "setns",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "pidfd_getfd",
    "move_pages",
    "migrate_pages",
];

/// Calls that the strict profile refuses by their flags, unless the declaration allows them by name.
const NAMESPACES: [&str; 2] = ["clone", "unshare"];

/// `CLONE_NEW*` of namespaces.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
const ARCHITECTURE_X86: u32 = 0x4000_0003;

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

/// One way to call the kernel.
struct Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    architecture: u32,
    /// Numbers from here on are of an ABI within this one, which no container may use.
    end: u32,
    /// Every call by number and name.
    calls: Vec<(u32, &'static str)>,
}

impl Abi {
    fn native() -> Abi {
        let known = native().filter_map(|call| Some((number(call.id())?, call.name())));
        Abi {
            architecture: ARCHITECTURE,
            end: X32_BIT,
            calls: known.collect(),
        }
    }

    /// None on a machine that does not run its programs.
    fn of(architecture: Architecture) -> Option<Abi> {
        use syscalls::x86::Sysno;
        let known = Sysno::iter().chain([Sysno::last()]);
        let known = known.filter_map(|call| Some((number(call.id())?, call.name())));
        match architecture {
            Architecture::X86 => cfg!(target_arch = "x86_64").then(|| Abi {
                architecture: ARCHITECTURE_X86,
                end: X32_BIT,
                calls: known.collect(),
            }),
        }
    }
}

/// Every call of this machine. The iterator of the table ends before the last one (syscalls 0.8).
fn native() -> impl Iterator<Item = Sysno> {
    Sysno::iter().chain([Sysno::last()])
}

fn number(id: impl TryInto<u32>) -> Option<u32> {
    id.try_into().ok()
}

/// The filter of a profile with what a declaration changes; none where nothing is refused. A call that this machine does
/// not have is passed over.
pub fn program(declared: &SystemCalls, confinement: &Confinement) -> Option<Vec<Instruction>> {
    if confinement.profile == Profile::Privileged && declared.refused.is_empty() {
        return None;
    }
    let others = confinement.architectures.iter().copied();
    let abis = std::iter::once(Abi::native()).chain(others.filter_map(Abi::of));
    let mut program = vec![load(ARCH)];
    for abi in abis {
        let section = section(&abi, declared, confinement);
        program.extend([jump(EQUAL, abi.architecture, 1, 0), skip(section.len())]);
        program.extend(section);
    }
    program.push(ret(KILL));
    Some(program)
}

/// The part of a filter that judges the calls of one ABI. It ends in a return on every path.
fn section(abi: &Abi, declared: &SystemCalls, confinement: &Confinement) -> Vec<Instruction> {
    let has = |names: &[String], call: &str| names.iter().any(|name| name == call);
    let verdict = |call: &str| {
        let base = base(call, confinement);
        if has(&declared.refused, call) {
            fail(libc::EPERM)
        } else if has(&declared.allowed, call) {
            ALLOW
        } else {
            base
        }
    };
    let unknown = match confinement.profile {
        Profile::Privileged => ALLOW,
        Profile::Default | Profile::Strict => fail(libc::ENOSYS),
    };
    let mut verdicts: Vec<(u32, u32)> = abi
        .calls
        .iter()
        .map(|(number, name)| (*number, verdict(name)))
        .collect();
    verdicts.sort_unstable();
    let mut code = vec![
        load(NUMBER),
        jump(AT_LEAST, abi.end, 0, 1),
        ret(fail(libc::ENOSYS)),
    ];
    for (name, body) in special(confinement.profile) {
        let call = abi.calls.iter().find(|(_, known)| *known == name);
        let named = NAMESPACES.contains(&name) && has(&declared.allowed, name);
        // A call that is refused altogether needs no look at its arguments.
        if let Some((number, _)) = call
            && verdict(name) == ALLOW
            && !named
        {
            let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
            code.push(jump(EQUAL, *number, 0, length));
            code.extend(body);
        }
    }
    code.extend(search(&segments(&verdicts, unknown)));
    code
}

/// What becomes of a call that the declaration does not name.
fn base(call: &str, confinement: &Confinement) -> u32 {
    let refused =
        REFUSED.iter().any(|refused| refused.name() == call) || REFUSED_32.contains(&call);
    match confinement.profile {
        Profile::Privileged => ALLOW,
        // Programs fall back to clone(2), whose flags can be seen.
        Profile::Strict if call == "clone3" => fail(libc::ENOSYS),
        Profile::Strict if STRICT.contains(&call) => fail(libc::EPERM),
        Profile::Default if confinement.nesting && NESTING.contains(&call) => ALLOW,
        Profile::Default | Profile::Strict if refused => fail(libc::EPERM),
        Profile::Default | Profile::Strict => ALLOW,
    }
}

/// The calls whose arguments decide. Each body ends in a return on every path.
fn special(profile: Profile) -> Vec<(&'static str, Vec<Instruction>)> {
    let mut all = Vec::new();
    if profile == Profile::Privileged {
        return all;
    }
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
    // The kernel loads the module of a family before it asks whether the family has pairs: only this one has.
    let pair = vec![
        load(argument(0)),
        jump(EQUAL, libc::AF_UNIX as u32, 0, 1),
        ret(ALLOW),
        ret(fail(libc::EAFNOSUPPORT)),
    ];
    all.extend([
        ("ioctl", ioctl),
        ("personality", personality),
        ("socket", socket),
        ("socketpair", pair),
    ]);
    if profile == Profile::Strict {
        let flags = vec![
            load(argument(0)),
            jump(ANY_BIT, NEW_NAMESPACES, 0, 1),
            ret(fail(libc::EPERM)),
            ret(ALLOW),
        ];
        all.extend(NAMESPACES.map(|call| (call, flags.clone())));
    }
    all
}

const NETLINK: u32 = libc::AF_NETLINK as u32;

#[cfg(test)]
mod tests;
