//! A thousand declarations: `skep apply` next to the D-Bus call that it cannot do without.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use skep::{
    apply::{Layout, collect},
    manager::{JobEnd, Jobs, Systemd, Verb},
    unit::{UNIT_PATTERN, UnitDraft},
};
use skep_tests::{
    bench::figure::Row,
    command::{capture, program},
    wait::{timed, wait_until},
};

use crate::{
    times,
    unit::{milliseconds, systemctl},
};

const DECLARATIONS: usize = 1000;
const ROUNDS: usize = 5;
const KEEPER: &str = "bench.slice";

#[derive(Default)]
struct Samples {
    first: Vec<f64>,
    known: Vec<f64>,
    bare: Vec<f64>,
    unchanged: Vec<f64>,
    reload: Vec<f64>,
    reload_none: Vec<f64>,
}

/// Both sides in turn; each round begins and ends without a unit.
pub(crate) fn measure() -> Result<Vec<Row>> {
    // An apply that skep.path starts would take part.
    systemctl(&[
        "stop",
        "skep.path",
        "skep-settle.timer",
        "skep-apply.service",
    ])?;
    let names: Vec<String> = (1..=DECLARATIONS)
        .map(|number| format!("bench-{number}"))
        .collect();
    let mut samples = Samples::default();
    for round in 0..=ROUNDS {
        let mut measured = Samples::default();
        measured.measure(&names)?;
        if round > 0 {
            samples.append(measured);
        }
    }
    let apply = |name, samples| times("apply", name, samples);
    Ok(vec![
        apply("skep apply, first", samples.first),
        apply("skep apply, known ranges", samples.known),
        apply("skep apply, unchanged", samples.unchanged),
        apply("the bare call", samples.bare),
        times("reload", "with 1,000 declared", samples.reload),
        times("reload", "with none", samples.reload_none),
    ])
}

impl Samples {
    fn measure(&mut self, names: &[String]) -> Result<()> {
        self.reload_none.push(systemctl(&["daemon-reload"])?);
        // As after installation: no container has an id range yet.
        fs::remove_file(Layout::host().leases).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        write(names)?;
        self.first.push(apply()?);
        for _ in 0..3 {
            self.unchanged.push(apply()?);
        }
        self.reload.push(systemctl(&["daemon-reload"])?);
        clear(names)?;

        write(names)?;
        self.bare.push(zbus::block_on(bare_call())?);
        clear(names)?;

        write(names)?;
        self.known.push(apply()?);
        clear(names)
    }

    fn append(&mut self, mut other: Samples) {
        self.first.append(&mut other.first);
        self.known.append(&mut other.known);
        self.bare.append(&mut other.bare);
        self.unchanged.append(&mut other.unchanged);
        self.reload.append(&mut other.reload);
        self.reload_none.append(&mut other.reload_none);
    }
}

fn write(names: &[String]) -> Result<()> {
    for name in names {
        let text = "[Container]\nRoot=/var/lib/machines/busybox\nEnvironment=LANG=C.UTF-8\n\n[Service]\nMemoryMax=1G\n";
        fs::write(format!("/run/skep/{name}.container"), text)?;
    }
    Ok(())
}

/// From exec to exit.
fn apply() -> Result<f64> {
    let (result, time) = timed(|| capture(&mut program("skep", ["apply"])));
    result.map(|_| milliseconds(time))
}

fn clear(names: &[String]) -> Result<()> {
    for name in names {
        fs::remove_file(format!("/run/skep/{name}.container"))?;
    }
    apply()?;
    wait_until(
        Duration::from_secs(10),
        "systemd to forget all units",
        || {
            let list = [
                "list-units",
                "--all",
                "--plain",
                "--no-legend",
                UNIT_PATTERN,
                KEEPER,
            ];
            Ok(capture(&mut program("systemctl", list))?
                .is_empty()
                .then_some(()))
        },
    )
}

/// The very same units with the very same properties, rendered before the clock starts: what is left is one call, in which
/// systemd makes them, and the end of the keeper's job.
async fn bare_call() -> Result<f64> {
    let systemd = Systemd::connect().await?;
    let layout = Layout::host();
    let declarations = collect(&layout.root, systemd.version().await?, &layout);
    let drafts: Vec<UnitDraft> = declarations
        .units()
        .map(|(_, unit)| unit.draft.clone())
        .collect();
    ensure!(drafts.len() == DECLARATIONS, "{} units", drafts.len());
    let held: BTreeSet<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let held: Vec<String> = held.into_iter().collect();
    let mut jobs = Jobs::subscribe(&systemd).await?;
    let begin = std::time::Instant::now();
    let job = systemd.start_keeper(KEEPER, held, &drafts).await?;
    let end = jobs.wait(&job).await?;
    let time = begin.elapsed();
    if end != JobEnd::Done {
        bail!("the keeper of the bare call: {end:?}");
    }
    let job = systemd
        .queue(Verb::Stop, KEEPER)
        .await
        .context("stop of the keeper")?;
    jobs.wait(&job).await?;
    Ok(milliseconds(time))
}
