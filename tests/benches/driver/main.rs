//! Measures inside a test host, for `cargo xtask bench`: one JSON row per line on standard output, progress on standard
//! error. Expects a service with a delegated cgroup and the guests that `cargo xtask bench` brings; leaves cleaning up to
//! the end of the host.
//!
//! Without arguments (as `cargo bench` runs it) it measures nothing.

mod applying;
mod fleet;
mod floor;
mod guests;
mod network;
mod spawn;
mod unit;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use skep_tests::{
    bench::figure::{Row, Unit},
    progress::step,
};

type Measure = fn() -> Result<Vec<Row>>;

/// Sections by name, the last ones of a group being measured with the first.
const SECTIONS: &[(&str, Measure)] = &[
    ("true", spawn::measure),
    ("fleet", fleet::measure),
    ("debian-12", || guests::start("debian-12")),
    ("debian-13", || guests::start("debian-13")),
    ("stop", guests::stop),
    ("apply", applying::measure),
    ("files", fleet::many_files),
    ("network", network::measure),
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.iter().any(|name| name == "--bench") {
        eprintln!("this runs inside a test host: cargo xtask bench");
        return ExitCode::SUCCESS;
    }
    match perform(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(names: &[String]) -> Result<()> {
    ensure!(
        std::path::Path::new("/run/systemd/system").exists(),
        "no systemd runs here: cargo xtask bench"
    );
    unit::prepare()?;
    let mut failed = Vec::new();
    for (name, measure) in SECTIONS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        match step(format_args!("bench {name}"), measure) {
            Ok(rows) => {
                for row in rows {
                    println!("{}", serde_json::to_string(&row)?);
                }
            }
            // The other sections are worth having all the same.
            Err(error) => failed.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// A row in milliseconds.
fn times(section: &str, contender: &str, samples: Vec<f64>) -> Row {
    Row {
        section: section.into(),
        contender: contender.into(),
        unit: Unit::Milliseconds,
        samples,
        note: None,
    }
}
