//! The lease file: which range belongs to which container, one `NAME BASE` per line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::name;

use super::is_base;

/// Where the leases lie.
pub const PATH: &str = "/var/lib/skep/ids";

const HEADER: &str =
    "# Id ranges of containers with PrivateUsers=pick: name, first id. Written by skep.\n";

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    bases: BTreeMap<String, u32>,
    in_use: BTreeSet<u32>,
    changed: bool,
    detached: bool,
}

impl Leases {
    /// Reads the lease file. A missing one is empty; lines that make no sense are dropped and counted.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn load(path: &Path) -> io::Result<(Self, usize)> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Self::default(), 0)),
            Err(error) => Err(error),
        }
    }

    /// Leases that are never written: the file could not be read, and what it says must not be lost.
    pub fn detached() -> Self {
        Self {
            detached: true,
            ..Self::default()
        }
    }

    /// Parses the lease file and counts the lines that make no sense.
    pub fn parse(text: &str) -> (Self, usize) {
        let mut leases = Self::default();
        let mut dropped = 0;
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match parse_line(line)
                .filter(|(name, base)| leases.base_of(name).is_none() && !leases.has_base(*base))
            {
                Some((name, base)) => leases.add(name, base),
                None => dropped += 1,
            }
        }
        leases.changed = dropped > 0;
        (leases, dropped)
    }

    /// The range of a container.
    pub fn base_of(&self, name: &str) -> Option<u32> {
        self.bases.get(name).copied()
    }

    /// Whether somebody has this range.
    pub fn has_base(&self, base: u32) -> bool {
        self.in_use.contains(&base)
    }

    /// Adds a lease.
    pub fn add(&mut self, name: &str, base: u32) {
        self.bases.insert(name.to_owned(), base);
        self.in_use.insert(base);
        self.changed = true;
    }

    /// Drops the leases that `keep` turns down.
    pub fn retain(&mut self, mut keep: impl FnMut(&String, u32) -> bool) {
        let before = self.bases.len();
        self.bases.retain(|name, base| keep(name, *base));
        if self.bases.len() != before {
            self.in_use = self.bases.values().copied().collect();
            self.changed = true;
        }
    }

    /// Writes the file if anything changed since it was read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if !self.changed || self.detached {
            return Ok(());
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut text = HEADER.to_owned();
        for (name, base) in &self.bases {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {base}");
        }
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        // A power cut must not leave an empty file: the ranges would be picked anew.
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

fn parse_line(line: &str) -> Option<(&str, u32)> {
    let (name, base) = line.split_once(' ')?;
    let base = base.trim().parse().ok().filter(|base| is_base(*base))?;
    name::check(name).ok()?;
    Some((name, base))
}
