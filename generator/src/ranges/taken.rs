//! Ids that somebody else uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User};
use skep_spec::ID_RANGE;

/// Ids in use, apart from our own leases.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    declared: BTreeSet<u32>,
    spans: Vec<(u64, u64)>,
}

impl Taken {
    /// Reads what the host says: subordinate ids, local users and groups, and ranges that nspawn holds.
    pub fn of_host() -> Self {
        let mut taken = Self::default();
        for file in ["/etc/subuid", "/etc/subgid"] {
            taken.add_subordinate(&read(file));
        }
        for file in ["/etc/passwd", "/etc/group"] {
            taken.add_accounts(&read(file));
        }
        let locks = fs::read_dir("/run/systemd/nspawn-uid")
            .into_iter()
            .flatten()
            .flatten();
        for lock in locks {
            taken.add_lock(Path::new(&lock.file_name()));
        }
        taken
    }

    /// Adds a range that a declaration names by number.
    pub fn add_declared(&mut self, base: u32) {
        self.declared.insert(base);
        self.spans
            .push((base.into(), u64::from(base) + u64::from(ID_RANGE)));
    }

    /// Adds `user:first:count` lines of subuid(5).
    pub fn add_subordinate(&mut self, text: &str) {
        for line in text.lines() {
            let mut fields = line
                .split(':')
                .skip(1)
                .map(|field| field.trim().parse::<u64>());
            if let (Some(Ok(first)), Some(Ok(count))) = (fields.next(), fields.next()) {
                self.spans.push((first, first.saturating_add(count)));
            }
        }
    }

    /// Adds the third field of each line: the id in passwd(5) and group(5).
    pub fn add_accounts(&mut self, text: &str) {
        let ids = text
            .lines()
            .filter_map(|line| line.split(':').nth(2)?.parse::<u64>().ok());
        self.spans.extend(ids.map(|id| (id, id + 1)));
    }

    /// Adds a lock file of nspawn: it is named after the base.
    fn add_lock(&mut self, file: &Path) {
        if let Some(base) = file.to_str().and_then(|name| name.parse::<u64>().ok()) {
            self.spans.push((base, base + u64::from(ID_RANGE)));
        }
    }

    /// Whether a declaration names this range by number.
    pub fn is_declared(&self, base: u32) -> bool {
        self.declared.contains(&base)
    }

    /// Whether any id of the range at `base` is in use.
    pub fn overlaps(&self, base: u32) -> bool {
        let (first, end) = (u64::from(base), u64::from(base) + u64::from(ID_RANGE));
        self.spans.iter().any(|span| span.0 < end && first < span.1)
    }
}

fn read(path: &str) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The name service, asked whether an id belongs to somebody.
///
/// A directory that is out of reach answers each question with a long wait, and apply runs while the host boots: after
/// `PATIENCE` no more is asked. Nothing at all is asked where no service can know more than [`Taken`] does, since a
/// thousand answers of "nobody" cost as much as making a thousand units.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameService {
    is_asked: bool,
    spent: Duration,
}

const PATIENCE: Duration = Duration::from_millis(500);

/// Providers of systemd's user database whose ids lie outside the container range, or that only pass others on.
const QUIET_PROVIDERS: &[&str] = &[
    "io.systemd.DropIn",
    "io.systemd.DynamicUser",
    "io.systemd.Home",
    "io.systemd.Multiplexer",
    "io.systemd.NameServiceSwitch",
];

impl NameService {
    /// The host's.
    pub fn of_host() -> Self {
        let names = |directory: &str| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        let mut providers: Vec<String> = names("/run/systemd/userdb").collect();
        // Static records, which no provider stands for.
        for directory in [
            "/etc/userdb",
            "/run/userdb",
            "/run/host/userdb",
            "/usr/lib/userdb",
        ] {
            providers.extend(names(directory));
        }
        Self {
            is_asked: may_know_more(&read("/etc/nsswitch.conf"), &providers),
            spent: Duration::ZERO,
        }
    }

    /// Whether a user or group of this id exists.
    pub fn knows(&mut self, id: u32) -> bool {
        if !self.is_asked || self.spent > PATIENCE {
            return false;
        }
        let start = Instant::now();
        let user = User::from_uid(Uid::from_raw(id)).is_ok_and(|user| user.is_some());
        let known = user || Group::from_gid(Gid::from_raw(id)).is_ok_and(|group| group.is_some());
        self.spent += start.elapsed();
        known
    }
}

/// Whether nsswitch.conf(5) names a service that may know ids of the container range besides the local files.
pub(super) fn may_know_more(switch: &str, providers: &[String]) -> bool {
    let databases = switch.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.trim_start()
            .strip_prefix("passwd:")
            .or_else(|| line.trim_start().strip_prefix("group:"))
    });
    let mut services = databases.flat_map(str::split_whitespace);
    services.any(|service| match service {
        "files" => false,
        "systemd" => providers
            .iter()
            .any(|provider| !QUIET_PROVIDERS.contains(&provider.as_str())),
        // An action such as [NOTFOUND=return], which may have blanks inside.
        word if word.contains(['[', ']', '=']) => false,
        _ => true,
    })
}
