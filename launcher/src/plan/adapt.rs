//! What of an OS made for a machine of its own does not run in a container, each with the reason.
//!
//! Decides from the tree's facts only, and only about what the tree really has. Nothing is written to the tree: systemd
//! reads masks in `/run`, other inits get files mounted over theirs. What is not known here runs.

mod fstab;
mod inittab;
mod links;
pub mod names;
mod runit;
mod script;
mod systemd;
mod table;

use std::fmt;

use skep_spec::{ContainerSpec, Namespace};

use crate::plan::mounts::MountOp;
use crate::tree::services::{Runner, Services};

/// What does not run, and the mounts that see to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// What does not run.
    pub entries: Vec<Entry>,
    /// What could not be done.
    pub notes: Vec<String>,
    /// Operations, in order.
    pub mounts: Vec<MountOp>,
}

/// One thing that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A unit, a script, or a line of a table.
    pub name: String,
    /// What others that need it find.
    pub effect: Effect,
    /// Why.
    pub reason: String,
}

/// What is left of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it cannot be started.
    Masked,
    /// One that does nothing, so that what needs it or waits for it goes on.
    StandIn,
}

/// The reason of what `Mask=` names.
const DECLARED: &str = "Mask= names it";

/// Plans the adaptation.
pub fn plan_adaptation(spec: &ContainerSpec, services: &Services) -> Adaptation {
    let mut adaptation = Adaptation::default();
    if spec.shared.contains(&Namespace::Mount) {
        return adaptation;
    }
    if spec.adapt.enabled {
        names::plan(spec, services, &mut adaptation);
        links::plan(spec, services, &mut adaptation);
    }
    if spec.command.is_some() {
        return adaptation;
    }
    match services.runner {
        Runner::Systemd => systemd::plan(spec, services, &mut adaptation),
        Runner::Openrc | Runner::Sysv | Runner::Own => {
            script::plan(spec, services, &mut adaptation);
            if spec.adapt.enabled {
                inittab::plan(services, &mut adaptation);
                fstab::plan(spec, services, &mut adaptation);
            }
        }
    }
    adaptation
}

/// The services of `known` that do not run: what does not fit and was not unmasked, then what was masked.
fn choose(spec: &ContainerSpec, known: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = known
        .filter(|_| spec.adapt.enabled)
        .filter(|entry| {
            !spec
                .adapt
                .unmask
                .iter()
                .any(|name| names_it(name, &entry.name))
                && !spec
                    .adapt
                    .mask
                    .iter()
                    .any(|name| service(name) == service(&entry.name))
        })
        .collect();
    entries.extend(spec.adapt.mask.iter().map(|name| Entry {
        name: name.clone(),
        effect: Effect::Masked,
        reason: DECLARED.to_owned(),
    }));
    entries
}

/// Whether `Unmask=` with this name means the service `known`: also all instances, by their template.
fn names_it(name: &str, known: &str) -> bool {
    let (name, known) = (service(name), service(known));
    let template = |known: &str| {
        let (prefix, instance) = known.split_once('@')?;
        let suffix = instance.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        let dot = if suffix.is_empty() { "" } else { "." };
        Some(format!("{prefix}@{dot}{suffix}"))
    };
    name == known || template(known).is_some_and(|template| template == name)
}

/// The name by which a service is the same whatever starts it: without the suffix of a service unit or a script.
fn service(name: &str) -> &str {
    let name = name.strip_suffix(".service").unwrap_or(name);
    name.strip_suffix(".sh").unwrap_or(name)
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry {
            name,
            effect,
            reason,
        } in &self.entries
        {
            let rest = match effect {
                Effect::Masked => "",
                Effect::StandIn => "; what waits for it goes on",
            };
            // Names may come from the tree.
            let name = crate::log::printable(name, 256);
            let reason = crate::log::printable(reason, 256);
            writeln!(f, "mask {name}: {reason}{rest}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::{Access, Network};

    use super::*;
    use crate::plan::tests_support::spec;

    fn names(spec: &ContainerSpec, services: &Services) -> Vec<String> {
        let plan = plan_adaptation(spec, services);
        plan.entries.into_iter().map(|entry| entry.name).collect()
    }

    fn machine() -> Services {
        let units = [
            "NetworkManager.service",
            "networking.service",
            "hwclock.service",
            "getty@tty1.service",
            "serial-getty@ttyS0.service",
            "getty@.service",
            "web.service",
        ];
        Services {
            runner: Runner::Systemd,
            units: units.map(str::to_owned).into(),
            ..Services::default()
        }
    }

    #[test]
    fn only_what_does_not_fit_is_masked() {
        let mut spec = spec();
        let private = names(&spec, &machine());
        assert_eq!(
            private,
            [
                "getty@tty1.service",
                "hwclock.service",
                "networking.service",
                "serial-getty@ttyS0.service"
            ]
        );
        spec.network = Network::Host;
        assert!(names(&spec, &machine()).contains(&"NetworkManager.service".to_owned()));
        spec.adapt.enabled = false;
        assert!(names(&spec, &machine()).is_empty());
    }

    #[test]
    fn the_declaration_has_the_last_word() {
        let mut spec = spec();
        spec.adapt.unmask = vec!["hwclock".into(), "serial-getty@.service".into()];
        spec.adapt.mask = vec!["web".into(), "getty@tty1".into(), "absent.socket".into()];
        let plan = plan_adaptation(&spec, &machine());
        let got: Vec<_> = plan
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(
            got,
            [
                "networking.service",
                "web.service",
                "getty@tty1.service",
                "absent.socket"
            ]
        );
        spec.adapt.enabled = false;
        assert_eq!(names(&spec, &machine()).len(), 3);
    }

    #[test]
    fn a_command_and_shared_mounts_are_left_alone() {
        let mut spec = spec();
        spec.shared = vec![Namespace::Mount];
        spec.root.access = Access::Ephemeral;
        assert_eq!(plan_adaptation(&spec, &machine()), Adaptation::default());
    }
}
