//! One apply at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::manager;
use crate::report;

use super::Failed;

const LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);

/// Takes the lock, waiting for another apply to end.
pub(super) async fn acquire(path: &Path) -> Result<Flock<File>, Failed> {
    let fail = |error: io::Error| Failed::File {
        path: path.display().to_string(),
        error,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(fail)?;
    let start = Instant::now();
    let mut said = false;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if start.elapsed() > LIMIT => {
                return Err(Failed::Locked(path.display().to_string()));
            }
            Err((back, Errno::EWOULDBLOCK)) => {
                if !said {
                    report::note("another skep apply is running; waiting for it");
                    said = true;
                }
                file = back;
                manager::sleep(STEP).await;
            }
            Err((_, errno)) => return Err(fail(errno.into())),
        }
    }
}
