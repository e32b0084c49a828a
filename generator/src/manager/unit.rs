//! What systemd says about a unit.

use std::collections::{BTreeMap, HashMap};

use zbus::{OwnedVariant, Variant};

use super::proxy::{Row, UnitPropertiesProxy};
use super::{BusError, Systemd};

/// One loaded unit, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Unit name.
    pub name: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error` ...
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating` ...
    pub active: String,
    /// Whether a job is queued or running.
    pub job: bool,
}

impl From<Row> for Listed {
    fn from(row: Row) -> Self {
        Self {
            name: row.0,
            load: row.2,
            active: row.3,
            job: row.7 != 0,
        }
    }
}

/// Details of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `ActiveState`
    pub active: String,
    /// `SubState`
    pub sub: String,
    /// `FragmentPath`
    pub fragment: String,
    /// `Transient`
    pub transient: bool,
    /// `ActiveEnterTimestamp`, microseconds since the epoch; 0 when it never was.
    pub active_since: u64,
    /// `StateChangeTimestamp`, likewise.
    pub changed: u64,
    /// `StatusText`
    pub status: String,
    /// `Result`
    pub result: String,
    /// `ExecMainStatus`
    pub exit: i32,
    /// `MainPID`
    pub pid: u32,
    /// Units that refer to it, by kind of dependency.
    pub referrers: BTreeMap<String, Vec<String>>,
}

/// Properties that name the units which refer to this one on purpose.
const REFERRERS: &[&str] = &[
    "RequiredBy",
    "RequisiteOf",
    "WantedBy",
    "BoundBy",
    "UpheldBy",
    "ConsistsOf",
    "TriggeredBy",
    "OnFailureOf",
    "OnSuccessOf",
    "PropagatesStopTo",
    "Before",
    "After",
];

impl Systemd {
    /// Details of a unit.
    ///
    /// # Errors
    /// [`BusError::NoSuchUnit`] when it is not loaded.
    pub async fn state(&self, unit: &str) -> Result<UnitState, BusError> {
        let path = self
            .manager
            .get_unit(unit)
            .await
            .map_err(|error| BusError::of_call("GetUnit", error))?;
        let properties = UnitPropertiesProxy::builder(&self.connection)
            .path(path)
            .build()
            .await;
        let properties = properties.map_err(|error| BusError::of_call("GetAll", error))?;
        let mut state = UnitState::default();
        for interface in [
            "org.freedesktop.systemd1.Unit",
            "org.freedesktop.systemd1.Service",
        ] {
            let all = properties
                .get_all(interface)
                .await
                .map_err(|error| BusError::of_call("GetAll", error))?;
            state.read(&all);
        }
        Ok(state)
    }
}

impl UnitState {
    fn read(&mut self, all: &HashMap<String, OwnedVariant>) {
        for (name, value) in all {
            match (name.as_str(), &**value) {
                ("ActiveState", Variant::Str(text)) => self.active = text.to_string(),
                ("SubState", Variant::Str(text)) => self.sub = text.to_string(),
                ("FragmentPath", Variant::Str(text)) => self.fragment = text.to_string(),
                ("Transient", Variant::Bool(on)) => self.transient = *on,
                ("ActiveEnterTimestamp", Variant::U64(at)) => self.active_since = *at,
                ("StateChangeTimestamp", Variant::U64(at)) => self.changed = *at,
                ("StatusText", Variant::Str(text)) => self.status = text.to_string(),
                ("Result", Variant::Str(text)) => self.result = text.to_string(),
                ("ExecMainStatus", Variant::I32(status)) => self.exit = *status,
                ("MainPID", Variant::U32(pid)) => self.pid = *pid,
                (name, Variant::Array(units)) if REFERRERS.contains(&name) => {
                    let units: Vec<String> = units
                        .iter()
                        .filter_map(|unit| match unit {
                            Variant::Str(unit) => Some(unit.to_string()),
                            _ => None,
                        })
                        .collect();
                    self.referrers.insert(name.to_owned(), units);
                }
                _ => {}
            }
        }
    }
}
