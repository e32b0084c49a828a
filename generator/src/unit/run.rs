//! The unit of a one-off run: `skep-run-NAME.service`.
//!
//! Its main process is the launcher, whose exit status is that of the command. While somebody waits for the status, a
//! failure stays until they have read it, as of every unit: a reference alone is not kept where two hundred run at once,
//! because systemd needs a match rule of the bus for each client it tracks, and dbus-daemon gives it 512 (*measured* on
//! 257). With nobody waiting the unit goes away by itself.

use std::path::Path;

use skep_spec::LAUNCHER;

use crate::problem::escaped;
use crate::property::{Command, Property, Value};

use super::render::{merge, of_any_launcher};
use super::{UnitDraft, run_name};

/// Characters of the command line that the unit's description shows.
const SHOWN: usize = 200;

/// Whether somebody waits for the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The caller does, and refers to the unit until then.
    Yes,
    /// Nobody.
    No,
}

/// The unit of a run whose spec lies at `spec`, confined as `sandbox` says.
pub fn render_run(
    name: &str,
    argv: &[String],
    spec: &Path,
    sandbox: Vec<Property>,
    declared: &[Property],
    waits: Waits,
    systemd: u32,
) -> UnitDraft {
    let mut properties = baseline(name, argv, spec, systemd);
    properties.extend(sandbox);
    properties.push(match waits {
        Waits::Yes => Property::new("AddRef", true.into()),
        Waits::No => Property::new("CollectMode", "inactive-or-failed".into()),
    });
    for property in declared {
        merge(&mut properties, property.clone());
    }
    UnitDraft {
        name: run_name(name),
        properties,
    }
}

fn baseline(name: &str, argv: &[String], spec: &Path, systemd: u32) -> Vec<Property> {
    let mut properties = Vec::with_capacity(32);
    let mut set = |name: &'static str, value: Value| properties.push(Property::new(name, value));

    set("Description", description(argv).into());
    set("Documentation", Value::List(vec!["man:skep(1)".to_owned()]));
    // Active once the launcher was executed: a unit that never was has not been started.
    set("Type", "exec".into());
    set("ExecStart", Value::Exec(vec![run_command(spec)]));
    properties.extend(of_any_launcher(name, systemd));
    properties
}

fn run_command(spec: &Path) -> Command {
    let words = [LAUNCHER, "run", "--spec"].map(str::to_owned);
    Command {
        path: LAUNCHER.to_owned(),
        argv: words
            .into_iter()
            .chain([spec.to_string_lossy().into_owned()])
            .collect(),
        ignore_failure: false,
    }
}

/// The command line on one line.
fn description(argv: &[String]) -> String {
    let text = escaped(&argv.join(" "));
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value<'a>(draft: &'a UnitDraft, name: &str) -> Option<&'a Value> {
        let property = draft.properties.iter().find(|one| one.name == name);
        property.map(|property| &property.value)
    }

    fn draft(declared: &[Property], waits: Waits, systemd: u32) -> UnitDraft {
        let argv = ["sh", "-c", "echo\n1"].map(str::to_owned);
        let spec = Path::new("/run/skep/run/r1.json");
        render_run("r1", &argv, spec, Vec::new(), declared, waits, systemd)
    }

    #[test]
    fn the_launcher_runs_the_spec() {
        let unit = draft(&[], Waits::Yes, 252);
        assert_eq!(unit.name, "skep-run-r1.service");
        let Some(Value::Exec(commands)) = value(&unit, "ExecStart") else {
            unreachable!("no ExecStart")
        };
        assert_eq!(
            commands[0].argv[1..],
            ["run", "--spec", "/run/skep/run/r1.json"].map(str::to_owned)
        );
        assert_eq!(value(&unit, "Description"), Some(&"sh -c echo\\n1".into()));
        assert_eq!(value(&unit, "AddRef"), Some(&Value::Bool(true)));
        assert_eq!(value(&unit, "CollectMode"), None);
        assert_eq!(value(&unit, "DelegateSubgroup"), None);
        assert_eq!(value(&unit, "CoredumpReceive"), None);
    }

    #[test]
    fn properties_of_the_command_line_replace_and_add() {
        let limit = Property::new("TasksMax", Value::U64(9));
        let memory = Property::new("MemoryMax", Value::U64(1 << 20));
        let unit = draft(&[limit, memory], Waits::No, 257);
        assert_eq!(value(&unit, "TasksMax"), Some(&Value::U64(9)));
        assert_eq!(value(&unit, "MemoryMax"), Some(&Value::U64(1 << 20)));
        assert_eq!(value(&unit, "AddRef"), None);
        assert_eq!(
            value(&unit, "CollectMode"),
            Some(&"inactive-or-failed".into())
        );
        assert_eq!(value(&unit, "DelegateSubgroup"), Some(&"supervisor".into()));
    }

    #[test]
    fn a_long_command_line_is_cut() {
        let argv = ["x".repeat(5000)];
        assert_eq!(description(&argv).len(), SHOWN + 3);
    }
}
