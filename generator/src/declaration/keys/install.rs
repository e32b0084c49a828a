//! `[Install]`.

use super::{KeyRow, Meaning, Section};

pub(super) static ROWS: [KeyRow; 3] = [
    row(
        "WantedBy",
        "units at whose start the container starts; machines.target is the usual one",
    ),
    row("RequiredBy", "as WantedBy="),
    row("UpheldBy", "as WantedBy="),
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
