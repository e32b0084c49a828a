//! Where things are: the workspace, the build output, the cache of test hosts. Decides names only; creates nothing.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use crate::command::capture;

/// Root of the workspace.
pub fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// Cargo's target directory, wherever environment or configuration put it.
pub fn target() -> Result<PathBuf> {
    let text = capture(cargo().args(["metadata", "--no-deps", "--format-version=1", "--offline"]))?;
    let value: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let path = value["target_directory"]
        .as_str()
        .context("cargo metadata names no target_directory")?;
    Ok(path.into())
}

/// The cargo that runs us, in the workspace.
pub fn cargo() -> std::process::Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    command.current_dir(workspace());
    command
}

/// Everything that test hosts keep on disk: `$SKEP_TEST_CACHE`, or `/var/cache/skep-tests`.
pub fn cache() -> PathBuf {
    env::var_os("SKEP_TEST_CACHE").map_or_else(|| "/var/cache/skep-tests".into(), PathBuf::from)
}

/// Built OS trees.
pub fn trees() -> PathBuf {
    cache().join("trees")
}

/// One directory per test host that is up.
pub fn hosts() -> PathBuf {
    cache().join("hosts")
}
