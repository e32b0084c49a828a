//! What the last apply made: `/run/skep/apply/generation.json`.
//!
//! systemd cannot say what a unit was created from, so the digest of every property is kept here. A record that is
//! missing or unreadable costs no more than work: every unit then counts as changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::digest;
use crate::property::Property;
use crate::unit::{UnitDraft, live};

/// Where the record lies.
pub const PATH: &str = "/run/skep/apply/generation.json";

const VERSION: u32 = 2;

/// Digest of each property of a unit; empty when nobody knows what the unit was made from.
///
/// One string, sorted by property: a thousand units have forty thousand digests, and nearly all of them are only compared
/// as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a unit made from a draft.
    pub fn of(draft: &UnitDraft) -> Self {
        let mut properties: Vec<&Property> = draft.properties.iter().collect();
        properties.sort_by_key(|property| property.name);
        let mut text = String::with_capacity(properties.len() * 32);
        for property in properties {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}:{:x} ", property.name, digest_of(property));
        }
        Self(text)
    }

    /// Whether nobody knows what the unit was made from.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Digest by property.
    pub fn digests(&self) -> BTreeMap<&str, &str> {
        self.0
            .split_ascii_whitespace()
            .filter_map(|entry| entry.split_once(':'))
            .collect()
    }

    /// The same unit after everything that a loaded unit takes was set to what the draft says.
    #[must_use]
    pub fn after_change(&self, draft: &UnitDraft) -> Self {
        let wanted = Self::of(draft);
        let wanted = wanted.digests();
        let mut digests = self.digests();
        digests.retain(|name, _| wanted.contains_key(name) || live::undo(name).is_none());
        digests.extend(wanted.iter().filter(|(name, _)| live::can_change(name)));
        Self(
            digests
                .iter()
                .map(|(name, digest)| format!("{name}:{digest} "))
                .collect(),
        )
    }
}

/// What the last apply made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The generation whose keeper holds the units.
    pub generation: u64,
    /// Every unit that the keeper holds, by container.
    pub units: BTreeMap<String, Fingerprint>,
    /// Properties set on loaded units, by container: their drop-ins outlive the units.
    pub overrides: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: VERSION,
            generation: 0,
            units: BTreeMap::new(),
            overrides: BTreeMap::new(),
        }
    }
}

impl Record {
    /// Reads the record; the empty one when there is none that can be used.
    pub fn load(path: &Path) -> Self {
        let Ok(text) = fs::read(path) else {
            return Self::default();
        };
        serde_json::from_slice(&text)
            .ok()
            .filter(|record: &Self| record.version == VERSION)
            .unwrap_or_default()
    }

    /// Replaces the file at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(path)?;
        Ok(())
    }
}

fn digest_of(property: &Property) -> u64 {
    // A property value is made of strings and numbers, which always have a JSON form.
    digest::of_value(&property.value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::property::Value;
    use crate::sample;
    use crate::unit::render;

    #[test]
    fn survives_a_round_trip_and_junk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/generation.json");
        let mut record = Record {
            generation: 7,
            ..Record::default()
        };
        record
            .units
            .insert("web".into(), Fingerprint::of(&made(Vec::new())));
        record
            .overrides
            .entry("web".into())
            .or_default()
            .insert("MemoryMax".into());
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path), record);
        for junk in [
            "",
            "{",
            "[]",
            r#"{"version":99,"generation":1,"units":{},"overrides":{}}"#,
        ] {
            fs::write(&path, junk).unwrap();
            assert_eq!(Record::load(&path), Record::default(), "{junk}");
        }
    }

    fn made(declared: Vec<Property>) -> UnitDraft {
        render(&sample::wanted("web", declared), 252)
    }

    fn memory(bytes: u64) -> Property {
        Property::new("MemoryMax", Value::U64(bytes))
    }

    #[test]
    fn a_changed_value_changes_its_digest_only() {
        let before = Fingerprint::of(&made(Vec::new()));
        let after = Fingerprint::of(&made(vec![Property::new("Description", "Wiki".into())]));
        let (before, after) = (before.digests(), after.digests());
        let changed: Vec<_> = after
            .keys()
            .filter(|name| before.get(*name) != after.get(*name))
            .collect();
        assert_eq!(changed, [&"Description"]);
        assert_eq!(before.len(), after.len());
    }

    #[test]
    fn a_change_of_a_loaded_unit_is_entered_in_part() {
        let restart = Property::new("Restart", "always".into());
        let unit = Fingerprint::of(&made(vec![memory(1)]));
        // declared now, the unit it amounts to
        for (declared, want) in [
            (vec![memory(2)], vec![memory(2)]),
            (vec![], vec![]),
            (vec![memory(2), restart], vec![memory(2)]),
        ] {
            assert_eq!(
                unit.after_change(&made(declared)),
                Fingerprint::of(&made(want))
            );
        }
    }
}
