//! `skep import`: a systemd.nspawn(5) file as a declaration.

use std::path::Path;

use crate::declaration::Facts;
use crate::declaration::file::{Contents, read_named};
use crate::import;
use crate::name;
use crate::problem::shown;
use crate::report;

use super::unit_set::print_problem;
use super::{FAILED, ImportArgs, OK, systemd_version};

/// `skep import`
pub(super) fn import(arguments: &ImportArgs) -> u8 {
    let path = arguments.file.as_path();
    let bytes = match read_named(path) {
        Ok(Contents::Text(bytes)) => bytes,
        Ok(Contents::Mask) => Vec::new(),
        Ok(Contents::Absent) => return failed(path, "no such file"),
        Err(message) => return failed(path, &message),
    };
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = stem
        .filter(|stem| name::check(stem).is_ok())
        .unwrap_or("imported");
    let imported = import::import(&bytes, path, name, &Facts::of_host(systemd_version()));
    imported.remarks.iter().for_each(print_problem);
    report::print(&imported.declaration);
    OK
}

fn failed(path: &Path, message: &str) -> u8 {
    report::error_line(&format!("{}: {message}", shown(path)));
    FAILED
}
