//! An init that is up to no good: it tries what a container must not let it do and reports, as JSON, what worked.
//!
//! `payload probe FILE PID in|out` runs the probes and writes FILE; `payload target` is what they aim at on the host. No
//! probe changes anything for good where it succeeds: it asks for what cannot be, so that the error tells a call that was
//! permitted from one that was not, or it undoes what it did, or its process takes it along.

mod attempt;
mod call;
mod outcome;
mod probes;
mod target;

use std::{env, fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use nix::sys::wait::wait;
use serde_json::{Value, json};

use crate::{
    attempt::{Facts, Place},
    outcome::isolated,
};

fn main() -> ExitCode {
    let result = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        // A supervisor may run the file as init, with these words as its arguments.
        [verb, file, pid, place] if verb == "probe" => probe(file, pid, place),
        [verb] if verb == "target" => target::run(),
        _ => Err(anyhow::anyhow!(
            "usage: payload probe FILE PID in|out | payload target"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe(file: &str, pid: &str, place: &str) -> Result<()> {
    let facts = Facts {
        target: pid.parse().context("PID of the target")?,
        place: match place {
            "in" => Place::Inside,
            "out" => Place::Outside,
            _ => bail!("in or out, not {place}"),
        },
    };
    let rows: Vec<Value> = probes::all()
        .into_iter()
        .map(|(name, attempt)| {
            let outcome = isolated(|| {
                attempt::seclude();
                attempt.run(&facts)
            });
            // As PID 1 we inherit what probes leave.
            while wait().is_ok() {}
            json!({"probe": name, "outcome": outcome.word(), "detail": outcome.detail()})
        })
        .collect();
    let text = serde_json::to_string(&rows)?;
    let temporary = format!("{file}.new");
    fs::write(&temporary, text).with_context(|| format!("cannot write {temporary}"))?;
    fs::rename(&temporary, file).with_context(|| format!("cannot write {file}"))
}
