//! The `skep` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skep::cli::run(std::env::args_os())
}
