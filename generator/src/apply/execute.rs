//! Carries a plan out, step by step, and keeps the record true on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use crate::manager::{BusError, Jobs, Systemd, UnitState, Verb, within};
use crate::property::Property;
use crate::reconcile::{Plan, Step, World};
use crate::record::{Fingerprint, Record};
use crate::specfile::SpecDirectory;
use crate::unit::{UnitDraft, live, unit_name};

use super::collect::refusal;
use super::generation::{Generations, Made, NotMade};
use super::{Declarations, Layout, Outcome, Trouble};

/// How long a stop may take. Units have their own limits; this one is for those without.
const STOP_LIMIT: Duration = Duration::from_secs(300);

/// Carries the plan out. The record is written even when systemd is lost half-way: it then says what is true so far.
pub(super) async fn execute(
    systemd: &Systemd,
    layout: &Layout,
    declarations: &Declarations,
    world: &World,
    plan: &Plan,
    outcome: &mut Outcome,
) -> Result<(), BusError> {
    if plan.is_idle() && world.record.overrides.is_empty() {
        return Ok(());
    }
    let mut run = Run {
        systemd,
        layout,
        declarations,
        world,
        record: world.record.clone(),
        outcome,
    };
    let result = run.all(plan).await;
    run.forget_overrides(plan);
    let Run {
        record, outcome, ..
    } = run;
    outcome.generation = record.generation;
    if record != world.record
        && let Err(error) = record.save(&layout.record)
    {
        outcome.notes.push(format!(
            "{}: {error}; the next apply sees all units as changed",
            layout.record.display()
        ));
    }
    result
}

struct Run<'a> {
    systemd: &'a Systemd,
    layout: &'a Layout,
    declarations: &'a Declarations,
    world: &'a World,
    record: Record,
    outcome: &'a mut Outcome,
}

impl Run<'_> {
    async fn all(&mut self, plan: &Plan) -> Result<(), BusError> {
        if plan.needs_generation() {
            self.change_generation(plan).await?;
        }
        for action in &plan.actions {
            match &action.step {
                Step::Set { properties }
                | Step::Pending {
                    set: properties, ..
                } if !properties.is_empty() => {
                    self.set(&action.name, properties).await?;
                }
                _ => {}
            }
        }
        self.stop(plan).await
    }

    async fn change_generation(&mut self, plan: &Plan) -> Result<(), BusError> {
        let mut fresh = Vec::new();
        let mut anew = BTreeMap::new();
        for action in &plan.actions {
            match &action.step {
                Step::Create { .. } => fresh.extend(self.draft(&action.name)),
                Step::Recreate { failed, .. } => {
                    anew.extend(
                        self.draft(&action.name)
                            .map(|draft| (action.name.clone(), draft)),
                    );
                    self.reset_failed(&action.name, *failed).await?;
                }
                Step::Release { failed } => self.reset_failed(&action.name, *failed).await?,
                _ => {}
            }
        }
        for unit in &fresh {
            self.remove_overrides(unit);
        }
        let mut generations = Generations::after(
            self.systemd,
            &self.world.keepers,
            self.world.record.generation,
        )
        .await?;
        let held: BTreeSet<String> = plan
            .pins
            .iter()
            .filter(|name| !anew.contains_key(*name))
            .cloned()
            .collect();
        let made = generations.make(&held, fresh).await?;
        self.note(&mut generations, made, &held).await?;
        if !anew.is_empty() {
            generations.retire().await?;
            let held = self.record.units.keys().cloned().collect();
            self.make_anew(&mut generations, held, anew).await?;
        }
        self.record.generation = generations.current();
        match self.record.units.is_empty() {
            true => generations.retire_all().await,
            false => generations.retire().await,
        }
    }

    /// Makes units that were loaded a moment ago.
    async fn make_anew(
        &mut self,
        generations: &mut Generations<'_>,
        mut held: BTreeSet<String>,
        mut anew: BTreeMap<String, UnitDraft>,
    ) -> Result<(), BusError> {
        let names = anew.keys().cloned().collect();
        let mut stuck = Made::default();
        for name in generations.wait_forgotten(&names).await? {
            anew.remove(&name);
            held.insert(name.clone());
            stuck
                .not_made
                .insert(name, NotMade::StillLoaded(String::new()));
        }
        for unit in anew.values() {
            self.remove_overrides(unit);
        }
        let mut made = generations
            .make(&held, anew.into_values().collect())
            .await?;
        made.not_made.extend(stuck.not_made);
        self.note(generations, made, &held).await
    }

    /// Enters into the record what was made, and makes units that say why another could not be.
    async fn note(
        &mut self,
        generations: &mut Generations<'_>,
        made: Made,
        held: &BTreeSet<String>,
    ) -> Result<(), BusError> {
        let now = std::mem::take(&mut self.record.units);
        let before = &self.world.record.units;
        let made_as = |name: &String| {
            now.get(name)
                .or_else(|| before.get(name))
                .cloned()
                .unwrap_or_default()
        };
        let keep = |name: &String| (name.clone(), made_as(name));
        self.record.units = held.iter().map(keep).collect();
        let mut refusals = Vec::new();
        for (name, why) in made.not_made {
            let message = match why {
                NotMade::StillLoaded(_) => {
                    // Still declared, with its old properties.
                    self.record.units.insert(name.clone(), made_as(&name));
                    self.still_loaded(&name).await
                }
                NotMade::Refused(reason) => {
                    let message = format!("systemd refused the unit: {reason}");
                    refusals.extend(self.refuse(&name, &message));
                    message
                }
            };
            self.outcome.troubles.push(Trouble { name, message });
        }
        let entries = made
            .drafts
            .iter()
            .map(|(name, draft)| (name.clone(), Fingerprint::of(draft)));
        self.record.units.extend(entries);
        self.record.generation = generations.current();
        if !refusals.is_empty() {
            let held: BTreeSet<String> = self.record.units.keys().cloned().collect();
            let made = generations.make(&held, refusals).await?;
            // The refusal is not what was declared: the next apply tries again.
            self.record.units.extend(
                made.drafts
                    .into_keys()
                    .map(|name| (name, Fingerprint::default())),
            );
            self.record.generation = generations.current();
        }
        Ok(())
    }

    /// The unit whose start fails with systemd's own words.
    fn refuse(&self, name: &str, message: &str) -> Option<UnitDraft> {
        let container = self.declarations.find(name)?;
        let line = format!("{}: {message}", crate::problem::shown(&container.source));
        let systemd = if has_subgroup(container.unit.as_ref().map(|unit| &unit.draft)?) {
            254
        } else {
            252
        };
        let unit = refusal(name, &container.source, vec![line], systemd)?;
        // Without the spec file the unit still fails, with less to say.
        let _ = SpecDirectory::at(&self.layout.specs).write(&unit.spec);
        Some(unit.draft)
    }

    /// Why a unit could not be made anew.
    async fn still_loaded(&self, name: &str) -> String {
        let unit = unit_name(name);
        let declared = self
            .declarations
            .find(name)
            .and_then(|container| container.unit.as_ref());
        match self.systemd.state(&unit).await {
            Ok(state) if !matches!(state.active.as_str(), "inactive" | "failed") => {
                format!("it was started meanwhile; \"skep restart {name}\" takes the change")
            }
            Ok(state) if !state.transient && !state.fragment.is_empty() => {
                format!("{} is in the way", state.fragment)
            }
            Ok(state) => match referrers(&state, declared.map(|unit| &unit.draft)).as_slice() {
                [] => format!("{unit} is still in use; apply again later"),
                units => format!(
                    "{unit} keeps its old properties while {} refer to it; stop them and apply again",
                    units.join(", ")
                ),
            },
            Err(_) => format!("{unit} is still in use; apply again later"),
        }
    }

    fn draft(&self, name: &str) -> Option<UnitDraft> {
        self.world
            .declared
            .get(name)
            .map(|declared| declared.draft.clone())
    }

    async fn reset_failed(&self, name: &str, failed: bool) -> Result<(), BusError> {
        if !failed {
            return Ok(());
        }
        match self.systemd.reset_failed(&unit_name(name)).await {
            Err(error) if !error.is_answer() => Err(error),
            // It may be gone already.
            _ => Ok(()),
        }
    }

    /// Sets properties of a loaded unit and enters them into the record.
    async fn set(&mut self, name: &str, properties: &[Property]) -> Result<(), BusError> {
        match self
            .systemd
            .set_properties(&unit_name(name), properties)
            .await
        {
            Ok(()) => {}
            Err(error) if error.is_answer() => {
                let message = format!("systemd refused the change: {error}");
                self.outcome.troubles.push(Trouble {
                    name: name.to_owned(),
                    message,
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let overrides = self.record.overrides.entry(name.to_owned()).or_default();
        overrides.extend(properties.iter().map(|property| property.name.to_owned()));
        if let (Some(draft), Some(made)) = (
            self.world
                .declared
                .get(name)
                .map(|declared| &declared.draft),
            self.record.units.get_mut(name),
        ) {
            *made = made.after_change(draft);
        }
        Ok(())
    }

    async fn stop(&mut self, plan: &Plan) -> Result<(), BusError> {
        let names: Vec<&String> = plan
            .actions
            .iter()
            .filter(|action| action.step == Step::Stop)
            .map(|action| &action.name)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut jobs = Jobs::subscribe(self.systemd).await?;
        let mut queued = Vec::new();
        for name in names {
            match self.systemd.queue(Verb::Stop, &unit_name(name)).await {
                Ok(job) => queued.push((name, job)),
                Err(BusError::NoSuchUnit(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for (name, job) in queued {
            if within(STOP_LIMIT, jobs.wait(&job))
                .await
                .transpose()?
                .is_none()
            {
                let message = "it is still stopping after five minutes".to_owned();
                self.outcome.troubles.push(Trouble {
                    name: name.clone(),
                    message,
                });
            }
        }
        Ok(())
    }

    /// Removes the drop-ins that outlived their unit, before it is made anew: they would beat what is declared.
    fn remove_overrides(&mut self, unit: &UnitDraft) {
        if let Some(name) = crate::unit::container_of(&unit.name) {
            self.forget(&name.to_owned());
        }
    }

    fn forget(&mut self, name: &String) {
        if let Some(properties) = self.record.overrides.remove(name) {
            remove_dropins(self.layout, name, &properties);
        }
    }

    /// The same for units that are gone.
    fn forget_overrides(&mut self, plan: &Plan) {
        let removed = plan
            .actions
            .iter()
            .filter(|action| action.step.is_removal())
            .map(|action| &action.name);
        let removed: BTreeSet<&String> = removed.collect();
        let loaded =
            |name: &String| self.world.loaded.contains_key(name) && !removed.contains(name);
        let gone: Vec<String> = self
            .record
            .overrides
            .keys()
            .filter(|name| !loaded(name) && !self.record.units.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.forget(&name);
        }
    }
}

fn remove_dropins(layout: &Layout, name: &str, properties: &BTreeSet<String>) {
    let directory = layout.control.join(format!("{}.d", unit_name(name)));
    for property in properties {
        // What is gone already needs no removing, and `systemctl revert` may have done it.
        let _ = fs::remove_file(directory.join(live::dropin_name(property)));
    }
    // Fails while the administrator has drop-ins of their own there.
    let _ = fs::remove_dir(directory);
}

fn has_subgroup(draft: &UnitDraft) -> bool {
    draft
        .properties
        .iter()
        .any(|property| property.name == "DelegateSubgroup")
}

/// Units that refer to a unit without having been asked to by it.
fn referrers(state: &UnitState, draft: Option<&UnitDraft>) -> Vec<String> {
    const ALWAYS: &[&str] = &[
        "-.mount",
        "basic.target",
        "machine.slice",
        "machines.target",
        "network.target",
        "shutdown.target",
        "sysinit.target",
        "system.slice",
        "systemd-journald.socket",
    ];
    let declared = |unit: &String| {
        let lists = draft.into_iter().flat_map(|draft| &draft.properties);
        lists.into_iter().any(|property| match &property.value {
            crate::property::Value::List(items) => items.contains(unit),
            crate::property::Value::Str(text) => text == unit,
            _ => false,
        })
    };
    let mut units: Vec<String> = state.referrers.values().flatten().cloned().collect();
    units.retain(|unit| {
        !ALWAYS.contains(&unit.as_str())
            && !unit.ends_with(".mount")
            && crate::unit::generation_of(unit).is_none()
            && !declared(unit)
    });
    units.sort();
    units.dedup();
    units
}
