//! The block device of an image: a loop device that frees itself with the last mount of it.
//!
//! Images that nobody writes share one device, so a hundred containers of one image read and cache it once. One that is
//! written has its device for itself: two kernels' worth of one ext4 would destroy it.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::libc;
use nix::sys::stat::{Mode, fstat};

use super::Purpose;
use crate::step::{At, StepError};
use crate::sys::loop_device::{self, Cache, Extent, Status};

/// Held while devices are looked at and attached, so that containers that start at once find each other's device.
const LOCK: &str = "/run/skep/loop.lock";

/// How long the device of an earlier boot may take to free itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// Free devices that others may take first.
const TRIES: usize = 64;

/// The file behind an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    path: PathBuf,
    /// Device, as the kernel encodes it, and inode.
    file: (u64, u64),
    /// A block device already.
    pub block: bool,
}

impl Backing {
    /// Looks at the opened image.
    pub fn of(file: &File, path: &Path) -> Result<Backing, StepError> {
        let stat = fstat(file).at("stat image", path.display())?;
        Ok(Backing {
            path: path.to_owned(),
            file: (loop_device::kernel_device(stat.st_dev), stat.st_ino),
            block: stat.st_mode & libc::S_IFMT == libc::S_IFBLK,
        })
    }
}

/// A block device with the file system at its start. Held open until it is mounted, and not longer.
#[derive(Debug)]
pub struct Attached {
    _device: OwnedFd,
    /// Its node.
    pub path: PathBuf,
    /// Whether it takes writes.
    pub writable: bool,
}

impl Attached {
    /// A device that is the image itself.
    pub fn itself(device: OwnedFd, path: &Path, writable: bool) -> Attached {
        Attached {
            _device: device,
            path: path.to_owned(),
            writable,
        }
    }
}

/// A device that shows `extent` of the image `file`.
pub fn attach(
    backing: &Backing,
    file: OwnedFd,
    extent: Extent,
    purpose: Purpose,
) -> Result<Attached, StepError> {
    let begin = Instant::now();
    loop {
        let lock = lock()?;
        let used = devices_of(backing)?;
        if let Some(found) = used
            .iter()
            .position(|(_, status)| shared(status, extent, purpose))
        {
            let mut used = used;
            let ((device, path), status) = used.swap_remove(found);
            return Ok(Attached {
                _device: device,
                path,
                writable: !status.extent.read_only,
            });
        }
        match used
            .iter()
            .find(|(_, status)| conflicts(status, extent, purpose))
        {
            None => return attach_new(backing, &file, extent),
            Some(((_, path), _)) if begin.elapsed() > PATIENCE => {
                return Err(
                    StepError::new("image in use:", backing.path.display()).cure(format!(
                        "it is attached to {} already; see \"losetup --associated {}\"",
                        path.display(),
                        backing.path.display()
                    )),
                );
            }
            // Most likely that of the last boot: the kernel frees it soon after the container's last process.
            Some(_) => {}
        }
        // Held open, they could not free themselves.
        drop((used, lock));
        sleep(Duration::from_millis(5));
    }
}

/// Whether a device that is there already serves as well as a new one.
fn shared(status: &Status, wanted: Extent, purpose: Purpose) -> bool {
    let same = (status.extent.offset, status.extent.size) == (wanted.offset, wanted.size);
    match purpose {
        Purpose::Look => same,
        // Without autoclear it belongs to somebody, who may detach or change it.
        Purpose::Run => status.extent == wanted && wanted.read_only && status.autoclear,
    }
}

/// Whether a device that is there already forbids a new one.
fn conflicts(status: &Status, wanted: Extent, purpose: Purpose) -> bool {
    purpose == Purpose::Run && !(status.extent.read_only && wanted.read_only)
}

fn lock() -> Result<Flock<File>, StepError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(LOCK)
        .at("open lock", LOCK)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .at("lock", LOCK)
}

type Device = (OwnedFd, PathBuf);

/// The loop devices that are attached to the image, held open.
fn devices_of(backing: &Backing) -> Result<Vec<(Device, Status)>, StepError> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/sys/block")
        .at("list", "/sys/block")?
        .flatten()
    {
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b"loop") || !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(name);
        // One that is being detached, or that this host does not see.
        let Ok(device) = open(&path, OFlag::O_RDONLY) else {
            continue;
        };
        if let Ok(status) = loop_device::status(device.as_fd())
            && status.file == backing.file
        {
            all.push(((device, path), status));
        }
    }
    Ok(all)
}

fn attach_new(backing: &Backing, file: &OwnedFd, extent: Extent) -> Result<Attached, StepError> {
    let object = backing.path.display();
    let control = open(Path::new("/dev/loop-control"), OFlag::O_RDWR)
        .at("open", "/dev/loop-control")
        .map_err(|err| explain(err, &backing.path))?;
    let mode = if extent.read_only {
        OFlag::O_RDONLY
    } else {
        OFlag::O_RDWR
    };
    for _ in 0..TRIES {
        let number = loop_device::free_number(control.as_fd()).at("find", "a free loop device")?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path, mode)
            .at("open", path.display())
            .map_err(|err| explain(err, &backing.path))?;
        let configure = |cache| {
            let name = backing.path.as_os_str().as_bytes();
            loop_device::attach(device.as_fd(), file.as_fd(), extent, name, cache)
        };
        let attached = match configure(Cache::Once) {
            Err(Errno::EINVAL) => configure(Cache::Twice),
            other => other,
        };
        match attached {
            Err(Errno::EBUSY) => {}
            other => {
                return other
                    .at("attach loop device to", object)
                    .map(|()| Attached {
                        _device: device,
                        path,
                        writable: !extent.read_only,
                    });
            }
        }
    }
    Err(StepError::new("no free loop device for", object))
}

fn open(path: &Path, mode: OFlag) -> nix::Result<OwnedFd> {
    nix::fcntl::open(
        path,
        mode | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )
}

fn explain(err: StepError, image: &Path) -> StepError {
    if err.is(Errno::EPERM) {
        err.cure(format!(
            "the unit of {} may use loop devices when its name tells an image: *.raw, *.img, *.squashfs, *.sqfs or *.erofs",
            image.display()
        ))
    } else if err.is(Errno::ENOENT) || err.is(Errno::ENXIO) || err.is(Errno::ENODEV) {
        err.cure("the host has too few loop devices: load the module loop, or make the node with mknod(1)")
    } else {
        err
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Extent = Extent {
        offset: 0,
        size: 0,
        read_only: true,
    };

    fn status(read_only: bool, autoclear: bool) -> Status {
        Status {
            file: (1, 2),
            extent: Extent { read_only, ..READ },
            autoclear,
        }
    }

    #[test]
    fn only_readers_share() {
        let write = Extent {
            read_only: false,
            ..READ
        };
        let part = Extent {
            offset: 512,
            ..READ
        };
        let run = Purpose::Run;
        assert!(shared(&status(true, true), READ, run));
        assert!(!shared(&status(true, false), READ, run));
        assert!(!shared(&status(true, true), part, run));
        assert!(!shared(&status(false, true), write, run));
        assert!(shared(&status(false, false), READ, Purpose::Look));
        assert!(!conflicts(&status(true, false), READ, run));
        assert!(conflicts(&status(true, true), write, run));
        assert!(conflicts(&status(false, true), READ, run));
        assert!(!conflicts(&status(false, true), part, Purpose::Look));
    }
}
