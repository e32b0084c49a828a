//! The unit of a container, before systemd has seen it.
//!
//! Pure: a draft is computed from a validated declaration and the version of systemd, and can be printed, compared and
//! sent. Nothing here reads a file or talks to a bus.

pub mod escape;
pub mod live;
pub mod render;
pub mod run;
pub mod sandbox;
pub mod text;

use serde::Serialize;

use crate::property::Property;

pub use crate::name::unit as unit_name;
pub use render::{render, render_refusal};

/// A unit as systemd shall have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitDraft {
    /// Unit name: `skep@NAME.service`.
    pub name: String,
    /// Its properties, in the order in which they are set.
    pub properties: Vec<Property>,
}

/// Pattern of all units of containers.
pub const UNIT_PATTERN: &str = "skep@*.service";

/// Pattern of all keepers.
pub const KEEPER_PATTERN: &str = "skep-declared-*.slice";

/// Unit of a one-off run.
pub fn run_name(name: &str) -> String {
    format!("skep-run-{name}.service")
}

/// Parent slice of all keepers: systemd makes one for every dash in a slice's name.
pub const KEEPER_PARENT: &str = "skep-declared.slice";

/// Container of a unit name.
pub fn container_of(unit: &str) -> Option<&str> {
    unit.strip_prefix("skep@")?
        .strip_suffix(".service")
        .filter(|name| !name.is_empty())
}

/// Name of the keeper of a generation.
pub fn keeper_name(generation: u64) -> String {
    format!("skep-declared-{generation}.slice")
}

/// Generation of a keeper's name.
pub fn generation_of(unit: &str) -> Option<u64> {
    unit.strip_prefix("skep-declared-")?
        .strip_suffix(".slice")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in ["web", "web-1", "a.b_c"] {
            assert_eq!(container_of(&unit_name(name)), Some(name));
        }
        for unit in [
            "skep@.service",
            "skep.service",
            "skep@a.socket",
            "nginx.service",
        ] {
            assert_eq!(container_of(unit), None, "{unit}");
        }
        assert_eq!(generation_of(&keeper_name(17)), Some(17));
        for unit in [
            "skep-declared.slice",
            "skep-declared-x.slice",
            "skep-declared--1.slice",
        ] {
            assert_eq!(generation_of(unit), None, "{unit}");
        }
    }
}
