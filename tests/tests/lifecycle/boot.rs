//! Autostart that is switched on and off.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{host::Host, wait::wait_until};

use super::{BUSYBOX, property};

const UNIT: &str = "skep@life-enabled.service";

/// `skep enable` and `skep disable` hold over a reboot.
pub(crate) fn enabled(host: &Host) -> Result<()> {
    host.write("/etc/skep/life-enabled.container", BUSYBOX)?;
    host.exec(["skep", "apply"])?.ok()?;
    ensure!(property(host, UNIT, "ActiveState")? == "inactive");
    host.exec(["skep", "enable", "life-enabled"])?.ok()?;
    host.reboot()?;
    wait_until(Duration::from_secs(15), "the enabled container", || {
        Ok((property(host, UNIT, "ActiveState")? == "active").then_some(()))
    })?;
    host.exec(["systemctl", "is-active", "multi-user.target"])?
        .ok()?;
    host.exec(["skep", "disable", "life-enabled"])?.ok()?;
    host.reboot()?;
    host.exec(["systemctl", "is-active", "multi-user.target"])?
        .ok()?;
    let state = property(host, UNIT, "ActiveState")?;
    ensure!(state == "inactive", "disabled, but {state} after a reboot");
    ensure!(property(host, UNIT, "LoadState")? == "loaded");
    Ok(())
}
