//! Disk images as trees: what lies in them, and a mount of it that nobody else sees.
//!
//! An image is a file system, or a disk with a GUID partition table, in a regular file or on a block device. It is mounted
//! by the supervisor, before anything of the container exists, because planning looks into the tree.

pub mod device;
pub mod gpt;
pub mod probe;

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use skep_spec::Access;

use crate::exec::root::c_path;
use crate::image::device::{Attached, Backing};
use crate::image::gpt::Partition;
use crate::image::probe::{FileSystem, HEAD, Kind};
use crate::step::{At, StepError};
use crate::sys::loop_device::Extent;
use crate::sys::mount::{Attr, mount_device};

/// Why an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A container is to run from it; its locks are held.
    Run,
    /// Its facts are read, whoever uses it meanwhile.
    Look,
}

/// Which bytes of an image are the root file system.
#[derive(Debug)]
struct Contents {
    system: FileSystem,
    /// Of a partition table.
    partition: Option<Partition>,
}

/// A detached mount of the root file system in the image at `path`; `found` is the image itself, `O_PATH`.
pub fn mount(
    path: &Path,
    found: BorrowedFd,
    access: Access,
    purpose: Purpose,
) -> Result<OwnedFd, StepError> {
    let write = access == Access::Write && purpose == Purpose::Run;
    let file = open(path, found, write)?;
    let contents = contents(path, &file)?;
    if access == Access::Write {
        refuse_unwritable(path, &contents)?;
    }
    let extent = Extent {
        offset: contents.partition.as_ref().map_or(0, |part| part.start),
        size: contents.partition.as_ref().map_or(0, |part| part.size),
        read_only: !write,
    };
    let backing = Backing::of(&file, path)?;
    let device = if backing.block && contents.partition.is_none() {
        Attached::itself(file.into(), path, write)
    } else {
        device::attach(&backing, file.into(), extent, purpose)?
    };
    mount_from(path, &device, contents.system.kind, purpose)
}

/// Opens the image anew: `found` only says which file it is.
fn open(path: &Path, found: BorrowedFd, write: bool) -> Result<File, StepError> {
    let access = if write {
        OFlag::O_RDWR
    } else {
        OFlag::O_RDONLY
    };
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let link = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    nix::fcntl::open(&link, flags, Mode::empty())
        .at("open image", path.display())
        .map_err(|err| {
            if err.is(Errno::EROFS) || err.is(Errno::EACCES) || err.is(Errno::ETXTBSY) {
                err.cure("it cannot be written: set Ephemeral=yes or ReadOnly=yes")
            } else if err.is(Errno::EPERM) {
                err.cure("the unit may not use this device: images are told by their names, *.raw, *.img, *.squashfs, *.sqfs, *.erofs or below /dev")
            } else {
                err
            }
        })
        .map(File::from)
}

fn contents(path: &Path, mut file: &File) -> Result<Contents, StepError> {
    let size = file
        .seek(SeekFrom::End(0))
        .at("measure image", path.display())?;
    let head = read(path, file, 0, size.min(HEAD))?;
    let table = gpt::header(&head, size);
    if let Some(Ok(header)) = &table {
        let wrong = |reason: String| {
            StepError::new("damaged partition table in image", path.display()).cure(reason)
        };
        let entries = read(path, file, header.start, header.length)?;
        let all = gpt::partitions(header, &entries).map_err(wrong)?;
        let root = gpt::root_of(&all)
            .map_err(|reason| StepError::new("no root in image", path.display()).cure(reason))?;
        let head = read(path, file, root.start, root.size.min(HEAD))?;
        let place = format!("partition {} of {}", root.number, path.display());
        let system = recognised(&place, &head, root.size)?;
        return Ok(Contents {
            system,
            partition: Some(root.clone()),
        });
    }
    match recognised(&path.display().to_string(), &head, size) {
        Ok(system) => Ok(Contents {
            system,
            partition: None,
        }),
        Err(err) => Err(match table {
            Some(Err(reason)) => StepError::new("damaged partition table in image", path.display())
                .cure(format!("{reason}; see \"sfdisk --verify\"")),
            _ => err,
        }),
    }
}

fn read(path: &Path, file: &File, offset: u64, length: u64) -> Result<Vec<u8>, StepError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)
        .at("read image", path.display())?;
    Ok(bytes)
}

/// The file system that begins with `head` and has room for `room` bytes.
fn recognised(place: &str, head: &[u8], room: u64) -> Result<FileSystem, StepError> {
    let Some(system) = probe::recognise(head) else {
        let err = StepError::new("no file system in image", place);
        return Err(match probe::foreign(head) {
            Some((what, cure)) => err.cure(format!("it is {what}: {cure}")),
            None => err.cure("an image holds ext4, xfs, btrfs, squashfs or erofs, or a GUID partition table with one of them"),
        });
    };
    if system.size > room {
        let kind = system.kind.name().to_string_lossy();
        return Err(StepError::new("truncated image", place).cure(format!(
            "its {kind} has {} bytes, the image only {room}",
            system.size
        )));
    }
    Ok(system)
}

fn refuse_unwritable(path: &Path, contents: &Contents) -> Result<(), StepError> {
    let kind = contents.system.kind;
    let reason = if !kind.writable() {
        format!("{} cannot be written", kind.name().to_string_lossy())
    } else if contents
        .partition
        .as_ref()
        .is_some_and(|part| part.read_only)
    {
        "its partition is marked read-only".to_owned()
    } else {
        return Ok(());
    };
    Err(
        StepError::new("the image is read-only:", path.display()).cure(format!(
            "{reason}; set Ephemeral=yes, ReadOnly=yes or Volatile=yes"
        )),
    )
}

fn mount_from(
    path: &Path,
    device: &Attached,
    kind: Kind,
    purpose: Purpose,
) -> Result<OwnedFd, StepError> {
    let attr = Attr {
        nodev: true,
        read_only: !device.writable || purpose == Purpose::Look,
        ..Attr::default()
    };
    let source = c_path(&device.path)?;
    let mounted = match purpose {
        Purpose::Run => mount_to_run(&source, device.writable, kind, attr),
        Purpose::Look => mount_to_look(&source, kind, attr),
    };
    let name = kind.name().to_string_lossy();
    mounted.at(&format!("mount {name} of image"), path.display()).map_err(|err| {
        if err.is(Errno::ENODEV) {
            err.cure(format!("this kernel has no {name}: load its module on the host"))
        } else if err.is(Errno::EBUSY) {
            err.cure("it is mounted elsewhere already")
        } else if err.is(Errno::EPERM) || err.is(Errno::EACCES) {
            err.cure("the unit may not use the device; see DeviceAllow=")
        } else {
            err.cure("the file system in it is damaged, or of a kind that this kernel does not know; the kernel's log says more")
        }
    })
}

fn mount_to_run(source: &CStr, writable: bool, kind: Kind, attr: Attr) -> nix::Result<OwnedFd> {
    let mut options = kind.options().to_vec();
    if writable {
        return mount_device(kind.name(), source, &options, attr);
    }
    options.push((c"ro", None));
    match (
        mount_device(kind.name(), source, &options, attr),
        kind.without_recovery(),
    ) {
        // A journal that was not replayed needs a device that can be written, or to be left alone.
        (Err(Errno::EROFS | Errno::EACCES), Some(option)) => {
            options.push(option);
            mount_device(kind.name(), source, &options, attr)
        }
        (mounted, _) => mounted,
    }
}

/// Even a read-only mount replays a journal, and so writes, where the device lets it: a look does not.
fn mount_to_look(source: &CStr, kind: Kind, attr: Attr) -> nix::Result<OwnedFd> {
    let mut options = kind.options().to_vec();
    options.push((c"ro", None));
    options.extend(kind.without_recovery());
    match mount_device(kind.name(), source, &options, attr) {
        // Mounted writable already, so nothing is left to replay: the same file system once more, read-only here.
        Err(Errno::EBUSY) => mount_device(kind.name(), source, kind.options(), attr),
        mounted => mounted,
    }
}
