//! What systemd says about a unit.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
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
    /// `running`, `dead`, `start`, `stop-sigterm` ...
    pub sub: String,
    /// Whether a job is queued or running.
    pub job: bool,
}

impl From<Row> for Listed {
    fn from(row: Row) -> Self {
        Self {
            name: row.0,
            load: row.2,
            active: row.3,
            sub: row.4,
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
    /// `ExecMainCode`: `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED` of sigaction(2); 0 while it runs.
    pub code: i32,
    /// `ExecMainStatus`
    pub exit: i32,
    /// `ExecMainExitTimestamp`, microseconds since the epoch; 0 while it runs.
    pub exited: u64,
    /// `NRestarts`: how often systemd has started it again by itself.
    pub restarts: u32,
    /// What it uses.
    pub usage: Usage,
    /// `MainPID`
    pub pid: u32,
    /// Units that refer to it, by kind of dependency.
    pub referrers: BTreeMap<String, Vec<String>>,
}

/// What a unit uses, as far as its cgroup tells: a controller may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// `MemoryCurrent`, bytes
    pub memory: Option<u64>,
    /// `MemoryPeak`, bytes; systemd 255 or later
    pub memory_peak: Option<u64>,
    /// `MemoryMax`, bytes; absent when there is no limit
    pub memory_max: Option<u64>,
    /// `TasksCurrent`
    pub tasks: Option<u64>,
    /// `TasksMax`; absent when there is no limit
    pub tasks_max: Option<u64>,
    /// `CPUUsageNSec`
    pub cpu_nsec: Option<u64>,
    /// `IPIngressBytes`
    pub ip_in: Option<u64>,
    /// `IPEgressBytes`
    pub ip_out: Option<u64>,
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
                ("ExecMainCode", Variant::I32(code)) => self.code = *code,
                ("ExecMainStatus", Variant::I32(status)) => self.exit = *status,
                ("ExecMainExitTimestamp", Variant::U64(at)) => self.exited = *at,
                ("NRestarts", Variant::U32(times)) => self.restarts = *times,
                (name, Variant::U64(number)) => self.usage.read(name, *number),
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

impl Usage {
    /// The largest number stands for "not known" and for "no limit".
    fn read(&mut self, name: &str, number: u64) {
        let number = (number != u64::MAX).then_some(number);
        match name {
            "MemoryCurrent" => self.memory = number,
            "MemoryPeak" => self.memory_peak = number,
            "MemoryMax" => self.memory_max = number,
            "TasksCurrent" => self.tasks = number,
            "TasksMax" => self.tasks_max = number,
            "CPUUsageNSec" => self.cpu_nsec = number,
            "IPIngressBytes" => self.ip_in = number,
            "IPEgressBytes" => self.ip_out = number,
            _ => {}
        }
    }
}
