//! Every kind of network: what a container has when its first process runs, who reaches whom, and what is left after it.

#[path = "network/kinds.rs"]
mod kinds;
#[path = "network/lan.rs"]
mod lan;

use std::process::ExitCode;

use anyhow::Result;
use skep_tests::{
    host::{Host, Os},
    trial,
};

/// A test on one host.
type Test = fn(&Host) -> Result<()>;

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("net_of_its_own", kinds::own),
        ("net_of_the_host", kinds::of_host),
    ];
    let trials = tests
        .iter()
        .flat_map(|(name, test)| trial::on_each(&Os::DEBIAN, name, *test));
    trial::main(trials.collect())
}
