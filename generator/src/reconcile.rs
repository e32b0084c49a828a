//! Wanted units and what systemd has, turned into a list of actions.
//!
//! Pure: everything known about the machine comes in as [`World`], everything to be done goes out as [`Plan`], which
//! `apply` carries out and `--dry-run` prints.
//!
//! A unit that runs keeps its properties until it stops: resource control goes live, the rest is pending. A unit that does
//! not run is dropped and made again, because systemd creates a transient unit only where none is loaded.

mod action;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::property::{Property, Value};
use crate::record::{Fingerprint, Record};
use crate::unit::{UnitDraft, container_of, live};

pub use action::{Action, Step};

/// Whether a loaded unit holds its properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Neither running nor about to.
    Inactive,
    /// Ended badly: systemd keeps it until the failure is reset.
    Failed,
    /// Starting, running or stopping, or a job is queued for it.
    Running,
}

/// A unit that systemd has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// What it does.
    pub activity: Activity,
}

/// What stands in the way of a declared unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Linked to /dev/null.
    Masked(PathBuf),
    /// Somebody wrote a unit file of this name.
    UnitFile(PathBuf),
}

/// A declared container.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The unit it shall have.
    pub draft: UnitDraft,
    /// Why it does not start, when the declaration is wrong.
    pub refused: bool,
}

/// Everything the decision rests on, by container.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Declared containers, masked declarations left out.
    pub declared: BTreeMap<String, Declared>,
    /// Loaded units.
    pub loaded: BTreeMap<String, Existing>,
    /// Unit files in the way.
    pub obstacles: BTreeMap<String, Obstacle>,
    /// Generations whose keepers are active.
    pub keepers: Vec<u64>,
    /// What the last apply made.
    pub record: Record,
    /// Only these containers may change; all when absent.
    pub selected: Option<BTreeSet<String>>,
    /// Stop running containers that are no longer declared.
    pub prune: bool,
}

/// What has to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One action per container, by name.
    pub actions: Vec<Action>,
    /// Containers whose units the next keeper holds; the ones made anew included.
    pub pins: BTreeSet<String>,
    /// Whether a new generation is due although no unit changes.
    pub repin: bool,
}

impl Plan {
    /// Whether systemd has to be told anything about generations.
    pub fn needs_generation(&self) -> bool {
        self.repin
            || self
                .actions
                .iter()
                .any(|action| action.step.changes_generation())
    }

    /// Whether systemd has to be told nothing at all.
    pub fn is_idle(&self) -> bool {
        !self.needs_generation() && !self.actions.iter().any(|action| action.step.changes_unit())
    }
}

/// Decides what to do.
pub fn reconcile(world: &World) -> Plan {
    let mut plan = Plan::default();
    let names: BTreeSet<&String> = world.declared.keys().chain(world.loaded.keys()).collect();
    // With a record of another generation nobody knows what the keepers hold: nothing that is declared may be lost.
    let unknown = !world.keepers.is_empty() && !world.keepers.contains(&world.record.generation);
    for name in names {
        let pinned =
            world.record.units.contains_key(name) || (unknown && world.declared.contains_key(name));
        let selected = world
            .selected
            .as_ref()
            .is_none_or(|only| only.contains(name));
        let step = if selected {
            decide(world, name)
        } else {
            Step::Keep
        };
        let exists = world.loaded.contains_key(name);
        if step.pins() && (exists || step.creates()) && (selected || pinned) {
            plan.pins.insert(name.clone());
        }
        if selected {
            plan.actions.push(Action {
                name: name.clone(),
                step,
            });
        }
    }
    recreate_referrers(world, &mut plan);
    plan.repin = needs_repin(world, &plan);
    plan
}

/// Makes anew, selected or not, what refers to a unit that is made anew: systemd forgets none to which another refers.
/// One that runs stays, and apply says what it holds.
fn recreate_referrers(world: &World, plan: &mut Plan) {
    let mut idle: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (name, declared) in &world.declared {
        let runs = |unit: &Existing| unit.activity == Activity::Running;
        if world.obstacles.contains_key(name) || world.loaded.get(name).is_none_or(runs) {
            continue;
        }
        for target in referred(&declared.draft) {
            idle.entry(target).or_default().push(name);
        }
    }
    let mut steps: BTreeMap<String, Step> = std::mem::take(&mut plan.actions)
        .into_iter()
        .map(|action| (action.name, action.step))
        .collect();
    let is_anew = |step: &Step| matches!(step, Step::Recreate { .. });
    let anew = steps.iter().filter(|(_, step)| is_anew(step));
    let mut left: Vec<String> = anew.map(|(name, _)| name.clone()).collect();
    while let Some(name) = left.pop() {
        for referrer in idle.remove(name.as_str()).unwrap_or_default() {
            let (Some(existing), Some(declared)) =
                (world.loaded.get(referrer), world.declared.get(referrer))
            else {
                continue;
            };
            let before = steps.insert(referrer.clone(), recreate(*existing, declared));
            if !before.as_ref().is_some_and(is_anew) {
                plan.pins.insert(referrer.clone());
                left.push(referrer.clone());
            }
        }
    }
    let action = |(name, step)| Action { name, step };
    plan.actions = steps.into_iter().map(action).collect();
}

/// Containers to which a unit refers.
fn referred(draft: &UnitDraft) -> impl Iterator<Item = &str> {
    let lists = draft.properties.iter().filter_map(|one| match &one.value {
        Value::List(list) => Some(list),
        _ => None,
    });
    lists.flatten().filter_map(|unit| container_of(unit))
}

/// Whether the keepers hold something else than they should.
fn needs_repin(world: &World, plan: &Plan) -> bool {
    let held: BTreeSet<&String> = world.record.units.keys().collect();
    let wanted: BTreeSet<&String> = plan.pins.iter().collect();
    match world.keepers.as_slice() {
        [] => !wanted.is_empty(),
        [only] => *only != world.record.generation || held != wanted,
        _ => true,
    }
}

fn decide(world: &World, name: &str) -> Step {
    let existing = world.loaded.get(name);
    match (world.declared.get(name), world.obstacles.get(name)) {
        (Some(declared), None) => match existing {
            None => Step::Create {
                refused: declared.refused,
            },
            Some(existing) => decide_loaded(*existing, declared, world.record.units.get(name)),
        },
        (Some(_), Some(Obstacle::UnitFile(path))) => match existing {
            // Not ours: nothing of it is touched.
            Some(_) if !world.record.units.contains_key(name) => {
                Step::Blocked { path: path.clone() }
            }
            Some(existing) => Step::remove(existing.activity, world.prune),
            None => Step::Blocked { path: path.clone() },
        },
        (Some(_), Some(Obstacle::Masked(path))) => match existing {
            Some(existing) => Step::remove(existing.activity, world.prune),
            None => Step::Masked { path: path.clone() },
        },
        // A unit file of this name that nobody declares to us is none of our business.
        (None, Some(Obstacle::UnitFile(_))) if !world.record.units.contains_key(name) => {
            Step::Foreign
        }
        (None, _) => match existing {
            Some(existing) => Step::remove(existing.activity, world.prune),
            None => Step::Keep,
        },
    }
}

fn decide_loaded(existing: Existing, declared: &Declared, made: Option<&Fingerprint>) -> Step {
    let running = existing.activity == Activity::Running;
    let Some(made) = made.filter(|made| !made.is_empty()) else {
        // Nobody knows what it was made from: the record was lost.
        return match running {
            true => Step::Pending {
                set: Vec::new(),
                frozen: Vec::new(),
            },
            false => recreate(existing, declared),
        };
    };
    let Difference { set, frozen } = difference(made, &declared.draft);
    match (set.is_empty(), frozen.is_empty()) {
        (true, true) => Step::Keep,
        (false, true) => Step::Set { properties: set },
        (_, false) if running => Step::Pending { set, frozen },
        (_, false) => recreate(existing, declared),
    }
}

fn recreate(existing: Existing, declared: &Declared) -> Step {
    Step::Recreate {
        failed: existing.activity == Activity::Failed,
        refused: declared.refused,
    }
}

/// How a draft differs from the unit that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Properties that a loaded unit takes.
    pub set: Vec<Property>,
    /// Names of those that only a new unit has.
    pub frozen: Vec<String>,
}

/// Compares a draft with the unit that was made.
pub fn difference(made: &Fingerprint, draft: &UnitDraft) -> Difference {
    let wanted = Fingerprint::of(draft);
    let mut found = Difference::default();
    if *made == wanted {
        return found;
    }
    let (made, wanted) = (made.digests(), wanted.digests());
    // What is undone goes first: MemoryMax=50% after MemoryMax=2G are two properties of one setting.
    for name in made.keys().filter(|name| !wanted.contains_key(*name)) {
        match live::undo(name) {
            Some(property) => found.set.push(property),
            None => found.frozen.push((*name).to_owned()),
        }
    }
    for property in &draft.properties {
        if made.get(property.name) == wanted.get(property.name) {
            continue;
        }
        match live::can_change(property.name) {
            true => found.set.extend(live::change(property)),
            false => found.frozen.push(property.name.to_owned()),
        }
    }
    found
}

#[cfg(test)]
mod tests;
