//! `[Install]`.

use super::{KeyRow, Meaning, Section};

pub(super) static ROWS: &[KeyRow] = &[
    row(
        "WantedBy",
        "units at whose start the container starts; machines.target is the usual one",
    ),
    row("RequiredBy", "as WantedBy="),
    row("UpheldBy", "as WantedBy="),
    row(
        "Instances",
        "of a template NAME@.container: names of the instances that there are",
    ),
];

const fn row(name: &'static str, help: &'static str) -> KeyRow {
    KeyRow {
        section: Section::Install,
        name,
        help,
        since: None,
        meaning: Meaning::Install,
    }
}
