//! Checks C27-C38: the directory `/run/host`.

use anyhow::Result;
use skep_tests::{guest::started, host::Host, interface::Sheet};

use super::{DEBIAN, settled};

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-host", DEBIAN)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C29",
        "a socket that root may write to",
        "stat -c '%F %U' /run/host/notify",
        "socket root",
    );
    let release = host.sh("sha256sum </etc/os-release")?.ok()?;
    sheet.inside(
        &guest,
        "C30",
        "the host's own, read-only",
        "sha256sum </run/host/os-release; { echo x >>/run/host/os-release; } 2>/dev/null && echo written; echo end",
        &format!("{release}\nend"),
    );
    sheet.inside(
        &guest,
        "C31",
        "as $container, with a newline",
        "cat /run/host/container-manager; wc -l </run/host/container-manager",
        "skep\n1",
    );
    sheet.inside(
        &guest,
        "C32",
        "as $container_uuid, with a newline",
        "tr '\\000' '\\n' </proc/1/environ | sed -n 's/^container_uuid=//p' | tr -d - | cmp - /run/host/container-uuid && echo same",
        "same",
    );
    sheet.differs(
        "C36",
        "users of the host are not shared: make the user in the container",
    );
    sheet.differs("C37", "as C36: bind a home with Bind=");
    sheet.inside(
        &guest,
        "C38",
        "nothing can be made, removed or remounted",
        "cd /run/host; for name in x container-manager; do { echo x >$name; } 2>/dev/null && echo $name; done; \
         rm -f container-uuid 2>/dev/null; mkdir y 2>/dev/null && echo y; \
         mount -o remount,bind,rw /run/host 2>/dev/null && echo remounted; umount /run/host 2>/dev/null && echo gone; \
         ls -d root 2>/dev/null; ls container-uuid",
        "container-uuid",
    );
    guest.finish()
}
