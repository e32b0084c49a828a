//! Overlays: the copy-on-write layer of a tree, and the declared ones.
//!
//! An overlay cannot be idmapped, its layers can (Linux 5.19), so each layer is mapped before the overlay is mounted over
//! them. That costs the same however many files they hold.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::unistd::fchdir;
use skep_spec::{Overlay, Upper};

use crate::exec::WORK;
use crate::exec::root::{c_path, explain_idmap, open_dir};
use crate::exec::share::refuse_target;
use crate::exec::target::{Kind, Targets};
use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::mount::{Attr, Depth, attach, clone_tree, new_filesystem, set_attr, set_idmap};

/// What takes the changes of an overlay.
#[derive(Debug)]
pub enum Layers {
    /// A directory and the overlay's work directory, on one mount.
    Upper {
        /// Takes the changes.
        upper: PathBuf,
        /// Where overlayfs prepares them.
        work: PathBuf,
        /// Whose ids the mount of both has: the container's root when it is idmapped.
        owner: u32,
    },
    /// Nothing.
    ReadOnly,
}

impl Layers {
    /// Changes end with the container: directories of the stage's own tmpfs, below `place`. The root of an overlay looks
    /// like its upper layer, so this gets the owner and mode.
    pub fn in_memory(place: &Path, owner: u32, mode: u32) -> Result<Layers, StepError> {
        let (upper, work) = (place.join("upper"), place.join("work"));
        for path in [&upper, &work] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .at("create", path.display())?;
        }
        chown(&upper, Some(owner), Some(owner)).at("chown", "upper layer")?;
        fs::set_permissions(&upper, Permissions::from_mode(mode & 0o7777))
            .at("chmod", "upper layer")?;
        Ok(Layers::Upper {
            upper,
            work,
            // This tmpfs is not idmapped: host root writes there.
            owner: 0,
        })
    }

    /// A detached overlay over `lower`, the topmost last.
    pub fn mount(&self, lower: &[PathBuf]) -> nix::Result<OwnedFd> {
        let text = |path: &Path| {
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)
        };
        let names: Vec<_> = lower
            .iter()
            .rev()
            .map(|path| path.to_string_lossy())
            .collect();
        let lower = text(Path::new(&names.join(":")))?;
        let attr = Attr {
            nodev: true,
            read_only: matches!(self, Layers::ReadOnly),
            ..Attr::default()
        };
        let Layers::Upper { upper, work, owner } = self else {
            let options = [(c"lowerdir", Some(lower.as_c_str()))];
            return new_filesystem(c"overlay", &options, attr);
        };
        let (upper, work) = (text(upper)?, text(work)?);
        let options = [
            (c"lowerdir", Some(lower.as_c_str())),
            (c"upperdir", Some(upper.as_c_str())),
            (c"workdir", Some(work.as_c_str())),
        ];
        // Overlayfs works with the ids that its mounter had, and host root has none on an idmapped mount.
        let _owner = (*owner != 0).then(|| AsOwner::of(*owner));
        new_filesystem(c"overlay", &options, attr)
    }
}

/// Mounts the `number`th declared overlay.
pub fn declared(
    overlay: &Overlay,
    number: u32,
    targets: &Targets,
    userns: Option<BorrowedFd>,
) -> Result<(), StepError> {
    let key = match overlay.upper {
        Upper::ReadOnly => "OverlayReadOnly=",
        Upper::Directory(_) | Upper::Memory => "Overlay=",
    };
    // Short names, and relative to the working directory: an option has 256 bytes for all lower layers.
    let place = Path::new(WORK).join(format!("overlay.{number}"));
    fs::create_dir(&place).at("create", place.display())?;
    fchdir(open_dir(&place)?).at("enter", place.display())?;
    let mut lower = Vec::new();
    for (index, path) in overlay.lower.iter().enumerate() {
        let name = PathBuf::from(index.to_string());
        let attr = Attr {
            read_only: true,
            ..Attr::default()
        };
        layer(key, path, &name, userns, attr)?;
        lower.push(name);
    }
    let layers = match &overlay.upper {
        Upper::ReadOnly => Layers::ReadOnly,
        Upper::Directory(upper) => on_disk(key, upper, targets.owner, userns)?,
        Upper::Memory => {
            let top = overlay
                .lower
                .last()
                .map_or(Path::new("/"), PathBuf::as_path);
            let mode = fs::metadata(top).at("stat", top.display())?.mode();
            Layers::in_memory(Path::new("memory"), targets.owner, mode)?
        }
    };
    let object = format!("{key} on {}", overlay.target.display());
    let mount = layers.mount(&lower).at("mount", &object).map_err(|err| {
        if err.is(Errno::ENODEV) {
            err.cure("this kernel has no overlayfs: load its module on the host")
        } else {
            err.cure("a layer cannot be one on its file system, or two of them overlap; the kernel's log says which")
        }
    })?;
    let target = targets.declared(&overlay.target, Kind::Directory)?;
    refuse_target(targets, &target, &overlay.target, &object)?;
    attach(mount.as_fd(), target.as_fd()).at("attach", &object)
}

/// Attaches the directory `path` of the host, mapped for the container, to a new directory `name` here.
fn layer(
    key: &str,
    path: &Path,
    name: &Path,
    userns: Option<BorrowedFd>,
    attr: Attr,
) -> Result<(), StepError> {
    let object = format!("{key}{}", path.display());
    let mount = clone_tree(AT_FDCWD, &c_path(path)?, Depth::One)
        .at("open", &object)
        .map_err(|err| {
            if err.is(Errno::ENOENT) {
                err.cure("create the directory or correct the key")
            } else {
                err
            }
        })?;
    if Kind::of(mount.as_fd()).at("stat", &object)? != Kind::Directory {
        return Err(StepError::new("not a directory:", object));
    }
    if let Some(userns) = userns {
        set_idmap(mount.as_fd(), userns, Depth::One)
            .at("idmap", &object)
            .map_err(|err| {
                explain_idmap(err, &mount, "move the layer", "set PrivateUsers=identity")
            })?;
    }
    set_attr(mount.as_fd(), attr, Depth::One).at("set attributes of", &object)?;
    fs::create_dir(name).at("create", name.display())?;
    attach(mount.as_fd(), open_dir(name)?.as_fd()).at("attach", object)
}

/// The layers of an upper directory of the host. The work directory must be on the same mount, so it lies beside the upper
/// one, and what is mounted here is the directory that holds both. It stays: overlayfs empties it when it is mounted.
fn on_disk(
    key: &str,
    upper: &Path,
    owner: u32,
    userns: Option<BorrowedFd>,
) -> Result<Layers, StepError> {
    let object = format!("{key}{}", upper.display());
    let real = fs::canonicalize(upper)
        .at("open", &object)
        .map_err(|err| err.cure("create the directory or correct the key"))?;
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(StepError::new("no upper layer:", object));
    };
    layer(key, parent, Path::new("disk"), userns, Attr::default())?;
    let upper = Path::new("disk").join(name);
    let same = match (fs::metadata(&real), fs::metadata(&upper)) {
        (Ok(host), Ok(here)) => (host.dev(), host.ino()) == (here.dev(), here.ino()),
        _ => false,
    };
    if !same {
        return Err(StepError::new("the upper layer is a mount point:", object)
            .cure("name a directory below it: overlayfs needs a second one beside it"));
    }
    let mut hidden = std::ffi::OsString::from(".#");
    hidden.push(name);
    hidden.push(".skep-work");
    let work = Path::new("disk").join(hidden);
    let as_owner = AsOwner::of(owner);
    let made = fs::DirBuilder::new().mode(0o700).create(&work);
    drop(as_owner);
    match made {
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.at("create the work directory of", object)?,
    }
    Ok(Layers::Upper { upper, work, owner })
}
