//! Loop devices: the ioctls of loop(4).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const EMPTY: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// What of its file a loop device shows, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 is all to the end of the file.
    pub size: u64,
    /// Refuses writes.
    pub read_only: bool,
}

/// An attached loop device, as it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Device and inode of its file, the device as the kernel encodes it.
    pub file: (u64, u64),
    /// What it shows.
    pub extent: Extent,
    /// Detached at its last close.
    pub autoclear: bool,
}

/// The number of a device without a file; another process may be faster to take it.
pub fn free_number(control: BorrowedFd) -> nix::Result<libc::c_long> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    super::check(number.into())
}

/// Whether the file is read past the page cache, so that what the device caches is not cached twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Through the page cache.
    Twice,
    /// Past it, where the file system of the file can.
    Once,
}

/// Attaches `file` to the free device `device` until the last user closes it (Linux 5.8). EBUSY: it is no longer free.
pub fn attach(
    device: BorrowedFd,
    file: BorrowedFd,
    extent: Extent,
    name: &[u8],
    cache: Cache,
) -> nix::Result<()> {
    let mut info = Info {
        offset: extent.offset,
        size_limit: extent.size,
        flags: AUTOCLEAR,
        ..EMPTY
    };
    if extent.read_only {
        info.flags |= READ_ONLY;
    }
    if cache == Cache::Once {
        info.flags |= DIRECT_IO;
    }
    // The last byte stays NUL. For people: the kernel's own name of the file is in sysfs.
    for (to, from) in info.file_name.iter_mut().take(63).zip(name) {
        *to = *from;
    }
    let config = Config {
        fd: file.as_raw_fd().cast_unsigned(),
        // Direct access would raise it to that of the disk, which small file systems cannot take.
        block_size: 512,
        info,
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one struct loop_config.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    super::check(ret.into()).map(drop)
}

/// What `device` is attached to. ENXIO: to nothing.
pub fn status(device: BorrowedFd) -> nix::Result<Status> {
    let mut info = EMPTY;
    // SAFETY: LOOP_GET_STATUS64 writes one struct loop_info64.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    super::check(ret.into())?;
    Ok(Status {
        file: (info.device, info.inode),
        extent: Extent {
            offset: info.offset,
            size: info.size_limit,
            read_only: info.flags & READ_ONLY != 0,
        },
        autoclear: info.flags & AUTOCLEAR != 0,
    })
}

/// A device number of stat(2) as [`Status::file`] has it.
pub fn kernel_device(device: u64) -> u64 {
    let (major, minor) = (
        u64::from(libc::major(device)),
        u64::from(libc::minor(device)),
    );
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }

    #[test]
    fn device_numbers() {
        assert_eq!(kernel_device(libc::makedev(8, 1)), 0x801);
        assert_eq!(kernel_device(libc::makedev(259, 0x12345)), 0x1231_0345);
    }
}
