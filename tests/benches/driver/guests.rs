//! Debian guests: the time to their default target, and a stop that comes while they boot.

use std::{slice::from_ref, thread::sleep, time::Duration};

use anyhow::Result;
use skep_tests::bench::figure::Row;

use crate::{
    times,
    unit::{declare, ensure_active, kill_nspawn, nspawn_unit, skep_unit, systemctl, withdraw},
};

const STARTS: usize = 5;
const STOPS: usize = 5;
const STOPS_OF_NSPAWN: usize = 2;

/// When the stop comes.
const MOMENT: Duration = Duration::from_millis(50);

/// `systemctl start` until the guest's own systemd is ready, on both sides in turn, with the same tree.
pub(crate) fn start(tree: &str) -> Result<Vec<Row>> {
    let name = tree.to_owned();
    declare(from_ref(&name), true)?;
    let mut sides = [
        ("skep@", skep_unit(tree), Vec::new()),
        ("systemd-nspawn@", nspawn_unit(tree), Vec::new()),
    ];
    for round in 0..=STARTS {
        for (_, unit, samples) in &mut sides {
            let time = systemctl(&["start", unit])?;
            ensure_active(unit)?;
            systemctl(&["stop", unit])?;
            // The first boot of a tree does more than later ones.
            if round > 0 {
                samples.push(time);
            }
        }
    }
    withdraw(from_ref(&name))?;
    Ok(sides
        .into_iter()
        .map(|(side, _, samples)| times(tree, side, samples))
        .collect())
}

/// `systemctl stop` shortly after the start.
pub(crate) fn stop() -> Result<Vec<Row>> {
    let name = "debian-12".to_owned();
    declare(from_ref(&name), true)?;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for round in 0..STOPS {
        ours.push(stop_early(&skep_unit(&name))?);
        if round < STOPS_OF_NSPAWN {
            theirs.push(stop_early(&nspawn_unit(&name))?);
            kill_nspawn(from_ref(&name))?;
        }
    }
    withdraw(from_ref(&name))?;
    let mut theirs = times("stop", "systemd-nspawn@", theirs);
    theirs.note = Some("its limit of 90 s lowered to 10 s".into());
    Ok(vec![times("stop", "skep@", ours), theirs])
}

fn stop_early(unit: &str) -> Result<f64> {
    systemctl(&["start", "--no-block", unit])?;
    sleep(MOMENT);
    systemctl(&["stop", unit])
}
