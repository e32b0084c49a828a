//! What a valid declaration asks for: the value between validation and rendering.

use std::path::PathBuf;

use skep_spec::ContainerSpec;

use crate::addresses::Pool;
use crate::property::Property;

/// A validated declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Container name.
    pub name: String,
    /// The declaration file, which the unit names as documentation.
    pub source: PathBuf,
    /// What the launcher gets. With [`Ids::Pick`] its `users` base is 0 until `ranges` assigns one.
    pub spec: ContainerSpec,
    /// How the id range is found.
    pub ids: Ids,
    /// Where links without addresses get theirs, which `addresses` assigns.
    pub pool: Pool,
    /// `[Unit]` and `[Service]` as typed properties, in file order, a repeated list merged into one.
    pub properties: Vec<Property>,
    /// Units of `WantedBy=`, `RequiredBy=` and `UpheldBy=`: the container starts at boot with them.
    pub wanted_by: Vec<String>,
}

/// How the id range of a container is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// A stable free range is picked.
    Pick,
    /// The declaration says it all.
    Given,
}
