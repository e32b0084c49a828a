//! One thing to be done, as a value that can be printed.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::property::Property;
use crate::unit::text;

use super::Activity;

/// What happens to one container's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Container name.
    pub name: String,
    /// What happens.
    #[serde(flatten)]
    pub step: Step,
}

/// What happens to a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Step {
    /// A new unit.
    Create {
        /// It only says what is wrong with its declaration.
        refused: bool,
    },
    /// The unit is dropped and made again.
    Recreate {
        /// Its failure is forgotten first, or systemd would keep it.
        failed: bool,
        /// It only says what is wrong with its declaration.
        refused: bool,
    },
    /// Properties change on the loaded unit.
    Set {
        /// In the order in which they are set.
        #[serde(serialize_with = "as_assignments")]
        properties: Vec<Property>,
    },
    /// Nothing.
    Keep,
    /// It runs: some properties change now, the rest with `skep restart`.
    Pending {
        /// Set at once.
        #[serde(serialize_with = "as_assignments")]
        set: Vec<Property>,
        /// Names of those that wait; empty when it is not known what the unit was made from.
        frozen: Vec<String>,
    },
    /// No longer declared and not running: systemd forgets it.
    Release {
        /// Its failure is forgotten first.
        failed: bool,
    },
    /// No longer declared, but running: it goes when it stops.
    Leave,
    /// No longer declared: stopped, then gone.
    Stop,
    /// The administrator masked the unit.
    Masked {
        /// The link to /dev/null.
        path: PathBuf,
    },
    /// A unit file of the same name is in the way.
    Blocked {
        /// That file.
        path: PathBuf,
    },
    /// Not ours and not declared.
    Foreign,
}

impl Step {
    /// What becomes of a unit that nobody declares.
    pub(super) const fn remove(activity: Activity, prune: bool) -> Self {
        match activity {
            Activity::Inactive => Self::Release { failed: false },
            Activity::Failed => Self::Release { failed: true },
            Activity::Running if prune => Self::Stop,
            Activity::Running => Self::Leave,
        }
    }

    /// Whether a keeper has to hold the unit afterwards.
    pub const fn pins(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Recreate { .. }
            | Self::Set { .. }
            | Self::Keep
            | Self::Pending { .. } => true,
            Self::Release { .. } | Self::Leave | Self::Stop => false,
            Self::Masked { .. } | Self::Blocked { .. } | Self::Foreign => false,
        }
    }

    /// Whether a unit is made.
    pub const fn creates(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Recreate { .. })
    }

    /// Whether it takes a new generation.
    pub const fn changes_generation(&self) -> bool {
        matches!(
            self,
            Self::Create { .. } | Self::Recreate { .. } | Self::Release { .. }
        )
    }

    /// Whether something happens to a loaded unit at once.
    pub const fn changes_unit(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Stop => true,
            Self::Pending { set, .. } => !set.is_empty(),
            _ => false,
        }
    }

    /// Whether the unit is gone afterwards.
    pub const fn is_removal(&self) -> bool {
        matches!(self, Self::Release { .. } | Self::Stop)
    }

    /// Whether there is anything to tell.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::Keep | Self::Foreign)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.step {
            Step::Create { refused: false } => write!(f, "create {name}"),
            Step::Create { refused: true } => write!(
                f,
                "create {name} (its declaration is wrong: it will not start)"
            ),
            Step::Recreate { refused: false, .. } => write!(f, "recreate {name}"),
            Step::Recreate { refused: true, .. } => {
                write!(
                    f,
                    "recreate {name} (its declaration is wrong: it will not start)"
                )
            }
            Step::Set { properties } => write!(f, "set {name} {}", shown(properties)),
            Step::Keep => write!(f, "keep {name}"),
            Step::Pending { set, frozen } => {
                if !set.is_empty() {
                    writeln!(f, "set {name} {}", shown(set))?;
                }
                write!(
                    f,
                    "pending {name}{}{}: it runs; \"skep restart {name}\" takes the change",
                    if frozen.is_empty() { "" } else { " " },
                    frozen.join(" ")
                )
            }
            Step::Release { .. } => write!(f, "release {name}"),
            Step::Leave => write!(
                f,
                "leave {name}: no longer declared, but it runs; it goes when it stops"
            ),
            Step::Stop => write!(f, "stop {name}"),
            Step::Masked { path } => write!(
                f,
                "masked {name}: {} is a link to /dev/null",
                path.display()
            ),
            Step::Blocked { path } => write!(f, "blocked {name}: {} is in the way", path.display()),
            Step::Foreign => write!(f, "foreign {name}"),
        }
    }
}

/// Properties as assignments; an emptied list that is filled again is one change.
fn assignments(properties: &[Property]) -> Vec<String> {
    let last_of_each = properties.iter().enumerate().filter(|(at, property)| {
        properties[at + 1..]
            .iter()
            .all(|later| later.name != property.name)
    });
    last_of_each
        .flat_map(|(_, property)| text::assignments(property))
        .collect()
}

fn shown(properties: &[Property]) -> String {
    assignments(properties).join(" ")
}

/// JSON form: unit-file assignments, since D-Bus types mean nothing to a reader.
fn as_assignments<S: Serializer>(
    properties: &[Property],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    assignments(properties).serialize(serializer)
}
