//! What `systemctl status` says about a container: texts of `STATUS=`.
//!
//! What the guest chose, its OS's name and its own status, is made printable and short where it is read.

use std::net::IpAddr;

use crate::plan::LaunchPlan;

/// Addresses that are spelt out; the state file has more of them.
const SPELT: usize = 2;

/// Before the first process of the container runs.
pub const PREPARING: &str = "Preparing the tree";

/// A stop was asked for.
pub const ASKED: &str = "Shutting down (asked)";

/// A reboot was asked for.
pub const REBOOTING: &str = "Rebooting (asked)";

/// The guest's systemd says that it stops or reboots; nobody asked it to from here.
pub const LEAVING: &str = "Shutting down (from inside)";

/// The container has started.
pub fn booting(plan: &LaunchPlan) -> String {
    format!("Booting {}", plan.os.as_deref().unwrap_or("the container"))
}

/// The container is ready.
pub fn running(plan: &LaunchPlan, leader: i32, addresses: &[IpAddr]) -> String {
    let os = plan.os.as_deref().unwrap_or(&plan.name);
    let init = match &plan.init_version {
        Some(version) => format!("{} {version}", plan.init.kind),
        None => plan.init.kind.to_string(),
    };
    let spelt: String = addresses
        .iter()
        .take(SPELT)
        .map(|address| format!(", {address}"))
        .collect();
    let more = match addresses.len().saturating_sub(SPELT) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("Running: {os}, {init}, leader {leader}{spelt}{more}")
}
