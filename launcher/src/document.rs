//! Files that others read while they are replaced.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::step::{At, StepError};

/// Replaces the file by way of `temporary`, which lies beside it: a reader finds the old one or the new one.
pub fn replace(path: &Path, temporary: &Path, text: &[u8], mode: u32) -> Result<(), StepError> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)
        .at("write", temporary.display())?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(text))
        .at("write", temporary.display())?;
    fs::rename(temporary, path).at("write", path.display())
}

/// The same, for what only root may read.
pub fn replace_state(
    path: &Path,
    temporary: &Path,
    content: &impl Serialize,
) -> Result<(), StepError> {
    let text = serde_json::to_vec(content).map_err(|err| StepError::new("write state", err))?;
    replace(path, temporary, &text, 0o600)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
