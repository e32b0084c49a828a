//! Autostart: the start jobs of `[Install]`.
//!
//! systemd takes no `WantedBy=` for transient units, so `skep boot` queues the jobs itself. It waits for none of them:
//! it is itself part of the boot.

use std::collections::BTreeSet;

use crate::manager::{BusError, Systemd, Verb};
use crate::unit::unit_name;

use super::{Declarations, Trouble};

/// Targets that are on their way whenever the host boots.
const BOOT_TARGETS: &[&str] = &[
    "machines.target",
    "multi-user.target",
    "graphical.target",
    "default.target",
];

/// What autostart did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autostart {
    /// Containers whose start is queued.
    pub queued: Vec<String>,
    /// Those for which that did not work.
    pub troubles: Vec<Trouble>,
}

/// Queues the start of every container that a target of this boot wants.
///
/// # Errors
/// When systemd does not answer.
pub async fn autostart(
    systemd: &Systemd,
    declarations: &Declarations,
) -> Result<Autostart, BusError> {
    let wanted: BTreeSet<&str> = declarations
        .containers
        .values()
        .flat_map(|c| &c.wanted_by)
        .map(String::as_str)
        .collect();
    let reached = reached(systemd, &wanted).await?;
    let mut result = Autostart::default();
    for (name, container) in &declarations.containers {
        if container.unit.is_none()
            || !container
                .wanted_by
                .iter()
                .any(|target| reached.contains(target.as_str()))
        {
            continue;
        }
        match systemd.queue(Verb::Start, &unit_name(name)).await {
            Ok(_) => result.queued.push(name.clone()),
            Err(error) if error.is_answer() => {
                result.troubles.push(Trouble {
                    name: name.clone(),
                    message: error.to_string(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(result)
}

/// Those of the units that this boot reaches.
async fn reached<'a>(
    systemd: &Systemd,
    wanted: &BTreeSet<&'a str>,
) -> Result<BTreeSet<&'a str>, BusError> {
    let mut reached: BTreeSet<&str> = wanted
        .iter()
        .copied()
        .filter(|unit| BOOT_TARGETS.contains(unit))
        .collect();
    // A pattern is matched like a file name; these characters would make it one, and a backslash stands for itself twice.
    let plain = |unit: &&str| !unit.contains(['*', '?', '[']);
    let others: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|unit| !reached.contains(unit))
        .filter(plain)
        .collect();
    if !others.is_empty() {
        let patterns: Vec<String> = others.iter().map(|one| one.replace('\\', "\\\\")).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let listed = systemd.list_patterns(&patterns).await?;
        let on_their_way = listed
            .iter()
            .filter(|unit| unit.job || matches!(unit.active.as_str(), "active" | "activating"));
        let names: BTreeSet<&str> = on_their_way.map(|unit| unit.name.as_str()).collect();
        reached.extend(others.into_iter().filter(|unit| names.contains(unit)));
    }
    Ok(reached)
}
