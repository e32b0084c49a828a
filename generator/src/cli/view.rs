//! Everything known about containers in one value, for `list` and `status`.

mod last;
mod mounts;
pub(super) mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use skep_spec::{Content, SpecFile, State, VERSION};

use crate::apply::{Declarations, Failed, Layout, Request, collect, world};
use crate::ends;
use crate::manager::{Listed, Systemd, UnitState, Usage};
use crate::problem::{Problem, shown};
use crate::reconcile::{Action, Obstacle, Step, World, reconcile};
use crate::specfile::read_json;
use crate::unit::{container_of, unit_name};

use super::journal::last_lines;
use last::{LastEnd, last_end};
use mounts::MountView;
use network::NetworkView;

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
    pub(super) init_version: Option<String>,
    pub(super) os: Option<String>,
    /// First id of the host that is the container's, of [`skep_spec::ID_RANGE`].
    pub(super) base: Option<u32>,
    /// Of global scope, in a network namespace of its own.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ready: Option<bool>,
    /// How long the start took, in milliseconds.
    pub(super) boot_msec: Option<u64>,
    /// Seconds since the epoch: start of this boot of the container, or the last change of the unit's state.
    pub(super) since: Option<u64>,
    /// How often systemd has started it again by itself.
    pub(super) restarts: Option<u32>,
    pub(super) root: Option<String>,
    /// What the container may do to its tree.
    pub(super) access: Option<&'static str>,
    /// As the next start makes them.
    pub(super) mounts: Vec<MountView>,
    /// As the next start makes it.
    pub(super) network: Option<NetworkView>,
    pub(super) usage: Option<Usage>,
    pub(super) last_end: Option<LastEnd>,
    /// The last lines of its journal.
    pub(super) console: Vec<String>,
    /// What waits for a restart or an apply.
    pub(super) pending: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// Digest of the spec that it runs from.
    #[serde(skip)]
    pub(super) spec: Option<String>,
}

impl View {
    /// Whether its unit runs, starts or stops.
    pub(super) fn is_running(&self) -> bool {
        matches!(
            self.state.as_str(),
            "active" | "activating" | "deactivating" | "reloading"
        )
    }

    /// Its init as far as it is known.
    pub(super) fn init_and_version(&self) -> Option<String> {
        let init = self.init.clone()?;
        Some(match &self.init_version {
            Some(version) => format!("{init} {version}"),
            None => init,
        })
    }

    /// Adds the last lines of its journal.
    pub(super) fn add_console(&mut self, count: u32) {
        self.console = last_lines(&self.unit, None, count);
    }
}

/// All declared and loaded containers.
pub(super) struct Survey {
    systemd: Systemd,
    layout: Layout,
    declarations: Declarations,
    world: World,
    /// Units of containers, by container.
    listed: BTreeMap<String, Listed>,
    actions: Vec<Action>,
}

impl Survey {
    /// Looks at declarations and systemd.
    pub(super) async fn take(layout: &Layout) -> Result<Self, Failed> {
        let systemd = Systemd::connect().await?;
        let declarations = collect(&layout.root, systemd.version().await?, layout);
        let listed = systemd.list().await?;
        let world = world(&listed, layout, &declarations, &Request::default());
        let of_container = |unit: Listed| Some((container_of(&unit.name)?.to_owned(), unit));
        let actions = reconcile(&world).actions;
        Ok(Self {
            systemd,
            layout: layout.clone(),
            declarations,
            world,
            listed: listed.into_iter().filter_map(of_container).collect(),
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

    /// What a list shows of one container: known already, for a thousand of them shall not cost a thousand questions.
    pub(super) fn brief(&self, name: &str) -> View {
        let mut view = self.declared(name);
        if let Some(unit) = self.listed(name) {
            view.state.clone_from(&unit.active);
            view.sub = Some(unit.sub.clone());
        }
        self.finish(view)
    }

    /// Everything about one container, but its console.
    pub(super) async fn view(&self, name: &str) -> Result<View, Failed> {
        let mut view = self.declared(name);
        let mut unit = None;
        if self.listed(name).is_some() {
            match self.systemd.state(&view.unit).await {
                Ok(state) => unit = Some(state),
                // It may have gone since it was listed.
                Err(error) if error.is_answer() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(unit) = &unit {
            fill_unit(&mut view, unit);
        }
        let mut view = self.finish(view);
        let ends = ends::load(&self.layout.ends, name);
        view.last_end = last_end(ends.as_ref(), unit.as_ref(), view.is_running());
        Ok(view)
    }

    /// Its unit, when it is loaded.
    fn listed(&self, name: &str) -> Option<&Listed> {
        self.listed
            .get(name)
            .filter(|_| self.world.loaded.contains_key(name))
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
            view.init_version = state.init_version;
            view.os = state.os;
            view.base = state.base;
            view.addresses = state.addresses;
            view.ready = Some(state.ready);
            view.boot_msec = state.boot;
            view.since = Some(state.since);
            view.spec = Some(state.spec);
        }
        let path = self.layout.specs.join(format!("{}.json", view.name));
        let spec = read_json::<SpecFile>(&path).filter(|spec| spec.version == VERSION);
        let Some(spec) = spec else { return };
        if view
            .spec
            .as_ref()
            .is_some_and(|running| *running != spec.id)
        {
            view.pending.push("container".to_owned());
        }
        if let Content::Boot(container) = &spec.content {
            let (root, access) = mounts::root(container);
            (view.root, view.access) = (root, Some(access));
            view.mounts = mounts::declared(container);
            view.network = Some(network::declared(container));
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

fn fill_unit(view: &mut View, unit: &UnitState) {
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    view.state.clone_from(&unit.active);
    view.sub = Some(unit.sub.clone());
    view.status = said(&unit.status);
    view.result = said(&unit.result).filter(|text| text != "success");
    view.restarts = Some(unit.restarts);
    view.usage = Some(unit.usage);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Programs read it by its description.
    #[test]
    fn the_manual_has_every_field() {
        let page = include_str!("../../../packaging/man/skep.1");
        let (_, part) = page.split_once("\n.SH \"JSON OUTPUT\"\n").unwrap();
        let (part, _) = part.split_once("\n.SH ").unwrap();
        let view = View {
            usage: Some(Usage::default()),
            last_end: last_end(None, None, false),
            ..View::default()
        };
        let value = serde_json::to_value(&view).unwrap();
        let inner = value["usage"].as_object().unwrap();
        let heads: BTreeSet<&str> = part
            .split("\n.TP 16\n")
            .skip(1)
            .filter_map(|entry| entry.lines().next()?.split_once(' '))
            .flat_map(|(_, names)| names.split([' ', '"', ',']))
            .filter(|name| !name.is_empty())
            .collect();
        let fields: BTreeSet<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(heads, fields);
        for field in inner.keys() {
            assert!(part.contains(field.as_str()), "{field} of usage");
        }
    }
}
