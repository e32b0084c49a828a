//! The tables of probes, by what they aim at.

mod calls;
mod devices;
mod files;
mod mounts;
mod others;
mod privileges;

use crate::attempt::Attempt;

/// A name for the reports, and what is tried.
pub(crate) type Probe = (&'static str, Attempt);

/// All probes, in the order of the report.
pub(crate) fn all() -> Vec<Probe> {
    [
        privileges::PROBES,
        calls::PROBES,
        files::PROBES,
        mounts::PROBES,
        devices::PROBES,
        others::PROBES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_enough() {
        let probes = all();
        let names: BTreeSet<_> = probes.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), probes.len());
        assert!(probes.len() >= 150, "{}", probes.len());
    }
}
