//! Containers in a container.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{prints, sh, started},
    host::Host,
};

/// Podman in a Debian 13 runs a container of its own, from an image made of nothing but a static busybox.
const RUN: &str = "
# Podman limits processes by default, also where the kernel has no controller for it.
grep -q pids /sys/fs/cgroup/cgroup.controllers || LIMITS=--pids-limit=0
mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/bin/ && ln -sf busybox /tmp/image/bin/sh
tar -C /tmp/image -c . | podman import - nested >/dev/null 2>&1
podman run --rm --network=none $LIMITS nested /bin/busybox sh -c 'echo $$ in $(busybox id -u)' 2>/tmp/error || cat /tmp/error
";

const SCOPE: &str = "[Container]\nRoot=/var/lib/machines/nesting\n";

pub(crate) fn podman(host: &Host) -> Result<()> {
    host.scratch_guest("nesting", "nesting")?;
    let judged = runs(host);
    let removed = host.remove_guest("nesting");
    judged.and(removed)
}

fn runs(host: &Host) -> Result<()> {
    let guest = started(host, "nesting", &format!("{SCOPE}Nesting=yes\n"))?;
    let said = sh(&guest, RUN)?;
    ensure!(said == "1 in 0", "{said}");
    // Docker gives it to each of its containers, and fails when it cannot.
    let audit_write = "capsh --has-b=cap_audit_write && echo kept || echo missing";
    prints(&guest, audit_write, "kept")?;
    // An unprivileged user of the container does not get behind the masks.
    let said = sh(
        &guest,
        "setpriv --reuid 1000 --regid 1000 --clear-groups ls /run/host/nesting/proc 2>&1; wc -c </proc/timer_list",
    )?;
    ensure!(
        said.contains("Permission denied") && said.ends_with('0'),
        "{said}"
    );
    guest.finish()?;
    let guest = started(host, "nesting", SCOPE)?;
    let said = sh(&guest, RUN)?;
    ensure!(said != "1 in 0", "podman runs without Nesting=");
    prints(&guest, &format!("{audit_write} 2>/dev/null"), "missing")?;
    guest.finish()
}

/// The tool of the host, whose release the container runs, and a tree for it.
const NSPAWN: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nNesting=yes\nPrivateUsers=no\n\
     BindReadOnly=/usr/bin/systemd-nspawn\nBind=/var/lib/machines/busybox:/var/lib/machines/in\n";

/// Without private users, as the manual says; the container's PID 1 is the command, and nothing stays behind.
pub(crate) fn nspawn(host: &Host) -> Result<()> {
    let guest = started(host, "nesting-nspawn", NSPAWN)?;
    for users in ["identity", "no"] {
        let script = format!(
            "systemd-nspawn --quiet --console=pipe --register=no --private-users={users} --directory=/var/lib/machines/in \
             /bin/sh -c 'echo $$ in $(id -u)' </dev/null 2>/tmp/error || cat /tmp/error"
        );
        prints(&guest, &script, "1 in 0")?;
    }
    guest.is_running()?;
    guest.finish()
}

/// The programs of the host and a tree.
const SKEP: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nNesting=yes\n\
     BindReadOnly=/usr/bin/skep:/usr/bin/skep:noidmap\nBindReadOnly=/usr/libexec/skep:/usr/libexec/skep:noidmap\n\
     Bind=/var/lib/machines/busybox:/var/lib/machines/in\n";

/// A container declared in a container boots with the ids of that one; with ids that there are none of it says what to do.
pub(crate) fn skep(host: &Host) -> Result<()> {
    let guest = started(host, "nesting-skep", SKEP)?;
    let declare = |users: &str| {
        let script = format!(
            "mkdir -p /etc/skep; printf '[Container]\\nPrivateUsers={users}\\n' >/etc/skep/in.container; skep apply"
        );
        sh(&guest, &script).map(drop)
    };
    declare("identity")?;
    let boots = "systemctl start skep@in; skep exec in -- /bin/sh -c 'cat /proc/1/comm; id -u'; systemctl stop skep@in";
    prints(&guest, boots, "init\n0")?;
    declare("pick")?;
    let fails = "systemctl start skep@in 2>/dev/null; journalctl --unit=skep@in --output=cat";
    let said = sh(&guest, fails)?;
    ensure!(said.contains("set PrivateUsers=identity"), "{said}");
    sh(
        &guest,
        "rm /etc/skep/in.container; systemctl reset-failed skep@in; skep apply",
    )?;
    guest.is_running()?;
    guest.finish()
}
