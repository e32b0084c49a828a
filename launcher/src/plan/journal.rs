//! `LinkJournal=`: the container writes its journal below the host's `/var/log/journal`, where `journalctl --merge` finds it.
//!
//! The directory is named by the machine id, so it must be one that the administrator or skep chose: one from the tree is the
//! container's own to choose, and would let it take over another one's journal. For the same reason the host never links to
//! a journal in the tree: it would follow paths that the container controls.

use std::path::Path;

use skep_spec::{Access, Bind, ContainerSpec, LinkJournal, Missing};

use crate::host::{HostFacts, JOURNALS};
use crate::plan::environment::shares_machine_id;
use crate::plan::mounts::MountOp;
use crate::step::StepError;

/// The mount that links the journal, if any. `found` is the machine id in the tree.
pub fn plan(
    spec: &ContainerSpec,
    host: &HostFacts,
    machine_id: &str,
    found: Option<&str>,
) -> Result<Option<MountOp>, StepError> {
    let missing = match spec.link_journal {
        LinkJournal::No => return Ok(None),
        LinkJournal::Host => Missing::Create,
        LinkJournal::TryHost if host.keeps_journals => Missing::Create,
        LinkJournal::TryHost | LinkJournal::Auto => Missing::Skip,
    };
    let covered = spec.root.access != Access::Write
        && shares_machine_id(spec.root.path.as_deref(), host, found);
    // "uninitialized", an empty file or none: the container takes the one it is given.
    let other = found.filter(|id| !covered && id.len() == 32 && *id != machine_id);
    let wrong = match other {
        Some(id) => Some(
            StepError::new("LinkJournal=: the tree has a machine id of its own:", id).cure(
                format!("set MachineID={id}, or empty /etc/machine-id in the tree"),
            ),
        ),
        None if host.machine_id.as_deref() == Some(machine_id) => Some(StepError::new(
            "LinkJournal=: this is the host's machine id:",
            machine_id,
        )),
        None => None,
    };
    match wrong {
        Some(err) if spec.link_journal == LinkJournal::Host => Err(err),
        Some(err) => {
            crate::log::line(err);
            Ok(None)
        }
        None => {
            let path = Path::new(JOURNALS).join(machine_id);
            Ok(Some(MountOp::Journal(Bind {
                source: path.clone(),
                target: path,
                read_only: false,
                missing,
                recursive: false,
                idmap: true,
                nosuid: true,
                nodev: true,
            })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn only_a_chosen_machine_id_names_a_directory() {
        let (own, other, of_host) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
        let host = HostFacts {
            machine_id: Some(of_host.clone()),
            keeps_journals: true,
            ..HostFacts::default()
        };
        let planned = |mode, id: &str, found: Option<&str>| {
            let mut spec = spec();
            spec.link_journal = mode;
            plan(&spec, &host, id, found).map(|op| op.is_some()).ok()
        };
        for (mode, id, found, want) in [
            (LinkJournal::No, &own, None, Some(false)),
            (LinkJournal::Host, &own, None, Some(true)),
            (LinkJournal::Host, &own, Some("uninitialized"), Some(true)),
            (LinkJournal::Host, &own, Some(own.as_str()), Some(true)),
            (LinkJournal::Host, &own, Some(other.as_str()), None),
            (
                LinkJournal::TryHost,
                &own,
                Some(other.as_str()),
                Some(false),
            ),
            (LinkJournal::Auto, &own, None, Some(true)),
            (LinkJournal::Host, &of_host, None, None),
        ] {
            assert_eq!(planned(mode, id, found), want, "{mode:?} {id} {found:?}");
        }
    }
}
