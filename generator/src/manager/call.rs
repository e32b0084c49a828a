//! The calls, each with its error sorted out.

use crate::property::{Property, Value};
use crate::unit::{KEEPER_PATTERN, UNIT_PATTERN, UnitDraft};

use super::property::variants;
use super::{BusError, Job, Listed, Systemd};

/// What a job does to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `StartUnit`
    Start,
    /// `StopUnit`
    Stop,
    /// `RestartUnit`
    Restart,
}

impl Systemd {
    /// Starts a keeper that holds units, and creates other units beside it without starting them, in one call.
    ///
    /// Returns the keeper's start job. Either all units are created or none.
    ///
    /// # Errors
    /// [`BusError::UnitExists`] when one of the units is loaded, [`BusError::Refused`] when one of their properties is wrong.
    pub async fn start_keeper(
        &self,
        keeper: &str,
        held: Vec<String>,
        units: &[UnitDraft],
    ) -> Result<Job, BusError> {
        // A reference that orders nothing: with Before= the keeper would wait for every held unit that is just
        // stopping, and everything held by it would wait for the keeper. A slice is never reloaded.
        let own = [
            Property::new("Description", "Declared containers".into()),
            Property::new("PropagatesReloadTo", Value::List(held)),
        ];
        let aux: Vec<_> = units
            .iter()
            .map(|unit| (unit.name.as_str(), variants(&unit.properties)))
            .collect();
        self.manager
            .start_transient_unit(keeper, "fail", &variants(&own), &aux)
            .await
            .map_err(|error| BusError::of_call("StartTransientUnit", error))
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`BusError::NoSuchUnit`] when systemd has no such unit.
    pub async fn queue(&self, verb: Verb, unit: &str) -> Result<Job, BusError> {
        let (name, result) = match verb {
            Verb::Start => ("StartUnit", self.manager.start_unit(unit, "replace").await),
            Verb::Stop => ("StopUnit", self.manager.stop_unit(unit, "replace").await),
            Verb::Restart => (
                "RestartUnit",
                self.manager.restart_unit(unit, "replace").await,
            ),
        };
        result.map_err(|error| BusError::of_call(name, error))
    }

    /// Forgets a failure.
    ///
    /// # Errors
    /// As every call.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        self.manager
            .reset_failed_unit(unit)
            .await
            .map_err(|error| BusError::of_call("ResetFailedUnit", error))
    }

    /// Changes properties of a loaded unit until the host reboots.
    ///
    /// # Errors
    /// As every call; then nothing changed.
    pub async fn set_properties(
        &self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), BusError> {
        self.manager
            .set_unit_properties(unit, true, &variants(properties))
            .await
            .map_err(|error| BusError::of_call("SetUnitProperties", error))
    }

    /// All loaded units of containers, and all keepers.
    ///
    /// # Errors
    /// As every call.
    pub async fn list(&self) -> Result<Vec<Listed>, BusError> {
        self.list_patterns(&[UNIT_PATTERN, KEEPER_PATTERN]).await
    }

    /// All loaded units that match a pattern.
    ///
    /// # Errors
    /// As every call.
    pub async fn list_patterns(&self, patterns: &[&str]) -> Result<Vec<Listed>, BusError> {
        let rows = self.manager.list_units_by_patterns(&[], patterns).await;
        let rows = rows.map_err(|error| BusError::of_call("ListUnitsByPatterns", error))?;
        Ok(rows.into_iter().map(Listed::from).collect())
    }
}
