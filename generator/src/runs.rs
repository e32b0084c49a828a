//! One-off runs on this host: a name, a range of ids and a spec file for each, for as long as it lasts.
//!
//! Two hundred may start at once, so one lock, on the directory, is held while a name and a range are chosen and written
//! down. Whoever runs something keeps its spec file locked; a file that nobody has locked and whose unit has no runtime
//! directory belongs to a caller that was killed, and is swept by the next one. Nothing is leased: a range is free again
//! when the spec file is gone.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use skep_spec::{ContainerSpec, Content, State, Users};
use thiserror::Error;

use crate::apply::Layout;
use crate::ranges::{self, Exhausted, Leases, NameService, Taken};
use crate::specfile::{read_json, spec_file};

/// Where the spec files of runs lie.
pub const DIRECTORY: &str = "/run/skep/run";

/// How many names are tried.
const TRIES: usize = 100;

/// Why a run cannot be entered.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// The directory or a file in it.
    #[error("{path}: {error}")]
    File {
        /// The path.
        path: String,
        /// What is wrong.
        error: io::Error,
    },
    /// Somebody has that name.
    #[error("--name: {0} is the name of a container or of another run")]
    Taken(String),
    /// No ids are left.
    #[error(transparent)]
    Ids(#[from] Exhausted),
    /// A path or word that is not UTF-8.
    #[error("cannot be written down: {0}")]
    Text(#[from] serde_json::Error),
}

/// A run that was entered. [`Claim::end`] removes it.
#[derive(Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its spec file.
    pub path: PathBuf,
    _lock: Flock<File>,
}

impl Claim {
    /// Removes the spec file; the ids are free from here on.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn end(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Enters a run: gives it a name unless it has one, ids where its users are private, and writes its spec file.
///
/// # Errors
/// See [`ClaimError`].
pub fn claim(
    layout: &Layout,
    name: Option<&str>,
    mut spec: ContainerSpec,
) -> Result<Claim, ClaimError> {
    let directory = &layout.runs;
    let _all = open_directory(directory).map_err(|error| at(directory, error))?;
    let name = match name {
        Some(name) if is_taken(layout, name) => return Err(ClaimError::Taken(name.to_owned())),
        Some(name) => name.to_owned(),
        None => free_name(layout)?,
    };
    if matches!(spec.users, Users::Private { .. }) {
        spec.users = Users::Private {
            base: free_range(layout, &name)?,
        };
    }
    let path = directory.join(format!("{name}.json"));
    let text = serde_json::to_vec(&spec_file(&name, Content::Boot(Box::new(spec)))?)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| at(&path, error))?;
    let written = file.write_all(&text);
    let locked = written.and_then(|()| {
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
    });
    match locked {
        Ok(lock) => Ok(Claim {
            name,
            path,
            _lock: lock,
        }),
        Err(error) => {
            // A part of a spec file would keep the name.
            let _ = fs::remove_file(&path);
            Err(at(&path, error))
        }
    }
}

/// Removes what callers that were killed left behind, and returns the names of their runs, all of which have ended.
pub fn sweep(layout: &Layout) -> Vec<String> {
    // Without the lock it is for the next one to do.
    if !layout.runs.is_dir() {
        return Vec::new();
    }
    match open_directory(&layout.runs) {
        Ok(_all) => sweep_held(layout),
        Err(_) => Vec::new(),
    }
}

fn at(path: &Path, error: io::Error) -> ClaimError {
    ClaimError::File {
        path: path.display().to_string(),
        error,
    }
}

/// Opens and locks the directory. A file to lock would be left behind.
fn open_directory(path: &Path) -> io::Result<Flock<File>> {
    if !path.is_dir() {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => {
                result?;
                fs::set_permissions(path, Permissions::from_mode(0o700))?;
            }
        }
    }
    Flock::lock(File::open(path)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// [`sweep`] for those who hold the lock.
fn sweep_held(layout: &Layout) -> Vec<String> {
    let mut swept = Vec::new();
    for (name, path) in files(&layout.runs) {
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let is_left = Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok();
        if is_left && !layout.states.join(&name).exists() && fs::remove_file(path).is_ok() {
            swept.push(name);
        }
    }
    swept
}

/// Spec files of a directory, with the names in their names.
fn files(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = entry.file_name();
            let name = file.to_str()?.strip_suffix(".json")?.to_owned();
            Some((name, entry.path()))
        })
        .collect()
}

/// Runs and declared containers share their runtime directories, hence their names.
fn is_taken(layout: &Layout, name: &str) -> bool {
    let file = format!("{name}.json");
    layout.states.join(name).exists()
        || layout.specs.join(&file).exists()
        || layout.runs.join(&file).exists()
}

fn free_name(layout: &Layout) -> Result<String, ClaimError> {
    for _ in 0..TRIES {
        let name = format!(
            "r{:08x}",
            random().map_err(|error| at(Path::new(RANDOM), error))?
        );
        if !is_taken(layout, &name) {
            return Ok(name);
        }
    }
    Err(ClaimError::Taken("run".to_owned()))
}

const RANDOM: &str = "/dev/urandom";

fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// The part of a spec file that names a range; everything else may be of another release.
#[derive(Deserialize)]
struct Ranged {
    content: RangedContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RangedContent {
    Boot(RangedSpec),
    Refuse(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct RangedSpec {
    users: Users,
}

/// Ranges of everything that is declared or runs.
fn bases(layout: &Layout) -> BTreeSet<u32> {
    let mut bases = BTreeSet::new();
    for directory in [&layout.specs, &layout.runs] {
        for (_, path) in files(directory) {
            if let Some(Ranged {
                content:
                    RangedContent::Boot(RangedSpec {
                        users: Users::Private { base },
                    }),
            }) = read_json(&path)
            {
                bases.insert(base);
            }
        }
    }
    let states = fs::read_dir(&layout.states).into_iter().flatten().flatten();
    let states = states.filter_map(|entry| read_json::<State>(&entry.path().join("state.json")));
    bases.extend(states.filter_map(|state| state.base));
    bases
}

fn free_range(layout: &Layout, name: &str) -> Result<u32, ClaimError> {
    // What cannot be read is in the spec files as well, for all that was applied.
    let leases = Leases::load(&layout.leases)
        .map(|(leases, _)| leases)
        .unwrap_or_default();
    let mut taken = Taken::of_host();
    for base in bases(layout) {
        taken.add_declared(base);
    }
    let mut service = NameService::of_host();
    Ok(ranges::pick_once(name, &leases, &taken, &mut |id| {
        service.knows(id)
    })?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;

    use super::*;
    use crate::sample;

    fn base_of(claim: &Claim) -> u32 {
        let ranged: Ranged = read_json(&claim.path).unwrap();
        match ranged.content {
            RangedContent::Boot(RangedSpec {
                users: Users::Private { base },
            }) => base,
            _ => 0,
        }
    }

    #[test]
    fn two_hundred_at_once_have_names_and_ranges_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::below(directory.path());
        let claims: Vec<Claim> = thread::scope(|scope| {
            let threads: Vec<_> = (0..200)
                .map(|_| scope.spawn(|| claim(&layout, None, sample::spec("/x")).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let bases: BTreeSet<u32> = claims.iter().map(base_of).collect();
        assert_eq!(bases.len(), 200);
        assert!(bases.iter().all(|base| ranges::is_base(*base)));
        for claim in claims {
            claim.end().unwrap();
        }
        assert_eq!(fs::read_dir(&layout.runs).unwrap().count(), 0);
        assert!(!layout.leases.exists());
    }

    #[test]
    fn a_dead_callers_file_is_swept_unless_its_unit_lives() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::below(directory.path());
        let live = claim(&layout, Some("live"), sample::spec("/x")).unwrap();
        let dead = claim(&layout, Some("dead"), sample::spec("/x")).unwrap();
        let running = claim(&layout, Some("running"), sample::spec("/x")).unwrap();
        fs::create_dir_all(layout.states.join("running")).unwrap();
        // Only the paths outlive their callers.
        let [dead, running] = [dead, running].map(|claim| claim.path.clone());
        assert_eq!(sweep(&layout), ["dead"]);
        assert!(live.path.exists() && running.exists() && !dead.exists());
        assert_eq!(
            fs::metadata(running).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(&layout.runs).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn names_are_shared_with_containers() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::below(directory.path());
        fs::create_dir_all(&layout.specs).unwrap();
        fs::write(layout.specs.join("web.json"), "{}").unwrap();
        fs::create_dir_all(layout.states.join("old")).unwrap();
        let _one = claim(&layout, Some("one"), sample::spec("/x")).unwrap();
        for name in ["web", "old", "one"] {
            let refused = claim(&layout, Some(name), sample::spec("/x"));
            assert!(matches!(refused, Err(ClaimError::Taken(_))), "{name}");
        }
    }
}
