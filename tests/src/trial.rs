//! Boot tests: what a file in `tests/` needs to be run by `cargo xtask test`, and ignored by `cargo test`.
//!
//! ```no_run
//! use skep_tests::{host::Os, trial};
//!
//! fn main() -> std::process::ExitCode {
//!     trial::main(trial::on_each(&Os::DEBIAN, "says_hello", |host| {
//!         anyhow::ensure!(host.exec(["echo", "hello"])?.ok()? == "hello");
//!         Ok(())
//!     }))
//! }
//! ```

use std::{env, process::ExitCode};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    host::{Host, Os},
    parity,
};

/// Shown beside the name of an ignored test.
const REASON: &str = "needs root and test hosts: cargo xtask test";

/// Runs the trials that the command line selects.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test on one host.
pub type Test = fn(&Host) -> Result<()>;

/// These tests on every system that is supported.
pub fn everywhere(tests: &[(&str, Test)]) -> Vec<Trial> {
    let on_each = |(name, test): &(&str, Test)| on_each(&Os::DEBIAN, name, *test);
    tests.iter().flat_map(on_each).collect()
}

/// The same test on each of the shared hosts, named `OS::NAME`. Tests of one host never run at the same time.
pub fn on_each<F>(systems: &[Os], name: &str, test: F) -> Vec<Trial>
where
    F: Fn(&Host) -> Result<()> + Clone + Send + 'static,
{
    let trial = |os: &Os| {
        let (os, test) = (*os, test.clone());
        promised(format!("{os}::{name}"), move || {
            let host = Host::shared(os)?;
            test(&host).map_err(|error| error.context(journal(&host)))
        })
    };
    systems.iter().map(trial).collect()
}

/// A test that brings up hosts of its own.
pub fn promised(name: String, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let shown = name.clone();
    let run = move || {
        let result = test();
        parity::record(&shown, result.is_ok());
        result.map_err(|error| Failed::from(format!("{error:#}")))
    };
    if env::var_os("SKEP_TEST_HOSTS").is_some() {
        Trial::test(name, run)
    } else {
        Trial::test(name, run)
            .with_ignored_flag(true)
            .with_kind(REASON)
    }
}

/// The end of the host's journal: most failures are explained there.
fn journal(host: &Host) -> String {
    let text = host.exec([
        "journalctl",
        "--boot",
        "--no-pager",
        "--lines=60",
        "--output=short-precise",
    ]);
    let text = text
        .map(|done| done.stdout())
        .unwrap_or_else(|error| format!("{error:#}"));
    format!("the end of the journal of host {}:\n{text}\n", host.name())
}
