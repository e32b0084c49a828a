//! What systemd has, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::manager::{BusError, Listed, Systemd};
use crate::reconcile::{Activity, Existing, Obstacle, World};
use crate::record::Record;
use crate::unit::{container_of, generation_of};

use super::{Declarations, Layout, Request};

/// Everything the decision rests on.
///
/// # Errors
/// When systemd does not answer.
pub async fn observe(
    systemd: &Systemd,
    layout: &Layout,
    declarations: &Declarations,
    request: &Request,
) -> Result<World, BusError> {
    let listed = systemd.list().await?;
    Ok(world(&listed, layout, declarations, request))
}

/// The same for those who have listed the units.
pub fn world(
    listed: &[Listed],
    layout: &Layout,
    declarations: &Declarations,
    request: &Request,
) -> World {
    let mut world = World {
        declared: declarations.declared(),
        obstacles: obstacles(&layout.unit_files),
        record: Record::load(&layout.record),
        selected: selection(request),
        prune: request.prune,
        ..World::default()
    };
    for unit in listed {
        if let Some(name) = container_of(&unit.name) {
            if let Some(activity) = activity(unit) {
                world.loaded.insert(name.to_owned(), Existing { activity });
            }
        } else if let Some(generation) = generation_of(&unit.name)
            && unit.active != "inactive"
        {
            world.keepers.push(generation);
        }
    }
    world.keepers.sort_unstable();
    world
}

/// The containers that a request names.
pub(super) fn selection(request: &Request) -> Option<BTreeSet<String>> {
    (!request.names.is_empty()).then(|| request.names.clone())
}

/// What a unit does; `None` when nothing of it is loaded and only other units mention it.
fn activity(unit: &Listed) -> Option<Activity> {
    match unit.active.as_str() {
        _ if unit.job => Some(Activity::Running),
        "inactive" if matches!(unit.load.as_str(), "not-found" | "masked") => None,
        "inactive" => Some(Activity::Inactive),
        "failed" => Some(Activity::Failed),
        _ => Some(Activity::Running),
    }
}

/// Unit files and masks of containers' units, by container.
fn obstacles(directories: &[PathBuf]) -> BTreeMap<String, Obstacle> {
    let mut found = BTreeMap::new();
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let file = entry.file_name();
            if let Some(name) = file.to_str().and_then(container_of) {
                // The first directory wins, as in systemd.
                found
                    .entry(name.to_owned())
                    .or_insert_with(|| obstacle(entry.path()));
            }
        }
    }
    found
}

fn obstacle(path: PathBuf) -> Obstacle {
    match fs::read_link(&path) {
        Ok(target) if target == Path::new("/dev/null") => Obstacle::Masked(path),
        _ => Obstacle::UnitFile(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_loaded_exists() {
        let unit = |load: &str, active: &str, job| Listed {
            name: "skep@web.service".into(),
            load: load.into(),
            active: active.into(),
            sub: String::new(),
            job,
        };
        for (load, active, job, want) in [
            ("loaded", "inactive", false, Some(Activity::Inactive)),
            ("loaded", "inactive", true, Some(Activity::Running)),
            ("loaded", "failed", false, Some(Activity::Failed)),
            ("loaded", "active", false, Some(Activity::Running)),
            ("loaded", "deactivating", true, Some(Activity::Running)),
            ("not-found", "inactive", false, None),
            ("not-found", "failed", false, Some(Activity::Failed)),
            ("masked", "inactive", false, None),
        ] {
            assert_eq!(
                activity(&unit(load, active, job)),
                want,
                "{load} {active} {job}"
            );
        }
    }

    #[test]
    fn masks_and_unit_files_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let (high, low) = (directory.path().join("high"), directory.path().join("low"));
        fs::create_dir_all(&high).unwrap();
        fs::create_dir_all(&low).unwrap();
        symlink("/dev/null", high.join("skep@web.service")).unwrap();
        fs::write(low.join("skep@web.service"), "").unwrap();
        fs::write(low.join("skep@db.service"), "").unwrap();
        fs::write(low.join("nginx.service"), "").unwrap();
        let found = obstacles(&[high.clone(), low.clone(), directory.path().join("none")]);
        assert_eq!(
            found["web"],
            Obstacle::Masked(high.join("skep@web.service"))
        );
        assert_eq!(found["db"], Obstacle::UnitFile(low.join("skep@db.service")));
        assert_eq!(found.len(), 2);
    }
}
