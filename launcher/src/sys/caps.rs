//! Capability sets: capset(2) and the bounding set.

use nix::errno::Errno;
use nix::libc;

/// A set of capabilities, bit N for capability number N of capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Whether the set holds capability number `cap`.
    pub fn has(self, cap: u32) -> bool {
        self.0 & (1 << cap) != 0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Removes every capability outside `keep` from the bounding set.
pub fn limit_bounding(keep: CapSet) -> nix::Result<()> {
    for cap in 0..64 {
        if keep.has(cap) {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes one integer.
        let ret = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap as libc::c_ulong, 0, 0, 0) };
        match super::check(ret.into()) {
            Ok(_) => {}
            // The first number this kernel does not know: all are done.
            Err(Errno::EINVAL) => break,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Limits the permitted set to `keep` and makes all of it effective; the inheritable set is emptied.
pub fn limit_permitted(keep: CapSet) -> nix::Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let set = CapSet(keep.0 & permitted(&header)?);
    let half = |shift: u32| Data {
        effective: ((set.0 >> shift) & 0xffff_ffff) as u32,
        permitted: ((set.0 >> shift) & 0xffff_ffff) as u32,
        inheritable: 0,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and the two data elements have the layout that version 3 of the interface defines.
    super::check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
        .map(drop)
}

/// The permitted set: without a user namespace it can be less than the host's root usually has.
fn permitted(header: &Header) -> nix::Result<u64> {
    let mut data = [const {
        Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        }
    }; 2];
    // SAFETY: version 3 of the interface writes two data elements.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_capget,
            std::ptr::from_ref(header),
            data.as_mut_ptr(),
        )
    })?;
    Ok(u64::from(data[1].permitted) << 32 | u64::from(data[0].permitted))
}
