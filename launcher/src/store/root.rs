//! A root of the store's garbage collector: what it refers to stays while a container runs.
//!
//! An indirect root, as the tools themselves make them: the collector's directory has a link to a link of ours in the
//! unit's runtime directory. systemd removes that directory whatever became of the launcher; the collector then removes
//! its own link, which leads nowhere, and the next start replaces it.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};

use crate::load::state_dir;
use crate::plan::store::{GUIX_STORE, NIX_STORE};
use crate::step::{At, StepError};

/// A registered root. Dropping it lets the collector have what it held.
#[derive(Debug)]
pub struct GcRoot {
    /// The link in the runtime directory.
    link: PathBuf,
    /// The collector's directory, and the name of the link there.
    indirect: Option<(OwnedFd, String)>,
}

impl GcRoot {
    /// Registers `system` for container `name`. A host that cannot is told of, not a reason to fail: the system runs all
    /// the same, as one from a store without tools does.
    pub fn register(name: &str, store: &Path, system: &Path) -> Option<GcRoot> {
        match register(name, store, system) {
            Ok(root) => Some(root),
            Err(err) => {
                crate::log::line(format_args!(
                    "not protected from the store's collector: {err}"
                ));
                None
            }
        }
    }
}

impl Drop for GcRoot {
    fn drop(&mut self) {
        // What is gone already is what is wanted.
        if let Some((directory, name)) = &self.indirect {
            let _ = unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        let _ = fs::remove_file(&self.link);
    }
}

fn register(name: &str, store: &Path, system: &Path) -> Result<GcRoot, StepError> {
    let directory = state_dir(name);
    fs::create_dir_all(&directory).at("create", directory.display())?;
    // A collector without root's rights must be able to follow the link. Names below stay unseen, files are 0600.
    fs::set_permissions(&directory, Permissions::from_mode(0o711))
        .at("chmod", directory.display())?;
    let link = directory.join("system");
    let new = directory.join("system.new");
    let _ = fs::remove_file(&new);
    symlink(system, &new).at("link", new.display())?;
    fs::rename(&new, &link).at("link", link.display())?;
    let mut root = GcRoot {
        link,
        indirect: None,
    };
    if let Some(roots) = collector(store) {
        root.indirect = Some(add_indirect(&roots, name, &root.link)?);
    }
    Ok(root)
}

/// The directory of roots of the store's collector.
fn collector(store: &Path) -> Option<PathBuf> {
    let roots = match store.to_str()? {
        GUIX_STORE => "/var/guix/gcroots",
        NIX_STORE => "/nix/var/nix/gcroots",
        _ => return None,
    };
    Path::new(roots).is_dir().then(|| roots.into())
}

/// No link is followed: the collector's directories may belong to a user of its own.
const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

fn add_indirect(roots: &Path, name: &str, link: &Path) -> Result<(OwnedFd, String), StepError> {
    let auto = roots.join("auto");
    let parent = openat(AT_FDCWD, roots, DIRECTORY, Mode::empty()).at("open", roots.display())?;
    // The collector makes it with its first root.
    let made = mkdirat(&parent, "auto", Mode::from_bits_truncate(0o755)).is_ok();
    let directory = open_auto(&parent, made).at("open", auto.display())?;
    let (name, new) = (format!("skep-{name}"), format!(".skep-{name}.new"));
    let _ = unlinkat(&directory, new.as_str(), UnlinkatFlags::NoRemoveDir);
    symlinkat(link, &directory, new.as_str()).at("link", auto.join(&new).display())?;
    renameat(&directory, new.as_str(), &directory, name.as_str())
        .at("link", auto.join(&name).display())?;
    Ok((directory, name))
}

/// Opens the directory of indirect roots. One that was just made is given to whom `parent` belongs, who may have put another
/// thing there in the meantime: what is not root's is not what was made.
fn open_auto(parent: &OwnedFd, made: bool) -> nix::Result<OwnedFd> {
    let directory = openat(parent, "auto", DIRECTORY, Mode::empty())?;
    if made && fstat(&directory)?.st_uid == 0 {
        let owner = fstat(parent)?;
        let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
        fchown(&directory, Some(uid), Some(gid))?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests;
