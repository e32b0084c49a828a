//! What the host provides in `/run/host` and for the time zone.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::symlinkat;
use skep_spec::Timezone;

use super::Builder;
use super::cover::{BLANK, write_new};
use crate::exec::WORK;
use crate::exec::root::{c_path, open_dir};
use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::fd::open_no_follow;
use crate::sys::mount::{
    Attr, Depth, attach, clone_link, clone_tree, new_filesystem, set_attr, set_no_links,
};

/// All credentials of a container, as systemd limits those of a service.
const CREDENTIALS_SIZE: usize = 1 << 20;

/// Number of them.
const CREDENTIALS_COUNT: usize = 1024;

/// Largest file of a time zone that is taken.
const ZONE_SIZE: u64 = 1 << 20;

/// Time zone of a system, localtime(5).
const LOCALTIME: &str = "/etc/localtime";

/// Mount attributes of what only carries data.
const DATA: Attr = Attr {
    read_only: false,
    ..BLANK
};

impl Builder<'_> {
    /// The kinds of files that a service manager covers. No permission, and device numbers that no driver has.
    pub(super) fn inaccessible(&self, path: &Path) -> Result<(), StepError> {
        self.directory(path, 0o755)?;
        let parent = self.targets.existing(path).at("open", path.display())?;
        let _owner = AsOwner::of(self.targets.owner);
        for (name, kind) in [
            ("reg", SFlag::S_IFREG),
            ("fifo", SFlag::S_IFIFO),
            ("sock", SFlag::S_IFSOCK),
            ("chr", SFlag::S_IFCHR),
            ("blk", SFlag::S_IFBLK),
        ] {
            match mknodat(&parent, name, kind, Mode::empty(), makedev(0, 0)) {
                // A unit whose device rules were changed: systemd takes the character device, or the socket, instead.
                Err(Errno::EPERM) if kind == SFlag::S_IFBLK || kind == SFlag::S_IFCHR => {}
                other => other.at("make", path.join(name).display())?,
            }
        }
        drop(_owner);
        self.directory(&path.join("dir"), 0)
    }

    /// Writable in the container, read-only for the host and without links: it connects to what the container made.
    pub(super) fn export(&mut self, path: &Path) -> Result<(), StepError> {
        let owner = self.targets.owner.to_string();
        let options = [
            ("mode", "755"),
            ("uid", &owner),
            ("gid", &owner),
            ("size", "4m"),
            ("nr_inodes", "64"),
        ]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        self.filesystem("tmpfs", path, &options, DATA)?;
        let place = self.targets.existing(path).at("open", path.display())?;
        let outside =
            clone_tree(place.as_fd(), c"", Depth::One).at("clone mount of", path.display())?;
        set_attr(outside.as_fd(), BLANK, Depth::One)
            .and_then(|()| set_no_links(outside.as_fd()))
            .at("set attributes of", path.display())?;
        self.export = Some(outside);
        Ok(())
    }

    /// A copy of the unit's credentials in a ramfs, which is never swapped: files 0400, directory 0500.
    pub(super) fn credentials(&self, target: &Path, source: &Path) -> Result<(), StepError> {
        let found = read_credentials(source)?;
        let mount = {
            // The root of a ramfs belongs to who makes it.
            let _owner = AsOwner::of(self.targets.owner);
            let mount = new_filesystem(c"ramfs", &[(c"mode", Some(c"0500"))], DATA)
                .at("mount ramfs on", target.display())?;
            for (name, content) in &found {
                write_new(mount.as_fd(), Path::new(name), 0o400, content)
                    .at("write credential", name.to_string_lossy())?;
            }
            mount
        };
        set_attr(mount.as_fd(), BLANK, Depth::One).at("set attributes of", target.display())?;
        let place = self.targets.api_directory(target)?;
        attach(mount.as_fd(), place.as_fd()).at("attach ramfs to", target.display())
    }

    /// The host's time zone over the tree's: nothing is written to a tree that stays.
    pub(super) fn localtime(&mut self, zone: Option<&str>, how: Timezone) -> Result<(), StepError> {
        let named = zone.filter(|zone| {
            let file = Path::new("/usr/share/zoneinfo").join(zone);
            how != Timezone::Bind && self.targets.existing(&file).is_ok()
        });
        if how == Timezone::Symlink && named.is_none() {
            return Err(StepError::new(
                "Timezone=symlink: not in the tree:",
                zone.unwrap_or("the host's time zone, which has no name"),
            )
            .cure("install the tree's time zones, or set Timezone=bind"));
        }
        let place = open_no_follow(
            self.targets.root.as_fd(),
            Path::new(LOCALTIME),
            OFlag::O_PATH,
        );
        let place = match place {
            Ok(place) => place,
            // No mount point is made: what is there in the end would be a file of the tree.
            Err(Errno::ENOENT) if how == Timezone::Auto => return Ok(()),
            Err(err @ Errno::ENOENT) => {
                return Err(err).at("open", LOCALTIME).map_err(|err| {
                    err.cure("make a link of that name in the tree, to be covered by the host's")
                });
            }
            Err(err) => return Err(err).at("open", LOCALTIME),
        };
        let source = match named {
            Some(zone) => self.zone_link(zone)?,
            None => match self.zone_file()? {
                Some(source) => source,
                None => return Ok(()),
            },
        };
        set_attr(source.as_fd(), BLANK, Depth::One).at("set attributes of", LOCALTIME)?;
        attach(source.as_fd(), place.as_fd()).at("cover", LOCALTIME)
    }

    fn zone_link(&self, zone: &str) -> Result<OwnedFd, StepError> {
        let path = Path::new(WORK).join("localtime");
        {
            let _owner = AsOwner::of(self.targets.owner);
            symlinkat(
                format!("../usr/share/zoneinfo/{zone}").as_str(),
                &open_dir(Path::new(WORK))?,
                "localtime",
            )
            .at("link", path.display())?;
        }
        clone_link(&c_path(&path)?).at("clone mount of", path.display())
    }

    /// The host's file; none on a host without one, which means UTC on both sides.
    fn zone_file(&mut self) -> Result<Option<OwnedFd>, StepError> {
        let mut content = Vec::new();
        match File::open(LOCALTIME) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other
                .and_then(|file| file.take(ZONE_SIZE).read_to_end(&mut content))
                .at("read", LOCALTIME)?,
        };
        let source = self.source(0o444, &content)?;
        clone_tree(AT_FDCWD, &c_path(&source)?, Depth::One)
            .at("clone mount of", source.display())
            .map(Some)
    }
}

/// Name and content of each.
fn read_credentials(source: &Path) -> Result<Vec<(OsString, Vec<u8>)>, StepError> {
    let mut all = Vec::new();
    let mut left = CREDENTIALS_SIZE;
    for entry in fs::read_dir(source).at("open credentials", source.display())? {
        let path = entry.at("read credentials", source.display())?.path();
        let (Some(name), Ok(meta)) = (path.file_name(), path.symlink_metadata()) else {
            continue;
        };
        if !meta.is_file() {
            continue;
        }
        let mut content = Vec::new();
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .and_then(|file| file.take(left as u64 + 1).read_to_end(&mut content))
            .at("read credential", path.display())?;
        left = match left.checked_sub(content.len()) {
            Some(left) if all.len() < CREDENTIALS_COUNT => left,
            _ => {
                return Err(
                    StepError::new("credentials of the unit:", path.display()).cure(format!(
                        "at most {CREDENTIALS_COUNT} of together 1 MiB; use BindReadOnly= for data"
                    )),
                );
            }
        };
        all.push((name.to_owned(), content));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_files_and_bounded() {
        let directory = std::env::temp_dir().join(format!("skep-cred-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub")).unwrap();
        fs::write(directory.join("a"), "secret").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.join("link")).unwrap();
        let found = read_credentials(&directory).unwrap();
        assert_eq!(found, [("a".into(), b"secret".to_vec())]);
        fs::write(directory.join("big"), vec![0; CREDENTIALS_SIZE]).unwrap();
        assert!(
            read_credentials(&directory)
                .unwrap_err()
                .to_string()
                .contains("1 MiB")
        );
        fs::remove_dir_all(&directory).unwrap();
        assert!(read_credentials(&directory).is_err());
    }
}
