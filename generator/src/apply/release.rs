//! Forgets a container whose declaration was removed: its unit and its id range.

use std::collections::BTreeSet;

use crate::declaration::{Facts, load_all};
use crate::manager::Systemd;
use crate::ranges::Leases;

use super::{Failed, Layout, Request, apply, lock};

/// Applies the removal and gives the id range back, unless another file declares the name now. Without systemd there is no
/// unit to forget.
///
/// # Errors
/// When systemd or a file fails.
pub async fn release(systemd: Option<&Systemd>, layout: &Layout, name: &str) -> Result<(), Failed> {
    if let Some(systemd) = systemd {
        let request = Request {
            names: BTreeSet::from([name.to_owned()]),
            ..Request::default()
        };
        match apply(systemd, layout, &request).await {
            // The watch on the directory of declarations was faster.
            Ok(_) | Err(Failed::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let _lock = lock::acquire(&layout.lock).await?;
    let all = load_all(&layout.root, &Facts::of_host(None));
    if all.iter().any(|one| one.name == name) {
        return Ok(());
    }
    let fail = |error| Failed::File {
        path: layout.leases.display().to_string(),
        error,
    };
    let (mut leases, _) = Leases::load(&layout.leases).map_err(fail)?;
    leases.retain(|other, _| other != name);
    leases.save(&layout.leases).map_err(fail)
}
