//! What `boot`, `run` and `plan` start with: the facts, the opened tree and the plan.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use skep_spec::{ContainerSpec, SpecFile};

use crate::host::HostFacts;
use crate::image::Purpose;
use crate::lock::{remove_ranges, take_locks};
use crate::plan::ids::Ids;
use crate::plan::init::InitKind;
use crate::plan::store::{SystemPlan, View, add_store};
use crate::plan::{LaunchPlan, command, journal, plan_launch, plan_locks};
use crate::step::StepError;
use crate::store::{self, GcRoot, Opened};
use crate::supervise::signals::Signals;
use crate::tree::services::Services;
use crate::tree::{Site, Tree, TreeFacts};

/// All that a launch needs.
#[derive(Debug)]
pub struct Prepared {
    /// The spec file.
    pub file: SpecFile,
    /// The host.
    pub host: HostFacts,
    /// The opened tree.
    pub tree: Tree,
    /// What will be done.
    pub plan: LaunchPlan,
    /// Released by the end of the process at the latest.
    pub locks: Vec<OwnedFd>,
    /// Keeps the collector of the store away while it lives.
    pub kept: Option<GcRoot>,
}

/// Gathers the facts and plans. With `signals` this is a start: it locks, and a stop may end it; nothing then.
pub fn prepare(
    file: SpecFile,
    spec: &ContainerSpec,
    signals: Option<&Signals>,
) -> Result<Option<Prepared>, StepError> {
    let purpose = match signals {
        Some(_) => Purpose::Run,
        None => Purpose::Look,
    };
    command::check(spec)?;
    let host = HostFacts::gather()?;
    let Some(Opened { system, view, kept }) = store::open(&file.name, spec, signals)? else {
        return Ok(None);
    };
    let site = match (Site::find(spec.root.path.as_deref()), &spec.root.template) {
        // The start will make it a copy of the template.
        (Err(err), Some(template)) if purpose == Purpose::Look && err.is(Errno::ENOENT) => {
            Site::find(Some(template))?
        }
        (site, _) => site?,
    };
    let key = site.key.clone();
    let wanted = plan_locks(spec, &key);
    // Before an image is mounted: twice mounted for writing, it would be destroyed.
    let locks = match purpose {
        Purpose::Run => take_locks(&wanted)?,
        Purpose::Look => Vec::new(),
    };
    match look_and_plan(&file.name, spec, &host, site, purpose, system, view) {
        Ok((tree, plan)) => Ok(Some(Prepared {
            file,
            host,
            tree,
            plan,
            locks,
            kept,
        })),
        Err(err) => {
            if spec.command.is_some() && purpose == Purpose::Run {
                remove_ranges(&wanted, locks);
            }
            Err(err)
        }
    }
}

/// Opens the tree, whose locks are held for a run, looks into it and plans.
fn look_and_plan(
    name: &str,
    spec: &ContainerSpec,
    host: &HostFacts,
    site: Site,
    purpose: Purpose,
    system: Option<SystemPlan>,
    view: Option<View>,
) -> Result<(Tree, LaunchPlan), StepError> {
    let key = site.key.clone();
    let tree = site.open(spec.root.access, &Ids::of(spec.users), purpose)?;
    let facts = match (&spec.command, &system) {
        // Nothing of the tree counts: a command needs no init, and brings its own environment.
        (Some(command), _) => TreeFacts {
            init: (
                command.argv.first().map(Into::into).unwrap_or_default(),
                InitKind::Other,
            ),
            init_version: None,
            os: None,
            machine_id: None,
            services: Services::default(),
        },
        (None, Some(system)) => tree.facts_with(system.init()),
        (None, None) => tree.facts(spec)?,
    };
    let own = |name: &str| std::env::var(name).ok();
    let mut plan = plan_launch(name, spec, host, &facts, &key, own);
    add_store(&mut plan, spec, system, view);
    let found = facts.machine_id.as_deref();
    let journal = journal::plan(spec, host, &plan.machine_id, found)?;
    plan.mounts.extend(journal);
    Ok((tree, plan))
}
