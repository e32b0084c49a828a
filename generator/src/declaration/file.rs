//! Reading files and directories below a root, with the checks that a file read as root deserves.
//!
//! Owns opening, ownership, size and mask rules; knows nothing about syntax. With another root than `/`, symbolic links
//! are resolved inside it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;

/// Largest file, as systemd limits its lines.
const MAX_FILE: u64 = 1024 * 1024;

/// A root directory.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    /// Open directory when the root is not `/`; an error is kept until something is opened.
    anchor: Option<Result<OwnedFd, Errno>>,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// It does not exist.
    Absent,
    /// Empty, or a link to /dev/null.
    Mask,
    /// Text to parse.
    Text(Vec<u8>),
}

impl Tree {
    pub(crate) fn new(root: &Path) -> Tree {
        let anchor = (root != Path::new("/")).then(|| {
            nix::fcntl::open(
                root,
                OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        });
        Tree {
            root: root.to_owned(),
            anchor,
        }
    }

    /// Real path of `inside`, an absolute path below the root.
    pub(crate) fn real(&self, inside: &Path) -> PathBuf {
        self.root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Names in a directory; none when it does not exist.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn list(&self, inside: &Path) -> Result<Vec<OsString>, String> {
        let opened = self.open(inside, OFlag::O_DIRECTORY);
        let mut dir = match opened.and_then(Dir::from_fd) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) if !self.is_link(inside) => return Ok(Vec::new()),
            Err(Errno::ENOENT) => return Err("dangling symbolic link".into()),
            Err(errno) => return Err(cannot_open(errno)),
        };
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| format!("cannot be listed: {}", errno.desc()))?;
            names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        }
        Ok(names)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn read(&self, inside: &Path) -> Result<Contents, String> {
        match self.open(inside, OFlag::empty()) {
            Ok(fd) => contents(File::from(fd)),
            Err(Errno::ENOENT) => match fs::read_link(self.real(inside)) {
                // A root that is not in use has no /dev/null.
                Ok(target) if target == Path::new("/dev/null") => Ok(Contents::Mask),
                Ok(_) => Err("dangling symbolic link".into()),
                Err(_) => Ok(Contents::Absent),
            },
            Err(errno) => Err(cannot_open(errno)),
        }
    }

    fn open(&self, inside: &Path, extra: OFlag) -> Result<OwnedFd, Errno> {
        // O_NONBLOCK: a fifo must not hang the boot. O_NOCTTY: a terminal must not become ours.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | extra;
        match &self.anchor {
            None => nix::fcntl::open(inside, flags, Mode::empty()),
            Some(Err(errno)) => Err(*errno),
            Some(Ok(anchor)) => {
                let how = OpenHow::new()
                    .flags(flags)
                    .resolve(ResolveFlag::RESOLVE_IN_ROOT);
                nix::fcntl::openat2(anchor, inside, how)
            }
        }
    }

    fn is_link(&self, inside: &Path) -> bool {
        fs::symlink_metadata(self.real(inside)).is_ok_and(|metadata| metadata.is_symlink())
    }
}

/// Reads a file that the user named, wherever it lies.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn read_named(path: &Path) -> Result<Contents, String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match nix::fcntl::open(path, flags, Mode::empty()) {
        Ok(fd) => contents(File::from(fd)),
        Err(errno) => Err(cannot_open(errno)),
    }
}

fn contents(mut file: File) -> Result<Contents, String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be examined: {error}"))?;
    let kind = metadata.file_type();
    if kind.is_char_device() && metadata.rdev() == nix::sys::stat::makedev(1, 3) {
        return Ok(Contents::Mask);
    }
    if !kind.is_file() {
        let what = match kind {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_fifo() => "a fifo",
            _ => "a device",
        };
        return Err(format!("not a regular file but {what}"));
    }
    check_trust(
        metadata.uid(),
        metadata.mode(),
        nix::unistd::geteuid().as_raw(),
    )?;
    if metadata.len() == 0 {
        return Ok(Contents::Mask);
    }
    let too_large = || format!("larger than {} KiB", MAX_FILE / 1024);
    if metadata.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    // One byte more than allowed, so that a file which grows meanwhile is noticed.
    let read = file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        Err(too_large())
    } else {
        Ok(Contents::Text(bytes))
    }
}

/// A declaration decides what runs as root: nobody else may have written it.
fn check_trust(owner: u32, mode: u32, us: u32) -> Result<(), String> {
    if owner != 0 && owner != us {
        return Err(format!(
            "owned by uid {owner}; only root may declare containers: chown root"
        ));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "writable by group or others (mode {:04o}): chmod go-w",
            mode & 0o7777
        ));
    }
    Ok(())
}

fn cannot_open(errno: Errno) -> String {
    match errno {
        Errno::ENXIO => "not a regular file but a socket or device".into(),
        Errno::ELOOP => "symbolic links in a circle".into(),
        Errno::ENOTDIR => "not a directory".into(),
        errno => format!("cannot be opened: {}", errno.desc()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn trust() {
        assert_eq!(check_trust(0, 0o100_644, 1000), Ok(()));
        assert_eq!(check_trust(1000, 0o100_600, 1000), Ok(()));
        assert!(check_trust(1, 0o100_644, 0).unwrap_err().contains("uid 1;"));
        assert!(
            check_trust(0, 0o100_664, 0)
                .unwrap_err()
                .contains("(mode 0664): chmod go-w")
        );
        assert!(check_trust(0, 0o100_646, 0).is_err());
    }

    #[test]
    fn kinds_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |name: &str, text: &[u8]| {
            fs::write(at(name), text).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o644)).unwrap();
        };
        put("good", b"x");
        put("empty", b"");
        put("large", &vec![b'\n'; 1024 * 1024 + 1]);
        symlink("/dev/null", at("null")).unwrap();
        symlink("/good", at("inside")).unwrap();
        symlink("../../../../../../../good", at("up")).unwrap();
        symlink("gone", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let tree = Tree::new(dir.path());
        let text = || Ok(Contents::Text(b"x".to_vec()));
        let error = |text: &str| Err(text.to_owned());
        let cases = [
            ("good", text()),
            ("inside", text()),
            ("up", text()),
            ("absent", Ok(Contents::Absent)),
            ("empty", Ok(Contents::Mask)),
            ("null", Ok(Contents::Mask)),
            ("large", error("larger than 1024 KiB")),
            ("dangling", error("dangling symbolic link")),
            ("loop", error("symbolic links in a circle")),
            ("dir", error("not a regular file but a directory")),
            ("fifo", error("not a regular file but a fifo")),
            ("socket", error("not a regular file but a socket or device")),
            ("good/x", error("not a directory")),
        ];
        for (name, expected) in cases {
            assert_eq!(tree.read(&Path::new("/").join(name)), expected, "{name}");
        }
        assert_eq!(tree.list(Path::new("/gone")), Ok(Vec::new()));
        assert_eq!(tree.list(Path::new("/good")), Err("not a directory".into()));
        assert_eq!(
            tree.list(Path::new("/dangling")),
            Err("dangling symbolic link".into())
        );
        assert_eq!(Tree::new(Path::new("/")).read(&at("good")), text());
        assert_eq!(
            Tree::new(Path::new("/")).read(&at("null")),
            Ok(Contents::Mask)
        );
        assert_eq!(read_named(Path::new("/dev/null")), Ok(Contents::Mask));
    }
}
