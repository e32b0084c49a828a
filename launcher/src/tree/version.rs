//! The version of an init, read from its program and never asked from it: nothing of the guest runs for this.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::plan::init::InitKind;

use super::read_start;

/// What systemd's program is linked to: a library whose name holds the version. The names of libraries stand near the
/// start of a program, here within 20 kB.
const LIBRARY: &[u8] = b"libsystemd-shared-";

/// Longest version that is believed.
const LIMIT: usize = 24;

/// The version of the init at `path`. Only systemd's can be read; of others none is known.
pub(super) fn of_init(root: BorrowedFd, path: &Path, kind: InitKind) -> Option<String> {
    match kind {
        InitKind::Systemd => of_systemd(&read_start(root, path)?),
        _ => None,
    }
}

/// Of `libsystemd-shared-257.9-1.fc42.so`, as some distributions call it, `257.9`.
fn of_systemd(program: &[u8]) -> Option<String> {
    let mut names = program.windows(LIBRARY.len());
    let start = names.position(|name| name == LIBRARY)? + LIBRARY.len();
    let version: String = program[start..]
        .iter()
        .map(|byte| char::from(*byte))
        .take(LIMIT)
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let version = version.trim_end_matches('.');
    (!version.is_empty()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_systemd() {
        for (name, want) in [
            ("libsystemd-shared-257.so", Some("257")),
            ("libsystemd-shared-257.9-1.fc42.so", Some("257.9")),
            ("libsystemd-shared-258~rc1.so", Some("258")),
            ("libsystemd-shared-\u{1b}[2J.so", None),
            ("libsystemd-shared-", None),
            ("libc.so.6", None),
        ] {
            let program = format!("\u{7f}ELF\0libc.so.6\0{name}\0libcap.so.2\0");
            let got = of_systemd(program.as_bytes());
            assert_eq!(got.as_deref(), want, "{name}");
        }
    }
}
