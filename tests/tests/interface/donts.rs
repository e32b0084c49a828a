//! Checks C39-C46: what a container manager should not do.

use anyhow::Result;
use skep_tests::{guest::started, host::Host, interface::Sheet};

use super::{DEBIAN, settled};

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-donts", DEBIAN)?;
    settled(&guest)?;
    let has = |number: u32| {
        format!(
            "bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/1/status); echo $((0x$bounding >> {number} & 1))"
        )
    };
    sheet.inside(&guest, "C39", "in the bounding set", &has(27), "1");
    sheet.inside(&guest, "C40", "in the bounding set", &has(21), "1");
    sheet.inside(
        &guest,
        "C41",
        "there is none, nor can /proc/kmsg be read",
        "ls /dev/kmsg 2>/dev/null; head -c 1 /proc/kmsg 2>/dev/null; dmesg 2>/dev/null | head -n 1; echo end",
        "end",
    );
    sheet.inside(
        &guest,
        "C42",
        "no /dev/ttyN, no /dev/vcs",
        "ls -d /dev/tty[0-9]* /dev/vcs* 2>/dev/null; echo end",
        "end",
    );
    sheet.inside(
        &guest,
        "C43",
        "no block device in /dev",
        "find /dev -type b; echo end",
        "end",
    );
    sheet.inside(
        &guest,
        "C45",
        "no part of sysfs is writable",
        "grep ' - sysfs ' /proc/1/mountinfo | cut -d' ' -f5,6 | grep -v ' ro[, ]*'; echo end",
        "end",
    );
    for (number, name) in [
        (29, "AUDIT_WRITE"),
        (30, "AUDIT_CONTROL"),
        (37, "AUDIT_READ"),
    ] {
        sheet.inside(&guest, "C46", &format!("no CAP_{name}"), &has(number), "0");
    }
    sheet.inside(
        &guest,
        "C46",
        "nothing fails for it",
        "systemctl is-system-running; systemctl --failed --no-legend | wc -l",
        "running\n0",
    );
    guest.finish()
}
