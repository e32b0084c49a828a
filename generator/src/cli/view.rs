//! Everything known about containers in one value, for `list` and `status`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use skep_spec::{SpecFile, State, VERSION};

use crate::apply::{Declarations, Failed, Layout, Request, collect, observe};
use crate::manager::{Systemd, UnitState};
use crate::problem::{Problem, shown};
use crate::reconcile::{Action, Activity, Obstacle, Step, World, reconcile};
use crate::specfile::read_json;
use crate::unit::unit_name;

/// One container.
#[derive(Debug, Default, Serialize)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) unit: String,
    /// Active state of the unit, or `masked`, `refused`, `undeclared`, `not-applied`.
    pub(super) state: String,
    pub(super) sub: Option<String>,
    pub(super) status: Option<String>,
    pub(super) result: Option<String>,
    pub(super) declaration: Option<String>,
    pub(super) wanted_by: Vec<String>,
    pub(super) leader: Option<u32>,
    pub(super) init: Option<String>,
    pub(super) os: Option<String>,
    pub(super) base: Option<u32>,
    pub(super) ready: Option<bool>,
    /// Seconds since the epoch.
    pub(super) since: Option<u64>,
    /// What waits for a restart or an apply.
    pub(super) pending: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

/// All declared and loaded containers.
pub(super) struct Survey {
    systemd: Systemd,
    layout: Layout,
    declarations: Declarations,
    world: World,
    actions: Vec<Action>,
}

impl Survey {
    /// Looks at declarations and systemd.
    pub(super) async fn take(layout: &Layout) -> Result<Self, Failed> {
        let systemd = Systemd::connect().await?;
        let declarations = collect(&layout.root, systemd.version().await?, layout);
        let world = observe(&systemd, layout, &declarations, &Request::default()).await?;
        let actions = reconcile(&world).actions;
        Ok(Self {
            systemd,
            layout: layout.clone(),
            declarations,
            world,
            actions,
        })
    }

    /// Names of all containers.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.declarations
            .containers
            .keys()
            .chain(self.world.loaded.keys())
            .cloned()
            .collect()
    }

    /// Whether a container of that name is declared or loaded.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.declarations.find(name).is_some() || self.world.loaded.contains_key(name)
    }

    /// The same in short: of a unit that does not run, all there is to list is known already, and a thousand of them
    /// shall not cost a thousand questions.
    pub(super) async fn brief(&self, name: &str) -> Result<View, Failed> {
        let quiet = self
            .world
            .loaded
            .get(name)
            .is_some_and(|unit| unit.activity == Activity::Inactive);
        if !quiet {
            return self.view(name).await;
        }
        let mut view = self.declared(name);
        view.state = "inactive".to_owned();
        view.sub = Some("dead".to_owned());
        Ok(self.finish(view))
    }

    /// Everything about one container.
    pub(super) async fn view(&self, name: &str) -> Result<View, Failed> {
        let mut view = self.declared(name);
        if self.world.loaded.contains_key(name) {
            match self.systemd.state(&view.unit).await {
                Ok(unit) => fill_unit(&mut view, unit),
                // It may have gone since it was listed.
                Err(error) if error.is_answer() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.finish(view))
    }

    fn declared(&self, name: &str) -> View {
        let mut view = View {
            name: name.to_owned(),
            unit: unit_name(name),
            ..View::default()
        };
        if let Some(container) = self.declarations.find(name) {
            view.declaration = Some(shown(&container.source));
            view.wanted_by.clone_from(&container.wanted_by);
            view.problems.clone_from(&container.problems);
        }
        view
    }

    fn finish(&self, mut view: View) -> View {
        self.fill_machine(&mut view);
        view.state = self.state(&view.name, &view);
        view.pending = self.pending(&view);
        view
    }

    fn state(&self, name: &str, view: &View) -> String {
        let container = self.declarations.find(name);
        let masked = container.is_some_and(|container| container.masked)
            || matches!(self.world.obstacles.get(name), Some(Obstacle::Masked(_)));
        let refused = container
            .is_some_and(|container| container.unit.as_ref().is_none_or(|unit| unit.refused));
        match view.state.as_str() {
            state @ ("active" | "activating" | "deactivating" | "reloading") => state.to_owned(),
            _ if masked => "masked".to_owned(),
            _ if refused => "refused".to_owned(),
            "" => "not-applied".to_owned(),
            state => state.to_owned(),
        }
    }

    /// What the supervisor says about itself. A file that is missing, garbled or of another release says nothing.
    fn fill_machine(&self, view: &mut View) {
        let path: PathBuf = self.layout.states.join(&view.name).join("state.json");
        let state = read_json::<State>(&path)
            .filter(|state| state.version == VERSION && state.name == view.name);
        if let Some(state) = state {
            view.leader = Some(state.leader);
            view.init = Some(state.init);
            view.os = state.os;
            view.base = state.base;
            view.ready = Some(state.ready);
            view.since = Some(state.since);
            let spec = self.layout.specs.join(format!("{}.json", view.name));
            if read_json::<SpecFile>(&spec).is_some_and(|spec| spec.id != state.spec) {
                view.pending.push("container".to_owned());
            }
        }
    }

    fn pending(&self, view: &View) -> Vec<String> {
        let mut pending = view.pending.clone();
        // One action per container, by name.
        let step = self
            .actions
            .binary_search_by(|action| action.name.cmp(&view.name))
            .ok()
            .and_then(|at| self.actions.get(at))
            .map(|action| &action.step);
        match step {
            Some(Step::Pending { frozen, .. }) if frozen.is_empty() => {
                pending.push("unit".to_owned())
            }
            Some(Step::Pending { frozen, .. }) => {
                pending.extend(frozen.iter().map(|name| format!("{name}=")))
            }
            Some(Step::Create { .. } | Step::Recreate { .. } | Step::Set { .. }) => {
                pending.push("apply".to_owned())
            }
            Some(Step::Leave | Step::Stop) => pending.push("removal".to_owned()),
            Some(Step::Release { .. }) => pending.push("removal".to_owned()),
            _ => {}
        }
        pending
    }
}

fn fill_unit(view: &mut View, unit: UnitState) {
    view.state = unit.active;
    view.sub = Some(unit.sub);
    view.status = Some(unit.status).filter(|text| !text.is_empty());
    view.result = Some(unit.result).filter(|text| !text.is_empty() && text != "success");
    if unit.changed != 0 {
        view.since = Some(unit.changed / 1_000_000);
    }
}

/// Seconds since a moment.
pub(super) fn age(since: u64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|now| now.as_secs())
        .unwrap_or_default();
    now.saturating_sub(since)
}
