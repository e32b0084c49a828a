//! Files in a container that follow the host's: with a shared network, those by which names are looked up; with a
//! masqueraded link, its name servers.
//!
//! Each is a file of ours, mounted read-only over the container's, and written in place through a descriptor that the
//! builder left. A change of the host's file is noticed in its directory, and in that of the file that a link leads to: it
//! may be written, replaced, removed or appear.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::plan::adapt::names::{HOSTS, LOCALHOST, NETWORKS, RESOLV_CONF, Source};

/// Longest file that is passed on.
const LIMIT: u64 = 1 << 20;

/// Most links from one file to the next.
const HOPS: usize = 8;

/// The files and the watch over the host's.
#[derive(Debug)]
pub struct Names {
    files: RefCell<Vec<Followed>>,
    watch: Option<Inotify>,
    /// Whether it was told that there are too few watches.
    short: Cell<bool>,
}

#[derive(Debug)]
struct Followed {
    source: Source,
    file: File,
    content: Vec<u8>,
}

impl Names {
    /// Fills the files and watches the host's. A watch that cannot be had, as their number is limited, is told once: the
    /// container keeps what it has until its next start.
    pub fn start(files: impl Iterator<Item = (Source, OwnedFd)>) -> Names {
        let followed = |(source, file): (_, OwnedFd)| Followed {
            source,
            file: file.into(),
            content: Vec::new(),
        };
        let files: Vec<_> = files.map(followed).collect();
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let watch = if files.is_empty() {
            None
        } else {
            Inotify::init(flags)
                .inspect_err(|errno| not_followed(*errno, "max_user_instances"))
                .ok()
        };
        let names = Names {
            files: RefCell::new(files),
            watch,
            short: Cell::new(false),
        };
        names.update();
        names
    }

    /// What becomes readable when a file of the host may have changed.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Reads what happened, and catches up.
    pub fn changed(&self) {
        if let Some(watch) = &self.watch {
            // What exactly happened does not matter.
            while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
        self.update();
    }

    /// Watches first: a change after the look is seen by the next one.
    fn update(&self) {
        for followed in self.files.borrow_mut().iter_mut() {
            for path in followed.source.paths() {
                for directory in directories(&path) {
                    self.watch_directory(&directory);
                }
            }
            followed.update();
        }
    }

    fn watch_directory(&self, directory: &Path) {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        if let Some(watch) = &self.watch {
            match watch.add_watch(directory, flags) {
                Err(Errno::ENOSPC) if !self.short.replace(true) => {
                    not_followed(Errno::ENOSPC, "max_user_watches");
                }
                // Gone again is as if it had not been there.
                _ => {}
            }
        }
    }
}

impl Followed {
    fn update(&mut self) {
        let content = match &self.source {
            Source::File(path) => read(path),
            Source::Servers(servers) => resolv_conf(servers),
            Source::Neighbours(own, networks) => neighbours(own, networks),
        };
        if content == self.content {
            return;
        }
        if content.ends_with(NO_SERVER.as_bytes()) {
            crate::log::line(
                "no name server of the host can be reached from the container; set DNS=",
            );
        }
        // In one call, and cut to length after it: a reader sees no half of it.
        let written = self.file.write_all_at(&content, 0);
        if written.is_ok() && self.file.set_len(content.len() as u64).is_ok() {
            self.content = content;
        }
    }
}

fn not_followed(errno: Errno, sysctl: &str) {
    let why = errno.desc().to_lowercase();
    crate::log::line(format_args!(
        "changes of the host's /etc/resolv.conf and its like are not followed: {why}; raise fs.inotify.{sysctl}"
    ));
}

impl Source {
    /// Files of the host that it depends on.
    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Source::File(path) => vec![path.into()],
            Source::Servers(servers) if servers.is_empty() => SERVERS.map(PathBuf::from).into(),
            Source::Servers(_) => Vec::new(),
            Source::Neighbours(_, networks) => networks.iter().map(|one| of_network(one)).collect(),
        }
    }
}

/// Where the host's name servers are, the first that has one wins: while resolv.conf names the stub of systemd-resolved, or
/// the dnsmasq of NetworkManager, what those were told is elsewhere.
const SERVERS: [&str; 3] = [
    RESOLV_CONF,
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

fn of_network(network: &str) -> PathBuf {
    Path::new(NETWORKS).join(network)
}

/// The container's own hosts file, then its neighbours and itself.
fn neighbours(own: &[u8], networks: &[String]) -> Vec<u8> {
    let mut text = own.to_vec();
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    for network in networks {
        text.extend(format!("# Written by skep: containers on {network}.\n").bytes());
        text.extend(read(of_network(network)));
    }
    text
}

/// Instead of any server.
const NO_SERVER: &str = "# The host has no name server that can be reached from here; set DNS=.\n";

fn resolv_conf(servers: &[IpAddr]) -> Vec<u8> {
    let head = "# Written by skep.\n";
    if servers.is_empty() {
        let reachable = SERVERS
            .iter()
            .find_map(|path| reachable(&String::from_utf8_lossy(&read(path))));
        return format!("{head}{}", reachable.as_deref().unwrap_or(NO_SERVER)).into_bytes();
    }
    let servers = servers.iter().map(|ip| format!("nameserver {ip}\n"));
    format!("{head}{}", servers.collect::<String>()).into_bytes()
}

/// A resolv.conf without servers on the host's own loopback or one of its links; nothing when it has no others.
fn reachable(text: &str) -> Option<String> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().unwrap_or_default().to_owned())
    };
    let leads_out = |server: &str| {
        let address = server.parse::<IpAddr>();
        address.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !is_of_one_link(ip))
    };
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']))
        .filter(|line| server(line).is_none_or(|server| leads_out(&server)))
        .collect();
    kept.iter()
        .any(|line| server(line).is_some())
        .then(|| kept.join("\n") + "\n")
}

/// Whether the address means something on one link of the host only.
fn is_of_one_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The host's file; nothing when there is none, but `localhost` is always found.
fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    let missing = if path == Path::new(HOSTS) {
        LOCALHOST
    } else {
        ""
    };
    let open = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let mut content = Vec::new();
    match open {
        Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => {
            match file.take(LIMIT).read_to_end(&mut content) {
                Ok(_) => content,
                Err(_) => Vec::new(),
            }
        }
        _ => missing.as_bytes().to_vec(),
    }
}

/// The directories in which `path` and what it leads to are looked up; of one that is not there, the closest that is.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        let Some(parent) = path.parent().map(Path::to_owned) else {
            break;
        };
        let there = parent.ancestors().find(|directory| directory.is_dir());
        found.extend(there.map(Path::to_owned));
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = parent.join(link);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_can_be_reached() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\nnameserver fe80::1\nnameserver fe80::1%eth0\nsearch example.org\n";
        let want = "nameserver 192.0.2.1\nsearch example.org\n";
        assert_eq!(reachable(text).as_deref(), Some(want));
        assert_eq!(reachable("nameserver 127.0.0.53\noptions edns0\n"), None);
        let own = resolv_conf(&["fd00::1".parse().unwrap()]);
        assert!(own.ends_with(b"nameserver fd00::1\n"));
    }

    #[test]
    fn watches_where_links_lead() {
        let all = directories(Path::new("/proc/self/exe"));
        assert_eq!(all[0], Path::new("/proc/self"));
        assert!(all.len() > 1);
        assert_eq!(directories(Path::new("/none/at/all")), [Path::new("/")]);
    }
}
