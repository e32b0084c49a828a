//! Makes systemd's set of units equal the declarations.
//!
//! Reads the declarations, asks systemd what it has, lets `reconcile` decide and carries the decision out. An inactive
//! transient unit would be forgotten at once, so a *keeper*, an active slice that needs no process, refers to all units of
//! containers. Each apply that changes the set makes the next generation: a new keeper, and with it, in the same call, the
//! new units; then the old keeper stops, and what no keeper holds goes.
//!
//! No step of this may hang: it runs while the host boots.

mod boot;
mod collect;
mod execute;
mod generation;
mod layout;
mod lock;
mod observe;
mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Serialize;
use skep_spec::SpecFile;
use thiserror::Error;

use crate::ends;
use crate::manager::{self, Systemd};
use crate::problem::Problem;
use crate::ranges::Leases;
use crate::reconcile::{Action, Plan, World, reconcile};
use crate::runs;
use crate::specfile::{SpecDirectory, Written};

pub use boot::{Autostart, autostart};
pub use collect::{Container, Declarations, Unit, collect};
pub use layout::Layout;
pub use observe::{observe, world};
pub use release::release;

/// What to apply.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these containers; all when empty.
    pub names: BTreeSet<String>,
    /// Decide, but do nothing.
    pub dry_run: bool,
    /// Stop running containers that are no longer declared.
    pub prune: bool,
}

/// Apply could not even begin, or lost systemd on the way.
#[derive(Debug, Error)]
pub enum Failed {
    /// No answer from systemd.
    #[error(transparent)]
    Systemd(#[from] manager::BusError),
    /// Another apply runs for too long.
    #[error("another skep apply holds {0} for more than 30 seconds")]
    Locked(String),
    /// A file that apply cannot do without.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        error: io::Error,
    },
    /// Named on the command line, but neither declared nor loaded.
    #[error("no container is called {0}")]
    Unknown(String),
}

/// What went wrong with one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Container name.
    pub name: String,
    /// What and, where known, the cure.
    pub message: String,
}

/// A spec file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecChange {
    /// Container name.
    pub name: String,
    /// It runs: the change waits for its next start.
    pub running: bool,
}

/// What apply did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// One per container, by name.
    pub actions: Vec<Action>,
    /// Spec files that changed, new ones apart.
    pub specs: Vec<SpecChange>,
    /// Everything wrong with the declarations, warnings included.
    pub problems: Vec<Problem>,
    /// Everything that systemd or the file system refused.
    pub troubles: Vec<Trouble>,
    /// Remarks that concern no single container.
    pub notes: Vec<String>,
    /// The generation that holds the units now.
    pub generation: u64,
}

impl Outcome {
    /// Whether everything declared is as declared.
    pub fn is_clean(&self) -> bool {
        self.troubles.is_empty() && self.problems.iter().all(|problem| !is_error(problem))
    }
}

/// Whether a problem keeps its container from starting.
pub fn is_error(problem: &Problem) -> bool {
    problem.severity == crate::problem::Severity::Error
}

/// Applies the declarations below `/`.
///
/// # Errors
/// When nothing could be applied at all; what concerns one container only is in the [`Outcome`].
pub async fn apply(
    systemd: &Systemd,
    layout: &Layout,
    request: &Request,
) -> Result<Outcome, Failed> {
    let _lock = match request.dry_run {
        true => None,
        false => Some(lock::acquire(&layout.lock).await?),
    };
    let version = systemd.version().await?;
    let mut declarations = collect(&layout.root, version, layout);
    let world = observe(systemd, layout, &declarations, request).await?;
    check_names(request, &declarations, &world)?;
    let plan = reconcile(&world);
    let mut outcome = Outcome {
        actions: plan.actions.clone(),
        notes: std::mem::take(&mut declarations.notes),
        problems: declarations.problems(world.selected.as_ref()),
        generation: world.record.generation,
        ..Outcome::default()
    };
    let specs = SpecDirectory::at(&layout.specs);
    if request.dry_run {
        compare_specs(&specs, &declarations, &world, &mut outcome);
        return Ok(outcome);
    }
    save_leases(&declarations.leases, layout, &mut outcome);
    write_specs(&specs, &declarations, &world, &mut outcome);
    let carried_out =
        execute::execute(systemd, layout, &declarations, &world, &plan, &mut outcome).await;
    sweep(&specs, layout, &declarations, &world, &mut outcome);
    for name in runs::sweep(layout) {
        // Its failure was nobody's to read; most have none.
        let _ = systemd.reset_failed(&crate::unit::run_name(&name)).await;
    }
    carried_out?;
    Ok(outcome)
}

/// What `apply --dry-run` says where no systemd runs: everything declared would be new.
pub fn preview(layout: &Layout, version: u32, request: &Request) -> Outcome {
    let declarations = collect(&layout.root, version, layout);
    let world = World {
        declared: declarations.declared(),
        selected: observe::selection(request),
        ..World::default()
    };
    let plan: Plan = reconcile(&world);
    Outcome {
        actions: plan.actions,
        problems: declarations.problems(world.selected.as_ref()),
        notes: declarations.notes,
        ..Outcome::default()
    }
}

fn check_names(
    request: &Request,
    declarations: &Declarations,
    world: &World,
) -> Result<(), Failed> {
    let known =
        |name: &String| world.loaded.contains_key(name) || declarations.find(name).is_some();
    match request.names.iter().find(|name| !known(name)) {
        Some(name) => Err(Failed::Unknown(name.clone())),
        None => Ok(()),
    }
}

fn save_leases(leases: &Leases, layout: &Layout, outcome: &mut Outcome) {
    if let Err(error) = leases.save(&layout.leases) {
        // The ranges hold for now; after a reboot others may be picked. Trees are id-mapped and do not care.
        outcome.notes.push(format!(
            "id ranges are not kept: {}: {error}",
            layout.leases.display()
        ));
    }
}

/// Declared units that apply may touch, with the spec file each should have.
fn selected_specs<'a>(
    declarations: &'a Declarations,
    world: &'a World,
) -> impl Iterator<Item = (&'a String, &'a SpecFile)> {
    declarations
        .units()
        .filter(|(name, _)| {
            world
                .selected
                .as_ref()
                .is_none_or(|only| only.contains(*name))
                && !world.obstacles.contains_key(*name)
        })
        .map(|(name, unit)| (name, &unit.spec))
}

fn compare_specs(
    specs: &SpecDirectory,
    declarations: &Declarations,
    world: &World,
    outcome: &mut Outcome,
) {
    for (name, spec) in selected_specs(declarations, world) {
        if specs.compare(spec) == Written::Updated {
            outcome.specs.push(spec_change(name, world));
        }
    }
}

fn write_specs(
    specs: &SpecDirectory,
    declarations: &Declarations,
    world: &World,
    outcome: &mut Outcome,
) {
    for (name, spec) in selected_specs(declarations, world) {
        match specs.write(spec) {
            Ok(Written::Updated) => outcome.specs.push(spec_change(name, world)),
            Ok(Written::New | Written::Unchanged) => {}
            Err(error) => outcome.troubles.push(Trouble {
                name: name.clone(),
                message: format!("cannot write its spec file: {error}"),
            }),
        }
    }
}

fn spec_change(name: &str, world: &World) -> SpecChange {
    let running = world
        .loaded
        .get(name)
        .is_some_and(|unit| unit.activity == crate::reconcile::Activity::Running);
    SpecChange {
        name: name.to_owned(),
        running,
    }
}

/// Removes what is left of containers that are neither declared nor loaded: spec files, and memories of their last boots.
fn sweep(
    specs: &SpecDirectory,
    layout: &Layout,
    declarations: &Declarations,
    world: &World,
    outcome: &mut Outcome,
) {
    let released: BTreeMap<&str, bool> = outcome
        .actions
        .iter()
        .map(|action| (action.name.as_str(), action.step.is_removal()))
        .collect();
    let loaded = world
        .loaded
        .keys()
        .filter(|name| !released.get(name.as_str()).copied().unwrap_or(false));
    let declared = declarations.units().map(|(name, _)| name);
    let keep = loaded.chain(declared).cloned().collect();
    ends::sweep(&layout.ends, &keep);
    if let Err(error) = specs.sweep(&keep) {
        outcome.notes.push(format!("old spec files: {error}"));
    }
}
