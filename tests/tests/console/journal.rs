//! Lines in the journal, before and after it was stopped.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{sh, started},
    host::Host,
    wait::wait_until,
};

use super::BUSYBOX;

/// Longest way of a line.
const LIMIT: Duration = Duration::from_secs(30);

/// What a line is called, and whose it is, stays as it was when the journal comes back.
pub(super) fn stopped(host: &Host) -> Result<()> {
    let text = format!("{BUSYBOX}[Service]\nSyslogIdentifier=called-so\n");
    let guest = started(host, "con-journal", &text)?;
    for round in ["first", "second"] {
        // Its socket brings it back with the next line, that of a new stream: those of before wait in systemd, which
        // keeps them (FileDescriptorStorePreserve= since 254).
        host.sh("systemctl stop systemd-journald.service 2>/dev/null")?
            .ok()?;
        sh(&guest, &format!("echo the {round} line >/dev/console"))?;
        host.sh("echo back | systemd-cat")?.ok()?;
        let found = wait_until(LIMIT, "the line", || {
            let lines = host.sh(&format!(
                "journalctl --sync 2>/dev/null; journalctl --boot -o export -u {} -t called-so CONTAINER_NAME=con-journal | grep -a MESSAGE=",
                guest.unit()
            ))?;
            let lines = lines.stdout();
            Ok(lines
                .contains(&format!("the {round} line"))
                .then_some(lines))
        })?;
        ensure!(found.contains("busybox service runs"), "{found}");
    }
    host.exec(["systemctl", "reset-failed", "systemd-journald.service"])?
        .ok()?;
    guest.finish()
}
