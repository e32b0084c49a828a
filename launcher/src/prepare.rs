//! What `boot`, `run` and `plan` start with: the facts, the opened tree and the plan.

use skep_spec::{ContainerSpec, SpecFile};

use crate::host::HostFacts;
use crate::plan::ids::Ids;
use crate::plan::init::InitKind;
use crate::plan::{LaunchPlan, command, plan_launch};
use crate::step::StepError;
use crate::tree::{Tree, TreeFacts};

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
}

/// Gathers the facts and plans.
pub fn prepare(file: SpecFile, spec: &ContainerSpec) -> Result<Prepared, StepError> {
    command::check(spec)?;
    let host = HostFacts::gather()?;
    let tree = Tree::open(spec.root.path.as_deref(), &Ids::of(spec.users))?;
    let facts = match &spec.command {
        // Nothing of the tree counts: a command needs no init, and brings its own environment.
        Some(command) => TreeFacts {
            init: (
                command.argv.first().map(Into::into).unwrap_or_default(),
                InitKind::Other,
            ),
            os: None,
            machine_id: None,
        },
        None => tree.facts(spec.root.path.as_deref(), spec.init.as_deref())?,
    };
    let own = |name: &str| std::env::var(name).ok();
    let plan = plan_launch(&file.name, spec, &host, &facts, tree.identity, own);
    Ok(Prepared {
        file,
        host,
        tree,
        plan,
    })
}
