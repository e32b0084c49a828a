//! `/usr/libexec/skep/launcher`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skep_launcher::cli::run()
}
