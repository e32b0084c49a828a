//! Files of results: trials, which are processes of their own, append lines; a run reads them at its end.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Environment variable with the file of the trials' results.
pub const RESULTS: &str = "SKEP_TEST_RESULTS";

/// Appends lines to the file that the environment names, if any, or to the one beside it with this suffix.
pub(crate) fn append(suffix: &str, lines: &str) {
    let Some(trials) = env::var_os(RESULTS) else {
        return;
    };
    let path = beside(Path::new(&trials), suffix);
    // One write: trials that end at the same time do not mix.
    let written = OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
}

/// Makes an empty file.
pub(crate) fn begin(trials: &Path, suffix: &str) -> Result<()> {
    let path = beside(trials, suffix);
    File::create(&path)
        .map(drop)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// What was appended.
pub(crate) fn read(trials: &Path, suffix: &str) -> Result<String> {
    let path = beside(trials, suffix);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Prints a table; an error that names what it leaves open.
pub(crate) fn print(table: &str, open: &[&str]) -> Result<()> {
    print!("{table}");
    if open.is_empty() {
        Ok(())
    } else {
        bail!("not shown: {}", open.join(" "))
    }
}

/// The file of the results of trials, or another one of the same run.
pub(crate) fn beside(trials: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(trials);
    name.push(suffix);
    name.into()
}
