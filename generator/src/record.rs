//! What the last apply made: `/run/skep/apply/generation.json`.
//!
//! systemd cannot say what a unit was created from, so the digest of every property is kept here. A record that is
//! missing or unreadable costs no more than work: every unit then counts as changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::digest;
use crate::property::Property;
use crate::unit::UnitDraft;

/// Where the record lies.
pub const PATH: &str = "/run/skep/apply/generation.json";

const VERSION: u32 = 1;

/// Digest of each property of a unit.
pub type Fingerprint = BTreeMap<String, u64>;

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

/// Digest of each property of a draft.
pub fn fingerprint(draft: &UnitDraft) -> Fingerprint {
    draft
        .properties
        .iter()
        .map(|property| (property.name.to_owned(), digest_of(property)))
        .collect()
}

fn digest_of(property: &Property) -> u64 {
    // A property value is made of strings and numbers, which always have a JSON form.
    digest::of_value(&property.value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
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
        record.units.insert(
            "web".into(),
            fingerprint(&render(&sample::wanted("web", Vec::new()), 252)),
        );
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

    #[test]
    fn a_changed_value_changes_its_digest_only() {
        let before = fingerprint(&render(&sample::wanted("web", Vec::new()), 252));
        let declared = vec![Property::new("Description", "Wiki".into())];
        let after = fingerprint(&render(&sample::wanted("web", declared), 252));
        let changed: Vec<_> = after
            .iter()
            .filter(|(name, digest)| before.get(*name) != Some(*digest))
            .collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].0, "Description");
    }
}
