//! What supervisors remember of the last boots of containers, in `/run/skep/ended`: read here, and swept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skep_spec::{End, Ended, Ends, VERSION};

use crate::specfile::read_json;

/// What is remembered of a container. A file that is missing, garbled or of another release says nothing.
pub fn load(directory: &Path, name: &str) -> Option<Ends> {
    read_json::<Ends>(&directory.join(format!("{name}.json")))
        .filter(|ends| ends.version == VERSION && ends.name == name)
}

/// Removes the files of all containers that are not in `keep`. Files that are just being written, whose names start with a
/// dot, are left alone.
pub fn sweep(directory: &Path, keep: &BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        if name.is_some_and(|name| !name.starts_with('.') && !keep.contains(name)) {
            // A file more says nothing wrong.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Why a boot ended, for people.
pub fn describe(ended: &Ended) -> String {
    let why = match &ended.end {
        End::Stopped => "it was asked to stop".to_owned(),
        End::PoweredOff => "it powered itself off".to_owned(),
        End::Rebooted => "it rebooted itself".to_owned(),
        End::Exited(status) => format!("its init exited with status {status}"),
        End::Killed(signal) => format!("its init was killed by {}", signal_name(*signal)),
        End::NotSetUp(reason) => return format!("it could not be set up: {reason}"),
        End::Lost => return "its supervisor was killed".to_owned(),
    };
    match ended.ready {
        true => why,
        false => format!("{why}, before it was ready"),
    }
}

/// The name of a signal, or its number when it has none.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reasons_are_sentences() {
        for (end, ready, want) in [
            (End::Stopped, true, "it was asked to stop"),
            (
                End::Stopped,
                false,
                "it was asked to stop, before it was ready",
            ),
            (End::Exited(3), true, "its init exited with status 3"),
            (End::Killed(11), true, "its init was killed by SIGSEGV"),
            (End::Killed(40), true, "its init was killed by signal 40"),
            (
                End::NotSetUp("no tree".into()),
                false,
                "it could not be set up: no tree",
            ),
            (End::Lost, false, "its supervisor was killed"),
        ] {
            let (since, at) = (1, Some(2));
            let ended = Ended {
                since,
                at,
                ready,
                end,
            };
            assert_eq!(describe(&ended), want);
        }
    }

    #[test]
    fn only_forgotten_containers_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let ends = |name: &str| Ends {
            version: VERSION,
            name: name.to_owned(),
            running: None,
            last: None,
        };
        for name in ["web", "db"] {
            let text = serde_json::to_vec(&ends(name)).unwrap();
            fs::write(path.join(format!("{name}.json")), text).unwrap();
        }
        fs::write(path.join(".db.new"), "").unwrap();
        fs::write(path.join("odd.json"), "{}").unwrap();
        assert_eq!(load(path, "web"), Some(ends("web")));
        assert_eq!(load(path, "odd"), None);
        sweep(path, &BTreeSet::from(["web".to_owned()]));
        assert_eq!(load(path, "db"), None);
        assert_eq!(fs::read_dir(path).unwrap().count(), 2);
        sweep(&path.join("none"), &BTreeSet::new());
    }
}
