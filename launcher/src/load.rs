//! Reads spec files.

use std::fs::{OpenOptions, create_dir_all};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use skep_spec::{SPEC_DIR, STATE_DIR, SpecFile, VERSION};

use crate::document::replace_state;
use crate::step::{At, StepError};

/// Larger than any spec of a declaration that the generator accepts.
const LIMIT: u64 = 8 << 20;

/// Whether `name` is a container name; it becomes a path component and a part of a unit name. One `@` may part the name of
/// a template from that of an instance.
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    name.len() <= 64
        && match name.split_once('@') {
            None => part(name),
            Some((prefix, instance)) => part(prefix) && part(instance),
        }
}

/// The spec file of container `name`.
pub fn spec_path(name: &str) -> PathBuf {
    Path::new(SPEC_DIR).join(format!("{name}.json"))
}

/// The runtime directory of container `name`.
pub fn state_dir(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}

/// The socket through which others attach to the console of container `name`.
pub fn console_path(name: &str) -> PathBuf {
    state_dir(name).join("console")
}

/// The spec that container `name` has booted from.
fn kept_path(name: &str) -> PathBuf {
    state_dir(name).join("spec.json")
}

/// Keeps the spec for a reboot. systemd removes it with the runtime directory when the unit stops.
pub fn keep_spec(file: &SpecFile) -> Result<(), StepError> {
    let path = kept_path(&file.name);
    let directory = state_dir(&file.name);
    // Outside a unit there is none yet.
    create_dir_all(&directory).at("create", directory.display())?;
    replace_state(&path, &path.with_extension("json.new"), file)
}

/// The spec of the boot before: only a container that reboots has one.
pub fn load_kept(name: &str) -> Option<SpecFile> {
    load_spec(&kept_path(name)).ok()
}

/// Reads the spec at `path`: a regular file that only its owner, root, can write.
pub fn load_spec(path: &Path) -> Result<SpecFile, StepError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .at("open spec", path.display())
        .map_err(|err| err.cure("run \"skep apply\""))?;
    let meta = file.metadata().at("read spec", path.display())?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(StepError::new(
            "spec is not a file that only root can write:",
            path.display(),
        ));
    }
    let mut text = String::new();
    file.take(LIMIT)
        .read_to_string(&mut text)
        .at("read spec", path.display())?;
    parse_spec(&text).map_err(|err| StepError {
        object: path.display().to_string(),
        ..err
    })
}

/// Parses a spec.
pub fn parse_spec(text: &str) -> Result<SpecFile, StepError> {
    let wrong = |detail: String| StepError::new("spec not understood:", "").cure(detail);
    // The version first: a spec of another release is told apart from a damaged one.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_str(text).map_err(|err| wrong(err.to_string()))?;
    if version != VERSION {
        return Err(wrong(format!(
            "it has version {version}, this launcher knows {VERSION}: run \"skep apply\""
        )));
    }
    let spec: SpecFile = serde_json::from_str(text).map_err(|err| wrong(err.to_string()))?;
    if is_name(&spec.name) {
        Ok(spec)
    } else {
        Err(wrong(format!("bad container name {:?}", spec.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, good) in [
            ("a", true),
            ("web.1-x_y", true),
            ("", false),
            (".a", false),
            ("a/b", false),
            ("web@1", true),
            ("web@", false),
            ("@1", false),
            ("web@1@2", false),
            ("web@.", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
        assert!(!is_name(&"a".repeat(65)));
    }

    #[test]
    fn other_version_is_named() {
        let err = parse_spec(r#"{"version":99,"new":1}"#)
            .unwrap_err()
            .to_string();
        assert!(err.contains("version 99"), "{err}");
    }
}
