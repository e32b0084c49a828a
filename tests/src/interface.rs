//! The systemd Container Interface, check by check: what a container manager should give a container, and what not.
//!
//! Checks C1-C46 are the sentences of systemd's `docs/CONTAINER_INTERFACE.md`, in its order. A trial records facts, each of
//! which shows a part of a check; a fact that is not as the document says on purpose carries its reason. `cargo xtask test`
//! and `cargo xtask interface` print the table.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    guest::{Guest, sh},
    host::{Host, Os},
    results,
};

/// Of the file beside that of the trials' results.
const SUFFIX: &str = ".interface";

/// All checks: number, and what is asked for.
pub const CHECKS: [(&str, &str); 46] = [
    ("C1", "host name set before exec, the tree's own wins"),
    ("C2", "/proc mounted before exec"),
    ("C3", "/sys mounted before exec, read-only"),
    ("C4", "/proc/sys read-only, its network part as the network"),
    ("C5", "SELinux file system mounted read-only"),
    ("C6", "/dev: a tmpfs with the pseudo devices and a console"),
    ("C7", "device cgroup: no other device"),
    ("C8", "no device manager runs"),
    ("C9", "one getty, on the console"),
    ("C10", "cgroup tree complete or namespaced"),
    ("C11", "own unit with Delegate=, nothing outside of it"),
    ("C12", "mounts shared inside, no mount reaches the host"),
    ("C13", "$container"),
    ("C14", "$container_uuid, unique and stable"),
    ("C15", "$container_ttys"),
    ("C16", "$container_host_*"),
    ("C17", "$CREDENTIALS_DIRECTORY: read-only, never swapped"),
    ("C18", "/etc/localtime of the host, a relative link"),
    ("C19", "journal linked by machine id"),
    ("C20", "SIGRTMIN+3 is a clean shutdown, at any time"),
    ("C21", "socket activation"),
    ("C22", "no process or cgroup of the container elsewhere"),
    ("C23", "$NOTIFY_SOCKET: readiness, of PID 1 only"),
    ("C24", "container end of a veth is host0"),
    ("C25", "host end of a veth is ve-NAME"),
    ("C26", "stable MAC addresses"),
    ("C27", "/run/host/incoming"),
    ("C28", "/run/host/inaccessible"),
    ("C29", "/run/host/notify"),
    ("C30", "/run/host/os-release"),
    ("C31", "/run/host/container-manager"),
    ("C32", "/run/host/container-uuid"),
    ("C33", "/run/host/credentials"),
    ("C34", "/run/host/unix-export"),
    ("C35", "/run/host/unix-export/ssh can be reached"),
    ("C36", "/run/host/userdb"),
    ("C37", "/run/host/home"),
    ("C38", "/run/host read-only, no security by /run/host/root"),
    ("C39", "CAP_MKNOD kept"),
    ("C40", "CAP_SYS_ADMIN kept"),
    ("C41", "no /dev/kmsg, least of all the console's"),
    ("C42", "no virtual terminals"),
    ("C43", "no block devices"),
    ("C44", "no bare part of a cgroup tree"),
    ("C45", "root of /sys never writable"),
    ("C46", "no audit capabilities"),
];

/// What became of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// Not as the document says, for a reason.
    Differs,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Differs => "differs",
        }
    }
}

/// The facts that one trial found on one host. Dropped without [`Sheet::conclude`] it records nothing.
#[derive(Debug)]
pub struct Sheet {
    os: Os,
    facts: Vec<(&'static str, Verdict, String)>,
}

impl Sheet {
    /// An empty sheet.
    pub fn of(host: &Host) -> Sheet {
        Sheet {
            os: host.os(),
            facts: Vec::new(),
        }
    }

    /// A fact that holds unless `judged` is an error.
    pub fn fact(&mut self, check: &'static str, what: &str, judged: Result<()>) {
        let (verdict, text) = match judged {
            Ok(()) => (Verdict::Passed, what.to_owned()),
            Err(error) => (Verdict::Failed, format!("{what}: {error:#}")),
        };
        self.facts.push((check, verdict, text));
    }

    /// A fact that is not as the document says, and why.
    pub fn differs(&mut self, check: &'static str, reason: &str) {
        self.facts
            .push((check, Verdict::Differs, reason.to_owned()));
    }

    /// A script in the container prints exactly `want`.
    pub fn inside(
        &mut self,
        guest: &Guest<'_>,
        check: &'static str,
        what: &str,
        script: &str,
        want: &str,
    ) {
        self.fact(check, what, equal(sh(guest, script), want));
    }

    /// A script on the host prints exactly `want`.
    pub fn outside(
        &mut self,
        host: &Host,
        check: &'static str,
        what: &str,
        script: &str,
        want: &str,
    ) {
        self.fact(
            check,
            what,
            equal(host.sh(script).and_then(|done| done.ok()), want),
        );
    }

    /// Records all facts; an error that names those that failed.
    pub fn conclude(self) -> Result<()> {
        let mut failed = Vec::new();
        let mut lines = String::new();
        for (check, verdict, text) in &self.facts {
            let text = text.replace(['\n', '\t'], " ");
            println!("{check} {}: {text}", verdict.word());
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{}\t{check}\t{}\t{text}", self.os, verdict.word());
            if *verdict == Verdict::Failed {
                failed.push(format!("{check} {text}"));
            }
        }
        results::append(SUFFIX, &lines);
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("{}", failed.join("\n"))
        }
    }
}

fn equal(got: Result<String>, want: &str) -> Result<()> {
    let got = got?;
    if got == want {
        Ok(())
    } else {
        bail!("{got:?}, not {want:?}")
    }
}

/// Makes an empty file of results.
pub fn begin(trials: &Path) -> Result<()> {
    results::begin(trials, SUFFIX)
}

/// Removes the file of results.
pub fn end(trials: &Path) {
    let _ = fs::remove_file(results::beside(trials, SUFFIX));
}

/// Prints the table of all checks; an error unless each check is shown on each host.
pub fn conclude(trials: &Path) -> Result<()> {
    let text = results::read(trials, SUFFIX)?;
    let (table, open) = table(&text);
    results::print(&table, &open)
}

/// Facts of one check on one host, by what they say: one that was tried again counts by its last try.
type Facts<'a> = BTreeMap<&'a str, &'a str>;

/// The table, and the checks that are open on some host.
fn table(results: &str) -> (String, Vec<&'static str>) {
    let mut all: BTreeMap<(&str, &str), Facts<'_>> = BTreeMap::new();
    for line in results.lines() {
        let mut fields = line.splitn(4, '\t');
        if let (Some(os), Some(check), Some(verdict), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        {
            // What a failed fact adds is behind the colon.
            let what = match verdict {
                "failed" => text.split_once(": ").map_or(text, |(what, _)| what),
                _ => text,
            };
            all.entry((check, os)).or_default().insert(what, verdict);
        }
    }
    let (mut text, mut open) = (String::new(), Vec::new());
    for (check, what) in CHECKS {
        let _ = write!(text, "{check:<4} {what:<52}");
        let mut reasons = BTreeMap::new();
        let mut shown = true;
        for os in Os::DEBIAN {
            let facts = all.get(&(check, os.name()));
            let (word, good) = judged(facts);
            shown &= good;
            let _ = write!(text, "  {os} {word}");
            for (fact, verdict) in facts.into_iter().flatten() {
                if *verdict != "passed" {
                    reasons.entry(*fact).or_insert(*verdict);
                }
            }
        }
        text.push('\n');
        for (fact, verdict) in reasons {
            let _ = writeln!(text, "     {verdict}: {fact}");
        }
        if !shown {
            open.push(check);
        }
    }
    (text, open)
}

/// The word for all facts of a check, and whether it is good.
fn judged(facts: Option<&Facts<'_>>) -> (&'static str, bool) {
    let Some(facts) = facts else {
        return ("not run", false);
    };
    let any = |word: &str| facts.values().any(|verdict| *verdict == word);
    match (any("failed"), any("passed"), any("differs")) {
        (true, ..) => ("FAILED", false),
        (_, true, true) => ("partly", true),
        (_, true, false) => ("passed", true),
        _ => ("differs", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_become_a_table() {
        let mut results = String::new();
        for os in Os::DEBIAN {
            for (check, _) in CHECKS {
                let _ = writeln!(results, "{os}\t{check}\tpassed\tas it should");
            }
        }
        assert!(table(&results).1.is_empty());
        results.push_str("sid\tC7\tfailed\topens: \"x\", not \"\"\ntrixie\tC9\tdiffers\twhy\n");
        let (text, open) = table(&results);
        assert_eq!(open, ["C7"]);
        assert!(
            text.contains("     failed: opens\n") && text.contains("     differs: why\n"),
            "{text}"
        );
        results.push_str("sid\tC7\tpassed\topens\n");
        assert!(table(&results).1.is_empty());
        assert_eq!(table("").1.len(), CHECKS.len());
    }
}
