//! What is mounted at and below a directory, as `/proc/self/mountinfo` says.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::TreeError;

const TABLE: &str = "/proc/self/mountinfo";

/// Fails with the first mount point at or below `tree`, a path without links.
pub(super) fn refuse_mounts(tree: &Path) -> Result<(), TreeError> {
    let table = fs::read(TABLE).map_err(|error| TreeError::file(Path::new(TABLE), error))?;
    match points(&table).find(|point| point.starts_with(tree)) {
        Some(point) => Err(TreeError::Mounted(point)),
        None => Ok(()),
    }
}

/// The fifth field of each line, proc_pid_mountinfo(5).
fn points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescaped(field))))
}

/// Octal escapes stand for blanks, line ends and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let table =
            b"1 2 0:3 / /a\\040b rw - tmpfs x rw\n4 1 0:5 /x /a/\\134c rw shared:1 - ext4 y rw\n";
        let found: Vec<PathBuf> = points(table).collect();
        assert_eq!(found, [PathBuf::from("/a b"), PathBuf::from("/a/\\c")]);
        assert!(refuse_mounts(Path::new("/proc")).is_err());
        assert!(refuse_mounts(Path::new("/proc/none")).is_ok());
    }
}
