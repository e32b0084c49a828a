//! What file system lies in an image, told by its superblock. Pure: bytes in, a [`FileSystem`] or a reason out.
//!
//! The bytes are hostile: nothing here is trusted beyond telling one kind from another, and saying early what the kernel
//! would say in fewer words. The kernel's own driver judges the file system.

use std::ffi::CStr;

/// Bytes from the start of a file system in which all superblocks known here lie.
pub const HEAD: u64 = 68 << 10;

/// A file system that an OS tree can lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 and ext4: one driver.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// SquashFS.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl Kind {
    /// Its name in filesystems(5).
    pub fn name(self) -> &'static CStr {
        match self {
            Kind::Ext4 => c"ext4",
            Kind::Xfs => c"xfs",
            Kind::Btrfs => c"btrfs",
            Kind::Squashfs => c"squashfs",
            Kind::Erofs => c"erofs",
        }
    }

    /// Whether it can be written at all.
    pub fn writable(self) -> bool {
        !matches!(self, Kind::Squashfs | Kind::Erofs)
    }

    /// Options that it is always mounted with.
    pub fn options(self) -> &'static [(&'static CStr, Option<&'static CStr>)] {
        match self {
            // The superblock may ask for a panic of the host.
            Kind::Ext4 => &[(c"errors", Some(c"remount-ro"))],
            // Two copies of an image have one UUID, which is no reason not to mount both.
            Kind::Xfs => &[(c"nouuid", None)],
            Kind::Btrfs | Kind::Squashfs | Kind::Erofs => &[],
        }
    }

    /// The option with which it is mounted from a device that cannot be written, though it was not unmounted cleanly.
    pub fn without_recovery(self) -> Option<(&'static CStr, Option<&'static CStr>)> {
        match self {
            Kind::Ext4 => Some((c"noload", None)),
            Kind::Xfs => Some((c"norecovery", None)),
            Kind::Btrfs => Some((c"rescue", Some(c"nologreplay"))),
            Kind::Squashfs | Kind::Erofs => None,
        }
    }
}

/// A recognised file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Which one.
    pub kind: Kind,
    /// Bytes that it says it has.
    pub size: u64,
}

/// Recognises the file system whose first bytes are `head`, up to [`HEAD`] of them.
pub fn recognise(head: &[u8]) -> Option<FileSystem> {
    let (kind, size) = if head.starts_with(b"hsqs") {
        (Kind::Squashfs, u64_at(head, 40))
    } else if head.starts_with(b"XFSB") {
        let blocks = bytes(head, 8).map(u64::from_be_bytes);
        let block = bytes(head, 4).map(u32::from_be_bytes);
        (Kind::Xfs, product(blocks, block.map(u64::from)))
    } else if head.get(1080..1082) == Some(&[0x53, 0xef]) {
        let shift = u32_at(head, 1048).and_then(|shift| 1024u64.checked_shl(shift.min(20)));
        (
            Kind::Ext4,
            product(u32_at(head, 1028).map(u64::from), shift),
        )
    } else if u32_at(head, 1024) == Some(0xe0f5_e1e2) {
        let shift = head
            .get(1036)
            .and_then(|shift| 1u64.checked_shl((*shift).min(20).into()));
        (
            Kind::Erofs,
            product(u32_at(head, 1060).map(u64::from), shift),
        )
    } else if head.get(0x1_0040..0x1_0048) == Some(b"_BHRfS_M") {
        (Kind::Btrfs, u64_at(head, 0x1_0070))
    } else {
        return None;
    };
    Some(FileSystem {
        kind,
        size: size.unwrap_or(u64::MAX),
    })
}

/// What else the bytes may be, with what to do about it.
pub fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const DECOMPRESS: &str = "decompress it first";
    const OPEN: &str = "open it first and name the device in /dev/mapper, or use a plain image";
    let found = if head.is_empty() {
        ("empty", "download or build it again")
    } else if head.starts_with(b"QFI\xfb") {
        (
            "a QEMU disk",
            "convert it: qemu-img convert -O raw OLD NEW.raw",
        )
    } else if head.starts_with(b"KDMV")
        || head.starts_with(b"conectix")
        || head.starts_with(b"vhdxfile")
    {
        (
            "a virtual machine's disk",
            "convert it: qemu-img convert -O raw OLD NEW.raw",
        )
    } else if head.starts_with(b"\xfd7zXZ\0") {
        ("compressed by xz", DECOMPRESS)
    } else if head.starts_with(b"\x1f\x8b") {
        ("compressed by gzip", DECOMPRESS)
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
        ("compressed by zstd", DECOMPRESS)
    } else if head.starts_with(b"BZh") {
        ("compressed by bzip2", DECOMPRESS)
    } else if head.get(257..262) == Some(b"ustar") {
        ("a tar archive", "unpack it into a directory and name that")
    } else if head.starts_with(b"LUKS\xba\xbe") {
        ("encrypted", OPEN)
    } else if head.starts_with(b"verity\0\0") {
        ("a verity tree", OPEN)
    } else if head.iter().all(|byte| *byte == 0) {
        ("full of zeros at its start", "download or build it again")
    } else {
        return None;
    };
    Some(found)
}

fn product(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a?.checked_mul(b?)
}

fn bytes<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Four bytes, the least first.
pub fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    bytes(head, at).map(u32::from_le_bytes)
}

/// Eight bytes, the least first.
pub fn u64_at(head: &[u8], at: usize) -> Option<u64> {
    bytes(head, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 0x1_1000];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn kinds_and_sizes() {
        let cases = [
            (head(&[(0, b"hsqs"), (40, &[0, 16])]), Kind::Squashfs, 4096),
            (
                head(&[(0, b"XFSB\0\0\x10\0\0\0\0\0\0\0\0\x02")]),
                Kind::Xfs,
                8192,
            ),
            (
                head(&[(1080, &[0x53, 0xef]), (1028, &[3]), (1048, &[2])]),
                Kind::Ext4,
                12288,
            ),
            (
                head(&[
                    (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
                    (1036, &[12]),
                    (1060, &[2]),
                ]),
                Kind::Erofs,
                8192,
            ),
            (
                head(&[(0x1_0040, b"_BHRfS_M"), (0x1_0070, &[0, 1])]),
                Kind::Btrfs,
                256,
            ),
        ];
        for (head, kind, size) in cases {
            assert_eq!(recognise(&head), Some(FileSystem { kind, size }));
        }
    }

    #[test]
    fn a_size_beyond_all_numbers_is_one() {
        let absurd = head(&[(0, b"XFSB\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]);
        assert_eq!(recognise(&absurd).unwrap().size, u64::MAX);
        let shifted = head(&[(1080, &[0x53, 0xef]), (1028, &[255; 4]), (1048, &[255; 4])]);
        assert!(recognise(&shifted).unwrap().size > 1 << 50);
    }

    #[test]
    fn any_length_is_judged() {
        for kind in [&b"hsqs"[..], b"XFSB", b"QFI\xfb", b"x", b""] {
            for length in (0..2048).chain([0x1_0044, 0x1_0070, 0x1_0074]) {
                let mut head = vec![0x53; length];
                for (to, from) in head.iter_mut().zip(kind) {
                    *to = *from;
                }
                let _ = (recognise(&head), foreign(&head));
            }
        }
        assert_eq!(foreign(&[]).unwrap().0, "empty");
        assert_eq!(foreign(&[0; 9]).unwrap().0, "full of zeros at its start");
        assert_eq!(recognise(b"hsqs").unwrap().size, u64::MAX);
    }
}
