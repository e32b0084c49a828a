//! Many busybox systems at once, the memory of their supervisors, and a tree with many files.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use skep_tests::bench::figure::{Row, Unit};

use crate::{
    times,
    unit::{
        MACHINES, copy_busybox, declare, declare_sleeping, ensure_active, kill_nspawn, nspawn_unit,
        property, skep_unit, systemctl_all, withdraw,
    },
};

const SYSTEMS: u32 = 20;
const ROUNDS: usize = 5;

/// Lines of smaps_rollup, and the sections they fill.
const MEMORY: &[(&str, &str)] = &[
    ("Rss:", "rss"),
    ("Pss:", "pss"),
    ("Private_Dirty:", "dirty"),
];

/// Start times and memory of both sides.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let names: Vec<String> = (1..=SYSTEMS)
        .map(|number| format!("bench-{number}"))
        .collect();
    for name in &names {
        copy_busybox(name)?;
    }
    declare(&names, false)?;
    let ours: Vec<String> = names.iter().map(|name| skep_unit(name)).collect();
    let theirs: Vec<String> = names.iter().map(|name| nspawn_unit(name)).collect();
    let mut sides = [
        ("skep@", ours, Vec::new()),
        ("systemd-nspawn@", theirs, Vec::new()),
    ];
    let mut memory = Vec::new();
    for round in 0..=ROUNDS {
        for (side, units, samples) in &mut sides {
            let time = systemctl_all("start", units)? / f64::from(SYSTEMS);
            for unit in units.iter() {
                ensure_active(unit)?;
            }
            // The first round warms up, the last one is looked into.
            if round > 0 {
                samples.push(time);
            }
            if round == ROUNDS {
                memory.extend(supervisors(side, units)?);
            }
            match *side {
                "skep@" => drop(systemctl_all("stop", units)?),
                _ => kill_nspawn(&names)?,
            }
        }
    }
    withdraw(&names)?;
    for name in &names {
        fs::remove_dir_all(format!("{MACHINES}/{name}"))?;
    }
    let rows = sides
        .into_iter()
        .map(|(side, _, samples)| times("fleet", side, samples));
    Ok(rows.chain(memory).collect())
}

fn supervisors(side: &str, units: &[String]) -> Result<Vec<Row>> {
    let row = |(_, section): &(&str, &str)| Row {
        section: (*section).into(),
        contender: side.into(),
        unit: Unit::Kilobytes,
        samples: Vec::new(),
        note: None,
    };
    let mut rows: Vec<Row> = MEMORY.iter().map(row).collect();
    for unit in units {
        let path = format!("/proc/{}/smaps_rollup", property(unit, "MainPID")?);
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        for (row, (label, _)) in rows.iter_mut().zip(MEMORY) {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(label))
                .context("smaps_rollup")?;
            row.samples
                .push(value.trim().trim_end_matches(" kB").parse()?);
        }
    }
    Ok(rows)
}

/// One start with few and one with many files, in turn.
pub(crate) fn many_files() -> Result<Vec<Row>> {
    let names = ["bench-few".to_owned(), "bench-many".to_owned()];
    for name in &names {
        copy_busybox(name)?;
    }
    fill(&Path::new(MACHINES).join("bench-many/srv"))?;
    declare_sleeping(&names)?;
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=5 * ROUNDS {
        for (name, samples) in names.iter().zip(&mut samples) {
            let units = [skep_unit(name)];
            let time = systemctl_all("start", &units)?;
            ensure_active(&units[0])?;
            systemctl_all("stop", &units)?;
            if round > 0 {
                samples.push(time);
            }
        }
    }
    withdraw(&names)?;
    let [few, many] = samples;
    Ok(vec![
        times("files", "skep@, 400 files", few),
        times("files", "skep@, 200,000 files", many),
    ])
}

fn fill(directory: &Path) -> Result<()> {
    for outer in 0..200 {
        let below = directory.join(outer.to_string());
        fs::create_dir_all(&below)?;
        for inner in 0..1000 {
            fs::File::create(below.join(inner.to_string()))?;
        }
    }
    Ok(())
}
