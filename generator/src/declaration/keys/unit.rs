//! `[Unit]`: only what may be set on a transient unit.

use super::{KeyRow, Section, Syntax, newer, property};

const UNIT: Section = Section::Unit;

/// What systemd 252 can do when a unit ends or runs into a limit.
const ACTIONS: &[&str] = &[
    "none",
    "reboot",
    "reboot-force",
    "reboot-immediate",
    "poweroff",
    "poweroff-force",
    "poweroff-immediate",
    "exit",
    "exit-force",
];

const JOB_MODES: &[&str] = &[
    "fail",
    "replace",
    "replace-irreversibly",
    "isolate",
    "flush",
    "ignore-dependencies",
    "ignore-requirements",
];

pub(super) static ROWS: &[KeyRow] = &[
    property(
        UNIT,
        "Description",
        Syntax::Text("Description"),
        "one line shown by systemctl",
    ),
    property(
        UNIT,
        "Documentation",
        Syntax::Uris("Documentation"),
        "URIs of documentation",
    ),
    units("Wants", "units started with the container"),
    units(
        "Requires",
        "units without which the container does not start, and with which it stops",
    ),
    units("Requisite", "units that must already run"),
    units(
        "BindsTo",
        "as Requires=, and the container stops when they end by themselves",
    ),
    units(
        "PartOf",
        "units whose stop and restart the container follows",
    ),
    units("Upholds", "units kept running while the container runs"),
    units("Conflicts", "units stopped when the container starts"),
    units("Before", "units that start after the container"),
    units("After", "units that start before the container"),
    units("OnFailure", "units started when the container fails"),
    units("OnSuccess", "units started when the container ends well"),
    units("PropagatesReloadTo", "units reloaded with the container"),
    units(
        "ReloadPropagatedFrom",
        "units whose reload the container follows",
    ),
    units("PropagatesStopTo", "units stopped with the container"),
    units(
        "StopPropagatedFrom",
        "units whose stop the container follows",
    ),
    property(
        UNIT,
        "RequiresMountsFor",
        Syntax::Paths("RequiresMountsFor"),
        "paths that must be mounted first",
    ),
    newer(
        UNIT,
        256,
        "WantsMountsFor",
        Syntax::Paths("WantsMountsFor"),
        "paths that should be mounted first",
    ),
    property(
        UNIT,
        "JobRunningTimeoutSec",
        Syntax::Time("JobRunningTimeoutUSec"),
        "how long a start or stop may run before it is given up",
    ),
    property(
        UNIT,
        "JobTimeoutAction",
        Syntax::Choice("JobTimeoutAction", ACTIONS),
        "what happens when a job takes longer",
    ),
    property(
        UNIT,
        "OnFailureJobMode",
        Syntax::Choice("OnFailureJobMode", JOB_MODES),
        "job mode of OnFailure=",
    ),
    property(
        UNIT,
        "OnSuccessJobMode",
        Syntax::Choice("OnSuccessJobMode", JOB_MODES),
        "job mode of OnSuccess=",
    ),
    property(
        UNIT,
        "StartLimitIntervalSec",
        Syntax::Time("StartLimitIntervalUSec"),
        "span in which starts are counted",
    ),
    property(
        UNIT,
        "StartLimitBurst",
        Syntax::Count("StartLimitBurst"),
        "starts allowed in that span",
    ),
    property(
        UNIT,
        "StartLimitAction",
        Syntax::Choice("StartLimitAction", ACTIONS),
        "what happens at more starts",
    ),
    property(
        UNIT,
        "FailureAction",
        Syntax::Choice("FailureAction", ACTIONS),
        "what happens when the container fails",
    ),
    property(
        UNIT,
        "SuccessAction",
        Syntax::Choice("SuccessAction", ACTIONS),
        "what happens when it ends well",
    ),
    property(
        UNIT,
        "RebootArgument",
        Syntax::Text("RebootArgument"),
        "argument of a reboot that an action causes",
    ),
    property(
        UNIT,
        "RefuseManualStart",
        Syntax::Bool("RefuseManualStart"),
        "yes: started by dependencies only",
    ),
    property(
        UNIT,
        "RefuseManualStop",
        Syntax::Bool("RefuseManualStop"),
        "yes: stopped by dependencies only",
    ),
    property(
        UNIT,
        "StopWhenUnneeded",
        Syntax::Bool("StopWhenUnneeded"),
        "yes: stopped when no unit needs it",
    ),
    property(
        UNIT,
        "IgnoreOnIsolate",
        Syntax::Bool("IgnoreOnIsolate"),
        "yes: survives systemctl isolate",
    ),
];

const fn units(name: &'static str, help: &'static str) -> KeyRow {
    property(UNIT, name, Syntax::Units(name), help)
}
