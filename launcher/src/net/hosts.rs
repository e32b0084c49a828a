//! Names of running containers, in the form of hosts(5).
//!
//! `/run/skep/hosts` has all whose addresses are known and that the host reaches: a snippet for programs that take one.
//! `/run/skep/names/BRIDGE` has those on one bridge, and the containers on it follow it. The host's own `/etc/hosts` is
//! changed between two lines only, and only where it has them.
//!
//! Nothing here can make a start fail: a container without a name still has its address.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::unistd::gethostname;

use super::record::Record;
use crate::document::replace;
use crate::log;
use crate::plan::adapt::names::{BEGIN, END, HOSTS, NETWORKS};
use crate::register::machine_name;
use crate::step::{At, StepError};

/// The snippet of the host.
const ALL: &str = "/run/skep/hosts";

/// Longest hosts file that is changed.
const LIMIT: u64 = 1 << 20;

/// Writes what these containers are called.
pub(super) fn publish(running: &[Record]) {
    let own = gethostname().unwrap_or_default();
    let own = own.to_string_lossy();
    let all = lines(running, &own, |_| true);
    let written = write(Path::new(ALL), &all)
        .and_then(|()| publish_networks(running, &own))
        .and_then(|()| update(Path::new(HOSTS), &all));
    if let Err(err) = written {
        log::line(err.cure("names of containers may not be found"));
    }
}

fn publish_networks(running: &[Record], own: &str) -> Result<(), StepError> {
    let directory = Path::new(NETWORKS);
    fs::create_dir_all(directory).at("create", NETWORKS)?;
    let networks: BTreeSet<&str> = running
        .iter()
        .flat_map(|record| &record.named)
        .map(|(network, _)| network.as_str())
        .collect();
    for network in &networks {
        let text = lines(running, own, |other| other == *network);
        write(&directory.join(network), &text)?;
    }
    for entry in fs::read_dir(directory).at("read", NETWORKS)?.flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| networks.contains(name)) {
            fs::remove_file(entry.path()).at("remove", entry.path().display())?;
        }
    }
    Ok(())
}

/// One line for each address on the networks that are `wanted`.
fn lines(running: &[Record], own: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut lines = BTreeSet::new();
    for record in running {
        let Some(name) = machine_name(&record.name) else {
            continue;
        };
        let networks = record.named.iter().filter(|(network, _)| wanted(network));
        let addresses: BTreeSet<IpAddr> = networks.flat_map(|(_, all)| all).copied().collect();
        // What may be the name of somebody else is not given to a container.
        let short = match name.contains('.') || name == "localhost" || name == own {
            true => String::new(),
            false => format!(" {name}"),
        };
        lines.extend(
            addresses
                .into_iter()
                .map(|ip| (name.clone(), ip, short.clone())),
        );
    }
    lines
        .into_iter()
        .map(|(name, ip, short)| format!("{ip} {name}.containers{short}\n"))
        .collect()
}

/// Replaces a file of ours, unless it says so already: others are woken by every change.
fn write(path: &Path, text: &str) -> Result<(), StepError> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No link of a network has such a name.
    let temporary = Path::new("/run/skep").join(format!(".{name}.new"));
    replace(path, &temporary, text.as_bytes(), 0o644)
}

/// Puts the lines between the two that are there for them.
fn update(path: &Path, lines: &str) -> Result<(), StepError> {
    let Ok(file) = File::open(path) else {
        return Ok(());
    };
    let mut text = String::new();
    if file.take(LIMIT).read_to_string(&mut text).is_err() || text.len() as u64 == LIMIT {
        return Ok(());
    }
    let Some(new) = spliced(&text, lines).filter(|new| *new != text) else {
        return Ok(());
    };
    // In place: its owner, label and mount are the administrator's. One write, so that no reader sees half of it.
    let file = File::options()
        .write(true)
        .open(path)
        .at("write", path.display())?;
    file.write_all_at(new.as_bytes(), 0)
        .and_then(|()| file.set_len(new.len() as u64))
        .at("write", path.display())
}

/// The text with these lines in it; nothing when it has no place for them.
fn spliced(text: &str, lines: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("{BEGIN}\n"))?;
    let at = rest.find(END)?;
    (before.is_empty() || before.ends_with('\n'))
        .then(|| format!("{before}{BEGIN}\n{lines}{}", &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, network: &str, address: [u8; 4]) -> Record {
        Record {
            name: name.into(),
            named: vec![(network.into(), vec![address.into()])],
            ..Record::default()
        }
    }

    #[test]
    fn names_of_one_network() {
        let running = [
            record("web", "skep0", [10, 0, 0, 3]),
            record("db@1", "skep0", [10, 0, 0, 2]),
            record("far", "vz-a", [10, 1, 0, 2]),
            record("example.org", "skep0", [10, 0, 0, 4]),
            record("me", "skep0", [10, 0, 0, 5]),
        ];
        assert_eq!(
            lines(&running, "me", |network| network == "skep0"),
            "10.0.0.2 db-1.containers db-1\n10.0.0.4 example.org.containers\n10.0.0.5 me.containers\n\
             10.0.0.3 web.containers web\n"
        );
        assert!(lines(&running, "", |_| true).contains("10.1.0.2 far.containers far\n"));
    }

    #[test]
    fn only_what_is_between_the_lines_changes() {
        let text = format!("127.0.0.1 localhost\n{BEGIN}\nold\n{END}\nlast\n");
        let want = format!("127.0.0.1 localhost\n{BEGIN}\nnew\n{END}\nlast\n");
        assert_eq!(spliced(&text, "new\n"), Some(want));
        for without in [
            String::new(),
            format!("{BEGIN}\n"),
            format!("{END}\n{BEGIN}\n"),
            format!("x {BEGIN}\n{END}\n"),
        ] {
            assert_eq!(spliced(&without, "new\n"), None, "{without}");
        }
    }
}
