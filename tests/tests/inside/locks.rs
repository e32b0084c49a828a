//! Masks and read-only mounts hold against the container's root, wherever it goes to undo them.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{prints, sh, started};

/// Prints one line per attack that worked. `$1` says where, the mounts come from this namespace's own table.
const ATTACK: &str = r#"
attack() {
    for target in $(awk '$5 ~ "^'"$prefix"'(/proc|/sys|/dev|/opt/ro|/opt/file|/run$|/run/host)" { print $5 }' "$table"); do
        umount "$target" 2>/dev/null && echo "$1: umount $target"
        umount -l "$target" 2>/dev/null && echo "$1: umount -l $target"
        mount --move "$target" /mnt/a 2>/dev/null && echo "$1: move $target"
    done
    for target in $locked; do
        mount -o remount,bind,rw "$prefix$target" 2>/dev/null && echo "$1: remount $target"
        mount -o remount,bind,rw,suid,dev,exec "$prefix$target" 2>/dev/null && echo "$1: remount all $target"
        mount -o remount,rw "$prefix$target" 2>/dev/null && echo "$1: remount file system $target"
    done
    for target in / /proc /sys /opt/ro; do
        if mount --bind "$prefix$target" /mnt/a 2>/dev/null; then
            [ "$target" = / ] || echo "$1: bind $target without what is below"
            umount /mnt/a
        fi
    done
    for kind in proc sysfs; do
        if mount -t "$kind" "$kind" /mnt/a 2>/dev/null; then echo "$1: fresh $kind"; umount /mnt/a; fi
    done
    for file in /opt/ro/made /opt/ro/nested/made /opt/ro/nested/deeper/made /proc/sys/kernel/core_pattern /proc/pressure/cpu /run/host/made; do
        { true >"$prefix$file"; } 2>/dev/null && echo "$1: wrote $file"
    done
    for file in $masked; do
        [ -z "$(ls -A "$prefix$file" 2>/dev/null)" ] || [ ! -d "$prefix$file" ] || echo "$1: sees into $file"
        [ "$(head -c 1 "$prefix$file" 2>/dev/null | wc -c)" = 0 ] || echo "$1: reads $file"
    done
    return 0
}
"#;

/// What an attack works on: everything here is a mount of ours, and read-only.
const LISTS: &str = r#"
masked=""
for file in /proc/acpi /proc/asound /proc/interrupts /proc/kallsyms /proc/kcore /proc/keys /proc/latency_stats \
    /proc/sched_debug /proc/scsi /proc/sysrq-trigger /proc/timer_list /proc/timer_stats /sys/firmware /proc/dynamic_debug /proc/kpagecgroup /proc/kpagecount \
    /proc/kpageflags /proc/pagetypeinfo /proc/slabinfo /proc/vmallocinfo \
    /sys/devices/virtual/powercap; do
    [ ! -e $file ] || masked="$masked $file"
done
locked="$masked /sys /opt/ro /opt/ro/nested /opt/ro/nested/deeper /opt/file /run/host"
for file in /proc/sys /proc/bus /proc/fs /proc/irq /proc/pressure /proc/tty/driver; do [ ! -e $file ] || locked="$locked $file"; done
prefix="" table=/proc/self/mountinfo
mkdir -p /mnt/a
"#;

/// Its own mounts obey the container's root: otherwise the attacks above would prove nothing.
const CONTROLS: &str = r#"
mkdir -p /mnt/own /mnt/moved /mnt/a
mount -t tmpfs own /mnt/own && mount -o remount,bind,ro /mnt/own && mount -o remount,bind,rw /mnt/own
mkdir /mnt/own/below && mount -t tmpfs own /mnt/own/below
mount --bind /mnt/own /mnt/a && umount /mnt/a
mount --make-rprivate / 2>/dev/null || mount -o rprivate /
mount --move /mnt/own /mnt/moved
umount /mnt/moved/below && umount /mnt/moved && echo obeys
"#;

const BEFORE: &str = "mkdir -p /var/lib/machines/.src/locks/nested /var/lib/machines/.src/locks/plain && echo kept >/var/lib/machines/.src/locks/plain/file \
     && mount -t tmpfs locks /var/lib/machines/.src/locks/nested && mkdir /var/lib/machines/.src/locks/nested/deeper \
     && mount -t tmpfs deeper /var/lib/machines/.src/locks/nested/deeper && echo kept >/var/lib/machines/.src/locks/nested/deeper/file";
const AFTER: &str =
    "umount -l /var/lib/machines/.src/locks/nested; rm -rf /var/lib/machines/.src/locks";

pub(super) fn hold(host: &Host, tree: &str) -> Result<()> {
    host.between(BEFORE, AFTER, || attacked(host, tree))
}

fn attacked(host: &Host, tree: &str) -> Result<()> {
    let text = format!(
        "[Container]\nRoot=/var/lib/machines/{tree}\nBindReadOnly=/var/lib/machines/.src/locks:/opt/ro\n\
         BindReadOnly=/var/lib/machines/.src/locks/plain/file:/opt/file\n"
    );
    let guest = started(host, &format!("locks-{tree}"), &text)?;
    prints(
        &guest,
        "cat /opt/ro/nested/deeper/file /opt/file",
        "kept\nkept",
    )?;
    // A namespace of the guest's init, one more, nested user namespaces, and after a pivot_root.
    let unshare = "unshare -m /bin/sh -c";
    let users = "unshare -U -r -m -p -f /bin/sh -c";
    let quoted = format!("{LISTS}{ATTACK}");
    let in_namespace = |enter: &str, label: &str| {
        format!(
            "export SCRIPT='{}'; {enter} \"$SCRIPT\nattack {label}\"",
            escaped(&quoted)
        )
    };
    let pivoted = format!(
        "{quoted}\nmount --make-rprivate / 2>/dev/null || mount -o rprivate /\n\
         mkdir -p /mnt/new && mount --rbind / /mnt/new && cd /mnt/new && \
         pivot_root . mnt 2>/dev/null && cd / && prefix=/mnt && attack pivoted\n\
         cd /; prefix=/mnt/new; attack copied; exit 0"
    );
    for script in [
        format!("{quoted}\nattack here"),
        in_namespace(unshare, "unshared"),
        in_namespace(users, "nested"),
        format!(
            "export SCRIPT='{}'; {unshare} \"$SCRIPT\"",
            escaped(&pivoted)
        ),
        format!("export SCRIPT='{}'; {users} \"$SCRIPT\"", escaped(&pivoted)),
    ] {
        let worked = sh(&guest, &script)?;
        ensure!(worked.is_empty(), "attacks that worked:\n{worked}");
    }
    let controls = format!(
        "export SCRIPT='{}'; {unshare} \"$SCRIPT\"",
        escaped(CONTROLS)
    );
    prints(&guest, &controls, "obeys")?;
    prints(&guest, "cat /opt/ro/nested/deeper/file", "kept")?;
    guest
        .exec(&["sh", "-c", "rm -rf /mnt/a /mnt/own /mnt/moved /mnt/new"])?
        .ok()?;
    guest.finish()
}

/// Text for the inside of single quotes.
fn escaped(script: &str) -> String {
    script.replace('\'', r"'\''")
}
