//! The only unsafe code of the payload: system calls by number, and fork.

use std::ffi::CStr;

use nix::{errno::Errno, libc, unistd::ForkResult};

/// One argument of a system call.
pub(crate) enum Arg<'a> {
    Int(i64),
    Text(&'a CStr),
    Bytes(&'a mut [u8]),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Arg::Int(value)
    }
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Arg::Int(value.into())
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(value: &'a CStr) -> Self {
        Arg::Text(value)
    }
}

impl<'a> From<&'a mut Vec<u8>> for Arg<'a> {
    fn from(value: &'a mut Vec<u8>) -> Self {
        Arg::Bytes(value)
    }
}

impl Arg<'_> {
    fn word(&mut self) -> libc::c_long {
        match self {
            Arg::Int(value) => *value,
            Arg::Text(text) => text.as_ptr() as libc::c_long,
            Arg::Bytes(bytes) => bytes.as_mut_ptr() as libc::c_long,
        }
    }
}

/// Makes a system call. Only for calls that change no memory but that of their arguments: every probe is a process of its
/// own, and what it breaks ends with it.
pub(crate) fn raw(number: libc::c_long, mut args: Vec<Arg<'_>>) -> Result<i64, Errno> {
    let mut words = [0; 6];
    for (word, arg) in words.iter_mut().zip(&mut args) {
        *word = arg.word();
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers among the words lead to `args`, which live until the end of this function; buffers are larger than
    // what any call of the probes writes.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    Errno::result(result)
}

/// `call!(NUMBER, ARGUMENT...)`
macro_rules! call {
    ($number:expr $(, $arg:expr)* $(,)?) => {
        $crate::call::raw($number, vec![$($crate::call::Arg::from($arg)),*])
    };
}
pub(crate) use call;

/// fork(2).
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the payload never has a second thread.
    unsafe { nix::unistd::fork() }
}

/// `getpid` of the 32-bit ABI of x86, which a filter that looks at native calls only does not see.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_of_i386() -> i64 {
    let result: i64;
    // SAFETY: getpid takes nothing and changes nothing; the registers that the entry clobbers are declared.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}
