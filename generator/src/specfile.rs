//! Spec files: what the launcher reads when a container starts.
//!
//! A change of mounts, network or ids needs no new unit; it is written here and the next start takes it. Files are
//! replaced as a whole, so that a start that happens meanwhile sees the old one or the new one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use skep_spec::{Content, SpecFile, VERSION};
use tempfile::NamedTempFile;

use crate::digest;

/// The spec file of a container, with the digest of its content as id.
///
/// # Errors
/// When a path of it is not UTF-8 and so has no JSON form.
pub fn spec_file(name: &str, content: Content) -> serde_json::Result<SpecFile> {
    let id = format!("{:016x}", digest::of_value(&content)?);
    Ok(SpecFile {
        version: VERSION,
        name: name.to_owned(),
        id,
        content,
    })
}

/// Whether writing changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There was no such file.
    New,
    /// The content changed.
    Updated,
    /// The file was as wanted.
    Unchanged,
}

/// A directory of spec files.
#[derive(Clone, Debug)]
pub struct SpecDirectory {
    path: PathBuf,
}

impl SpecDirectory {
    /// The directory at `path`, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes a spec file unless it is already there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, spec: &SpecFile) -> io::Result<Written> {
        let path = self.file_of(&spec.name);
        let text = serde_json::to_vec(spec)?;
        let change = change(&path, &text);
        if change == Written::Unchanged {
            return Ok(change);
        }
        self.create()?;
        // Created with mode 0600.
        let mut file = NamedTempFile::new_in(&self.path)?;
        file.write_all(&text)?;
        file.persist(path)?;
        Ok(change)
    }

    /// What writing would change.
    pub fn compare(&self, spec: &SpecFile) -> Written {
        // Without a JSON form nothing equals it.
        let text = serde_json::to_vec(spec).unwrap_or_default();
        change(&self.file_of(&spec.name), &text)
    }

    /// Names that have a file.
    pub fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let name = |file: OsString| Some(file.to_str()?.strip_suffix(".json")?.to_owned());
        entries
            .filter_map(|entry| name(entry.file_name()))
            .collect()
    }

    /// Removes the files of all names that are not in `keep`, temporary files of an interrupted run included.
    ///
    /// # Errors
    /// The first file that could not be removed; the others are.
    pub fn sweep(&self, keep: &BTreeSet<String>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut first_error = Ok(());
        for entry in entries.flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            if name.is_some_and(|name| keep.contains(name)) {
                continue;
            }
            if let Err(error) = fs::remove_file(entry.path()) {
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }

    fn create(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))
    }

    fn file_of(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }
}

/// What writing `text` to a file changes.
fn change(path: &Path, text: &[u8]) -> Written {
    let Ok(mut file) = File::open(path) else {
        return Written::New;
    };
    // One call reads all of an unchanged file, and its end as well.
    let mut present = vec![0; text.len() + 1];
    match file.read(&mut present) {
        Ok(length) if &present[..length] == text => Written::Unchanged,
        _ => Written::Updated,
    }
}

/// Reads a file that another program wrote; `None` when it is missing, not readable or garbled.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::sample;

    fn boot(root: &str) -> SpecFile {
        spec_file("web", Content::Boot(Box::new(sample::spec(root)))).unwrap()
    }

    #[test]
    fn ids_follow_the_content() {
        assert_eq!(boot("/a").id, boot("/a").id);
        assert_ne!(boot("/a").id, boot("/b").id);
        assert_eq!(boot("/a").id.len(), 16);
    }

    #[test]
    fn written_once_private_and_swept() {
        let directory = tempfile::tempdir().unwrap();
        let specs = SpecDirectory::at(directory.path().join("skep/spec"));
        assert_eq!(specs.compare(&boot("/a")), Written::New);
        assert_eq!(specs.write(&boot("/a")).unwrap(), Written::New);
        assert_eq!(specs.write(&boot("/a")).unwrap(), Written::Unchanged);
        assert_eq!(specs.compare(&boot("/b")), Written::Updated);
        assert_eq!(specs.write(&boot("/b")).unwrap(), Written::Updated);
        let file = directory.path().join("skep/spec/web.json");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(file.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(read_json::<SpecFile>(&file), Some(boot("/b")));
        specs.sweep(&BTreeSet::from(["web".to_owned()])).unwrap();
        assert!(file.exists());
        fs::write(file.with_file_name(".tmpAbc"), "x").unwrap();
        specs.sweep(&BTreeSet::new()).unwrap();
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
    }
}
