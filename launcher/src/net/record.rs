//! What running containers have on the host's network: one file each, locked as long as its container runs.
//!
//! A killed launcher leaves a file that nobody holds: whoever comes next clears away what it names. All changes are made
//! under one more lock, so that two containers neither take the same port nor remove the bridge that the other joins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use serde::{Deserialize, Serialize};
use skep_spec::Port;

use crate::step::{At, StepError};
use crate::sys::fd::{LockKind, lock, try_lock};

/// Where the files are. All launchers are in the host's network namespace: the numbers of links mean something in one only.
const DIRECTORY: &str = "/run/skep/network";

/// The lock over all of them; no container is called so.
const LOCK: &str = ".lock";

/// Longest file of interest.
const LIMIT: u64 = 1 << 20;

/// What one container has. One that an older launcher wrote lacks some of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its ends on the host.
    pub ends: Vec<End>,
    /// Links of the host that it borrows.
    pub lent: Vec<String>,
    /// Bridges of ours that it is in.
    pub bridges: Vec<String>,
    /// What nobody else may have, of each network that it is in.
    pub seats: Vec<Seat>,
    /// Those of them that are masqueraded.
    pub masqueraded: Vec<IpAddr>,
    /// Where its ports lead: IPv4, IPv6.
    pub reached: (Option<IpAddr>, Option<IpAddr>),
    /// Its ports.
    pub ports: Vec<Port>,
    /// Names of links of the host over which it is reached.
    pub links: Vec<String>,
    /// They again, each with the addresses that are behind it.
    pub named: Vec<(String, Vec<IpAddr>)>,
    /// Of the links, those behind which a container is reached by its ports only.
    pub inner: Vec<String>,
    /// Whether its ports are reached by the host's own ::1 too.
    pub loopback6: bool,
    /// Links of the host that lead from its loopback to containers because of this one and others.
    pub loopback: Vec<String>,
}

/// An end on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its number once it exists.
    pub index: u32,
    /// What may come from it, when that is limited.
    pub fence: Option<Fence>,
}

/// A place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The link of the host that stands for it; none when the host is the only other one in it.
    pub network: String,
    /// Whether the host has routes to its addresses.
    pub routed: bool,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// What a container's packets have to come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses; none when somebody else gives them.
    pub addresses: Vec<IpAddr>,
}

impl Record {
    /// Whether the packet filter has to know about it.
    pub fn needs_rules(&self) -> bool {
        !self.masqueraded.is_empty() || !self.ports.is_empty()
    }
}

/// All records, with the right to change them.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    _lock: OwnedFd,
}

/// A record that is held while its container runs.
#[derive(Debug)]
pub struct Held {
    file: File,
    path: PathBuf,
}

/// What the launcher of a container that was killed left.
pub type Left = (Record, Held);

impl Records {
    /// Waits for the lock.
    pub fn lock() -> Result<Records, StepError> {
        Records::lock_in(Path::new(DIRECTORY))
    }

    fn lock_in(directory: &Path) -> Result<Records, StepError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.at("create", directory.display())?;
        let path = directory.join(LOCK);
        let file: OwnedFd = open(&path)?.into();
        lock(file.as_fd()).at("lock", path.display())?;
        Ok(Records {
            directory: directory.to_owned(),
            _lock: file,
        })
    }

    /// Takes the record of container `name`; it is empty.
    pub fn hold(&self, name: &str) -> Result<Held, StepError> {
        let path = self.directory.join(name);
        let file = open(&path)?;
        match try_lock(file.as_fd(), LockKind::Exclusive) {
            Ok(()) => Ok(Held { file, path }),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(StepError::new(
                "the network of this container is in use by another launcher:",
                name,
            )),
            Err(err) => Err(err).at("lock", path.display()),
        }
    }

    /// What is on record: of running containers, and of those that were killed, with their locks.
    pub fn all(&self) -> Result<(Vec<Record>, Vec<Left>), StepError> {
        let (mut alive, mut dead) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(&self.directory).at("read", self.directory.display())?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let mut file = open(&path)?;
            // Only root writes here: what is not understood is of another release, and its container is gone.
            let record = read(&mut file).unwrap_or_else(|| Record {
                name: name.to_string_lossy().into_owned(),
                ..Record::default()
            });
            match try_lock(file.as_fd(), LockKind::Exclusive) {
                Ok(()) => dead.push((record, Held { file, path })),
                Err(_) => alive.push(record),
            }
        }
        Ok((alive, dead))
    }

    /// A note of ours that outlives containers.
    pub fn note(&self, name: &str) -> PathBuf {
        self.directory.join(format!(".{name}"))
    }
}

impl Held {
    /// Writes what the container has, as one more line: a launcher that is killed meanwhile leaves the last one whole.
    pub fn write(&mut self, record: &Record) -> Result<(), StepError> {
        let mut text =
            serde_json::to_vec(record).map_err(|err| StepError::new("write record", err))?;
        text.push(b'\n');
        self.file
            .seek(SeekFrom::End(0))
            .at("write", self.path.display())?;
        self.file.write_all(&text).at("write", self.path.display())
    }

    /// Removes the record: nothing is left of what it names.
    pub fn remove(self) -> Result<(), StepError> {
        fs::remove_file(&self.path).at("remove", self.path.display())
    }
}

fn open(path: &Path) -> Result<File, StepError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(path)
        .at("open", path.display())
}

fn read(file: &mut File) -> Option<Record> {
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    let mut lines = text.rsplit(|byte| *byte == b'\n');
    lines.find_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_told_from_the_living() {
        let directory = std::env::temp_dir().join(format!("skep-records-{}", std::process::id()));
        let records = Records::lock_in(&directory).unwrap();
        let record = |name: &str| Record {
            name: name.into(),
            bridges: vec!["skep0".into()],
            ..Record::default()
        };
        let mut held = records.hold("web").unwrap();
        held.write(&record("web")).unwrap();
        let mut killed = records.hold("db").unwrap();
        killed.write(&Record::default()).unwrap();
        killed.write(&record("db")).unwrap();
        killed.file.write_all(b"{\"name\":\"d").unwrap();
        drop(killed);
        assert!(records.hold("web").is_err());
        let (alive, dead) = records.all().unwrap();
        assert_eq!(alive, [record("web")]);
        assert_eq!(dead.len(), 1);
        for (gone, held) in dead {
            assert_eq!(gone, record("db"));
            held.remove().unwrap();
        }
        held.remove().unwrap();
        fs::remove_dir_all(directory).unwrap();
    }
}
