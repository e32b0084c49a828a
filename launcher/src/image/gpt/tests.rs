use super::*;

const DISK: u64 = 8 << 20;

/// A GUID as the table stores it.
fn stored(guid: &str) -> Vec<u8> {
    let plain = guid.replace('-', "");
    let mut bytes: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&plain[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// A disk whose table has these partitions: type, first and last sector, flags.
fn disk(partitions: &[(&str, u64, u64, u64)]) -> Vec<u8> {
    let mut disk = vec![0; 2048 + 128 * 128];
    for (index, (kind, first, last, flags)) in partitions.iter().enumerate() {
        let entry = &mut disk[1024 + index * 128..][..128];
        entry[..16].copy_from_slice(&stored(kind));
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        entry[48..56].copy_from_slice(&flags.to_le_bytes());
    }
    let sum = crc32(&disk[1024..1024 + 128 * 128]);
    let header = &mut disk[512..1024];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&sum.to_le_bytes());
    seal(&mut disk);
    disk
}

/// Makes the header's check sum right again.
fn seal(disk: &mut [u8]) {
    disk[528..532].fill(0);
    let sum = crc32(&disk[512..604]);
    disk[528..532].copy_from_slice(&sum.to_le_bytes());
}

fn read(disk: &[u8]) -> Option<Result<Vec<Partition>, String>> {
    let header = match header(disk, DISK)? {
        Ok(header) => header,
        Err(err) => return Some(Err(err)),
    };
    let range = usize::try_from(header.start).unwrap()
        ..usize::try_from(header.start + header.length).unwrap();
    Some(match disk.get(range) {
        Some(entries) => partitions(&header, entries),
        None => Err("cut off".into()),
    })
}

fn chosen(parts: &[(&str, u64, u64, u64)]) -> Result<usize, String> {
    root_of(&read(&disk(parts)).unwrap()?).map(|partition| partition.number)
}

#[test]
fn crc() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn the_root_is_chosen_by_its_type() {
    const EFI: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    assert_eq!(
        chosen(&[(EFI, 34, 99, 0), (ROOT, 100, 199, 0), (LINUX, 200, 300, 0)]),
        Ok(2)
    );
    assert_eq!(chosen(&[(EFI, 34, 99, 0), (LINUX, 200, 300, 0)]), Ok(2));
    assert_eq!(
        chosen(&[(ROOT, 34, 99, 1 << 63), (ROOT, 200, 300, 0)]),
        Ok(2)
    );
    let none = chosen(&[(EFI, 34, 4129, 0)]).unwrap_err();
    assert!(
        none.contains("no partition is a root") && none.contains("1: EFI system (2 MiB)"),
        "{none}"
    );
    assert!(chosen(&[]).unwrap_err().contains("it has no partition"));
    let several = chosen(&[(LINUX, 34, 99, 0), (LINUX, 200, 300, 0)]).unwrap_err();
    assert!(several.contains("several"), "{several}");
    assert!(
        chosen(&[(ROOT, 34, 99, 0), (ROOT, 200, 300, 0)])
            .unwrap_err()
            .contains("several")
    );
}

#[test]
fn places_and_flags() {
    let all = read(&disk(&[(ROOT, 2048, 4095, 1 << 60)]))
        .unwrap()
        .unwrap();
    assert_eq!(
        (all[0].start, all[0].size, all[0].read_only),
        (1 << 20, 1 << 20, true)
    );
}

#[test]
fn absurd_places_are_refused() {
    for (first, last) in [
        (0, 10),
        (1, 10),
        (100, 99),
        (34, u64::MAX),
        (u64::MAX, u64::MAX),
        (34, DISK / 512),
        (u64::MAX / 512, 3),
    ] {
        let err = chosen(&[(ROOT, first, last, 0)]).unwrap_err();
        assert!(err.contains("outside the disk"), "{first} {last}: {err}");
    }
    assert!(chosen(&[(ROOT, 34, DISK / 512 - 1, 0)]).is_ok());
}

#[test]
fn absurd_headers_are_refused() {
    let good = disk(&[(ROOT, 34, 99, 0)]);
    for (at, value, said) in [
        (12usize, 91u64, "header says"),
        (12, 513, "header says"),
        (72, 0, "outside"),
        (72, u64::MAX, "outside"),
        (72, DISK / 512 - 1, "outside"),
        (80, u64::from(u32::MAX), "entries"),
        (84, 0, "bytes each"),
        (84, 136 + 1, "bytes each"),
        (84, u64::from(u32::MAX), "bytes each"),
        (88, 7, "check sum of its entries"),
    ] {
        let mut bad = good.clone();
        let width = if at == 72 { 8 } else { 4 };
        bad[512 + at..512 + at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        seal(&mut bad);
        let err = read(&bad).unwrap().unwrap_err();
        assert!(err.contains(said), "{at}={value}: {err}");
    }
    let mut bad = good;
    bad[512 + 56] ^= 1;
    assert!(
        read(&bad)
            .unwrap()
            .unwrap_err()
            .contains("check sum of its header")
    );
}

#[test]
fn mutations_never_leave_the_disk() {
    let good = disk(&[(ROOT, 34, 99, 0), (LINUX, 100, 200, 0)]);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut accepted = 0;
    for _ in 0..2000 {
        let mut bad = good.clone();
        for _ in 0..=random() % 4 {
            // Mostly the fields that matter.
            let at = 520 + usize::try_from(random() % 800).unwrap();
            bad[at] = random().to_le_bytes()[0];
        }
        if random() % 2 == 0 {
            bad.truncate(usize::try_from(random()).unwrap_or(0) % bad.len());
        }
        if bad.len() > 1024 + 128 * 128 {
            let sum = crc32(&bad[1024..1024 + 128 * 128]);
            bad[600..604].copy_from_slice(&sum.to_le_bytes());
        }
        if bad.len() >= 604 {
            seal(&mut bad);
        }
        if let Some(Ok(all)) = read(&bad) {
            accepted += 1;
            for partition in &all {
                assert!(partition.size > 0 && partition.start >= 1024);
                assert!(partition.start.checked_add(partition.size).unwrap() <= DISK);
            }
            let _ = root_of(&all);
        }
    }
    assert!(accepted > 50, "{accepted}");
}
