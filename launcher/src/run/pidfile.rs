//! The file that says which process is the first one of a command's container.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::step::{At, StepError};

/// A PID file, removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Replaces `path` at once: no reader sees an empty one.
    pub(super) fn write(path: &Path, pid: Pid) -> Result<PidFile, StepError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&temporary)
            .at("write PID file", temporary.display())?;
        let done = file
            .write_all(format!("{pid}\n").as_bytes())
            .and_then(|()| fs::rename(&temporary, path));
        if done.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        done.at("write PID file", path.display())?;
        Ok(PidFile(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_whole_and_goes() {
        let directory = std::env::temp_dir().join(format!("skep-pid-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("x.pid");
        let file = PidFile::write(&path, Pid::from_raw(7)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
        drop(file);
        // Nothing else was left there either.
        fs::remove_dir(&directory).unwrap();
        let error = PidFile::write(&path, Pid::from_raw(7)).unwrap_err();
        assert!(error.is(nix::errno::Errno::ENOENT), "{error}");
    }
}
