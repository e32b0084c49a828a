//! The GUID partition table, and which of its partitions holds the root file system.
//!
//! Pure: bytes in, partitions out. The bytes are hostile, so every number is checked before it is used: a partition given
//! out lies within the disk, and a table that contradicts itself or its check sums is refused whole.

use std::fmt;

use super::probe::{u32_at, u64_at};

/// Bytes from the start of a disk that hold the table's header, whatever the sector size.
pub const HEADER_AREA: u64 = 8192;

/// Larger tables than any tool makes are refused: 128 entries of 128 bytes are usual.
const MAX_TABLE: u64 = 1 << 20;

/// Partition type of Linux file systems without a more special one.
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

/// Partition type of the root file system of this machine's architecture: the Discoverable Partitions Specification.
pub const ROOT: &str = if cfg!(target_arch = "x86_64") {
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
} else if cfg!(target_arch = "aarch64") {
    "b921b045-1df0-41c3-af44-4c6f280d3fae"
} else if cfg!(target_arch = "x86") {
    "44479540-f297-41b2-9af7-d131d5f0458a"
} else if cfg!(target_arch = "arm") {
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3"
} else if cfg!(target_arch = "riscv64") {
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "c31c45e6-3f39-412e-80fb-4809c4980599"
} else if cfg!(target_arch = "s390x") {
    "5eead9a9-fe09-4a1e-a1d7-520d00531306"
} else if cfg!(target_arch = "loongarch64") {
    "77055800-792c-4f94-b39a-98c91b762bb6"
} else {
    LINUX
};

/// Types that an error names in words.
const NAMES: &[(&str, &str)] = &[
    (ROOT, "root"),
    (LINUX, "Linux file system"),
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "extended boot"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "swap"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "home"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "/usr"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "LVM"),
    ("ca7d7ccb-63ed-4c53-861c-1742536059cc", "LUKS"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "data"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "root of x86-64"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "root of arm64"),
    ("44479540-f297-41b2-9af7-d131d5f0458a", "root of x86"),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", "root of riscv64"),
];

/// Where the entries of a table lie, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a sector.
    sector: u64,
    /// Size of the disk.
    disk: u64,
    /// First byte of the entries.
    pub start: u64,
    /// Bytes of them all.
    pub length: u64,
    /// Bytes of one.
    entry: u32,
    check_sum: u32,
}

/// A used entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: usize,
    /// Its type: a GUID in lower case.
    pub kind: String,
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
    /// Flag "read-only" of the Discoverable Partitions Specification.
    pub read_only: bool,
    /// Flag "not to be mounted by itself" of it.
    pub hidden: bool,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES
            .iter()
            .find(|(kind, _)| *kind == self.kind)
            .map_or(self.kind.as_str(), |(_, name)| name);
        write!(f, "{}: {name} ({} MiB)", self.number, self.size >> 20)
    }
}

/// The header of the table on a disk of `disk` bytes that begins with `head`. `None`: there is no table.
pub fn header(head: &[u8], disk: u64) -> Option<Result<Header, String>> {
    [512usize, 4096].into_iter().find_map(|sector| {
        let header = head.get(sector..sector.checked_mul(2)?)?;
        header
            .starts_with(b"EFI PART")
            .then(|| checked(header, sector as u64, disk))
    })
}

fn checked(header: &[u8], sector: u64, disk: u64) -> Result<Header, String> {
    let number = |at| u32_at(header, at).ok_or("its header is cut off");
    let long = |at| u64_at(header, at).ok_or("its header is cut off");
    let size = usize::try_from(number(12)?).unwrap_or(usize::MAX);
    let covered = (92..=header.len())
        .contains(&size)
        .then(|| header.get(..size))
        .flatten()
        .ok_or_else(|| format!("its header says to have {size} bytes"))?;
    let mut covered = covered.to_vec();
    covered[16..20].fill(0);
    if crc32(&covered) != number(16)? {
        return Err("the check sum of its header is wrong".into());
    }
    let (entry, count) = (number(84)?, number(80)?);
    if !(128..=4096).contains(&entry) || entry % 8 != 0 {
        return Err(format!("its entries say to have {entry} bytes each"));
    }
    let length = u64::from(entry) * u64::from(count);
    let start = long(72)?.checked_mul(sector);
    match start.and_then(|start| Some((start, start.checked_add(length)?))) {
        _ if length > MAX_TABLE => Err(format!("it says to have {count} entries")),
        Some((start, end)) if start >= 2 * sector && end <= disk => Ok(Header {
            sector,
            disk,
            start,
            length,
            entry,
            check_sum: number(88)?,
        }),
        _ => Err("its entries lie outside the disk".into()),
    }
}

/// The partitions in the entries of `header`.
pub fn partitions(header: &Header, entries: &[u8]) -> Result<Vec<Partition>, String> {
    if entries.len() as u64 != header.length || crc32(entries) != header.check_sum {
        return Err("the check sum of its entries is wrong".into());
    }
    let mut all: Vec<Partition> = Vec::new();
    for (index, entry) in entries.chunks_exact(header.entry as usize).enumerate() {
        if entry[..16].iter().all(|byte| *byte == 0) {
            continue;
        }
        let partition = partition(header, index + 1, entry)
            .ok_or_else(|| format!("partition {} lies outside the disk", index + 1))?;
        all.push(partition);
    }
    Ok(all)
}

fn partition(header: &Header, number: usize, entry: &[u8]) -> Option<Partition> {
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let start = first.checked_mul(header.sector)?;
    let end = last.checked_add(1)?.checked_mul(header.sector)?;
    if first < 2 || end <= start || end > header.disk {
        return None;
    }
    let flags = u64_at(entry, 48)?;
    Some(Partition {
        number,
        kind: guid(entry)?,
        start,
        size: end - start,
        read_only: flags & (1 << 60) != 0,
        hidden: flags & (1 << 63) != 0,
    })
}

/// Text of a GUID as the table stores it: three little-endian numbers, then bytes.
fn guid(bytes: &[u8]) -> Option<String> {
    let first = u32_at(bytes, 0)?;
    let second = u32_at(bytes, 4)?;
    let hex = |range: std::ops::Range<usize>| -> Option<String> {
        Some(
            bytes
                .get(range)?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    };
    Some(format!(
        "{first:08x}-{:04x}-{:04x}-{}-{}",
        second & 0xffff,
        second >> 16,
        hex(8..10)?,
        hex(10..16)?
    ))
}

/// The partition to boot from: the root of this architecture, else the only Linux file system.
pub fn root_of(partitions: &[Partition]) -> Result<&Partition, String> {
    let of = |kind: &str| -> Vec<&Partition> {
        partitions
            .iter()
            .filter(|partition| partition.kind == kind && !partition.hidden)
            .collect()
    };
    let list = || match partitions {
        [] => "it has no partition".to_owned(),
        some => {
            let all: Vec<_> = some.iter().map(ToString::to_string).collect();
            format!("it has {}", all.join(", "))
        }
    };
    match (of(ROOT).as_slice(), of(LINUX).as_slice()) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], []) => Err(format!("no partition is a root file system: {}", list())),
        ([], _) => Err(format!(
            "several partitions may be the root file system, and none is marked so: {}",
            list()
        )),
        _ => Err(format!(
            "several partitions are root file systems: {}",
            list()
        )),
    }
}

/// CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests;
