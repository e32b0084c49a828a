//! Services of runit: no login on terminals that a container does not have.
//!
//! A service that does not fit gets another program to run, one that asks runsv to leave it down. Without it a login ends
//! and begins anew all the time, or moves its own directory away, and then a shutdown waits for its runsv in vain.

use super::{Adaptation, Effect, Entry, inittab, service};
use crate::plan::mounts::MountOp;

/// The entry of a service that is a login on a missing terminal, by the name that distributions give it: `getty-tty1`,
/// `agetty-ttyS0`.
pub(super) fn login(name: &str) -> Option<Entry> {
    let (program, terminal) = name.split_once('-')?;
    (program.ends_with("getty") && inittab::is_missing(terminal)).then(|| Entry {
        name: name.to_owned(),
        effect: Effect::StandIn,
        reason: "there is no such terminal".to_owned(),
    })
}

/// Keeps a service down.
pub(super) fn cover(entry: Entry, adaptation: &mut Adaptation) {
    let text = format!(
        "#!/bin/sh\n# Left out by skep: {}\nexec sv d .\n",
        entry.reason
    );
    let name = service(&entry.name).to_owned();
    let path = format!("/etc/sv/{name}/run").into();
    adaptation
        .mounts
        .push(MountOp::Script(path, text.into_bytes()));
    adaptation.entries.push(Entry { name, ..entry });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_on_missing_terminals() {
        for (name, want) in [
            ("getty-tty1", true),
            ("agetty-ttyS0", true),
            ("agetty-console", false),
            ("cron", false),
            ("mingetty-tty", false),
        ] {
            assert_eq!(login(name).is_some(), want, "{name}");
        }
    }
}
