//! Ids, descriptors, and the files of the host around what a container may touch.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{prints, sh, started};

/// Everything around what the container gets, with bytes, owner, mode and times.
const CANARIES: &str = "for file in /var/lib/machines/.src/canary/outside /var/lib/machines/canary /etc/hostname /etc/passwd /etc/shadow \
     /etc/machine-id /usr/bin/skep /usr/libexec/skep/launcher; do stat -c '%n %u %g %a %Y %Z %s' $file; sha256sum <$file; done";

/// Owners of the tree on disk, as counts; a shifted tree would show others.
const OWNERS: &str = "find /var/lib/machines/canaries -xdev -printf '%U %G\\n' | sort | uniq -c | sort -rn \
     | awk '$2 >= 65536 || $3 >= 65536 { print \"shifted\", $0 } { all += $1 } END { print (all > 100) }'; \
     stat -c '%u %g' /var/lib/machines/canaries /var/lib/machines/canaries/etc/passwd";

pub(super) fn canaries(host: &Host) -> Result<()> {
    host.scratch_guest("debian-12", "canaries")?;
    let judged = host.between("mkdir -p /var/lib/machines/.src/canary/bound /var/lib/machines/.src/canary/plain && echo bytes >/var/lib/machines/.src/canary/outside \
         && echo bytes >/var/lib/machines/canary && chown 12:34 /var/lib/machines/.src/canary/outside",
        "rm -rf /var/lib/machines/.src/canary /var/lib/machines/canary",
        || canaries_of(host),
    );
    host.remove_guest("canaries")?;
    judged
}

fn canaries_of(host: &Host) -> Result<()> {
    let before = host.sh(CANARIES)?.ok()?;
    let text = "[Container]\nRoot=/var/lib/machines/canaries\nBind=/var/lib/machines/.src/canary/bound:/opt/bound\n\
                Bind=/var/lib/machines/.src/canary/plain:/opt/plain:noidmap\n";
    let guest = started(host, "canaries", text)?;
    let base = base(&guest)?;
    // Out through every relative way there is, then everything owned here.
    sh(
        &guest,
        "cd /opt/bound && for up in .. ../.. ../../../../..; do \
         for file in outside canary/outside srv/canary/outside ../canary; do \
         echo broken >>$up/$file; chown 0:0 $up/$file; rm -f $up/$file; done; done 2>/dev/null; \
         ln -s ../outside escape; ln -s /etc/passwd /opt/bound/passwd; echo mine >file && mkdir directory \
         && chown 1000:1000 directory; exit 0",
    )?;
    // Ids of the container that have no place below an unmapped directory of host root's.
    let plain = guest.exec(&["sh", "-c", "echo mine >/opt/plain/file"])?;
    ensure!(
        plain.status() != 0,
        "a stranger wrote to host root's directory"
    );
    host.exec([
        "chown",
        &base.to_string(),
        "/var/lib/machines/.src/canary/plain",
    ])?
    .ok()?;
    sh(&guest, "echo mine >/opt/plain/file")?;
    let owners = host
        .sh("cd /var/lib/machines/.src/canary; stat -c '%u %g' bound/file bound/directory plain/file; readlink bound/escape")?
        .ok()?;
    ensure!(
        owners == format!("0 0\n1000 1000\n{base} {base}\n../outside"),
        "owners on the host are {owners:?}, base {base}"
    );
    prints(
        &guest,
        "stat -c '%u %g' /opt/bound/file /opt/plain/file",
        "0 0\n0 0",
    )?;
    guest.finish()?;
    let after = host.sh(CANARIES)?.ok()?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    let owners = host.sh(OWNERS)?.ok()?;
    ensure!(owners == "1\n0 0\n0 0", "owners of the tree: {owners}");
    Ok(())
}

/// First host id of a running container; checks both maps.
fn base(guest: &Guest<'_>) -> Result<u32> {
    let map = sh(guest, "cat /proc/1/uid_map /proc/self/gid_map")?;
    let lines: Vec<Vec<u32>> = map
        .lines()
        .map(|line| line.split_whitespace().map(str::parse).collect())
        .collect::<Result<_, _>>()?;
    let base = lines.first().and_then(|line| line.get(1)).copied();
    let base = base.context("no map")?;
    ensure!(
        lines == [[0, base, 65536], [0, base, 65536]],
        "the maps are {map:?}"
    );
    Ok(base)
}

pub(super) fn five_ranges(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";
    let names = ["range-1", "range-2", "range-3", "range-4", "range-5"];
    let guests = names
        .iter()
        .map(|name| started(host, name, text))
        .collect::<Result<Vec<_>>>()?;
    let bases = guests.iter().map(base).collect::<Result<BTreeSet<_>>>()?;
    let apart = bases
        .iter()
        .zip(bases.iter().skip(1))
        .all(|(low, high)| high - low >= 65536);
    ensure!(bases.len() == 5 && apart, "the ranges begin at {bases:?}");
    println!("ranges begin at {bases:?}");
    ensure!(bases.iter().all(|base| base % 65536 == 0 && *base >= 65536));
    guests.into_iter().rev().try_for_each(Guest::finish)
}

/// Every descriptor of the init, of its services and of an entered command is the container's own.
pub(super) fn no_host_descriptor(host: &Host) -> Result<()> {
    for tree in ["busybox", "debian-12"] {
        let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\nEphemeral=yes\n");
        let guest = started(host, &format!("fds-{tree}"), &text)?;
        // What the init was given: its console three times, and nothing else before it opened its own.
        let links = sh(
            &guest,
            "for fd in /proc/[0-9]*/fd/*; do echo \"${fd%/fd/*} $(readlink $fd) $(stat -L -c '%d' $fd 2>/dev/null)\"; done",
        )?;
        // A mount that is not in the container's table belongs to the host.
        let strange: Vec<&str> = links
            .lines()
            .filter(|line| {
                let object = line.split(' ').nth(1).unwrap_or_default();
                [
                    "/run/skep",
                    "/srv",
                    "/var/lib/machines",
                    "/usr/libexec/skep",
                    "/memfd:skep",
                    "/sys/fs/cgroup/machine",
                ]
                .iter()
                .any(|path| object.starts_with(path))
                    || line.contains("(unreachable)")
            })
            .collect();
        ensure!(strange.is_empty(), "descriptors of the host: {strange:?}");
        ensure!(links.lines().count() > 5, "saw only {links:?}");
        // A command from outside has pipes and what it opened itself.
        let own = guest
            .exec(&[
                "/bin/sh",
                "-c",
                "ls -l /proc/$$/fd | awk 'NR > 1 { print $NF }'",
            ])?
            .ok()?;
        ensure!(
            own.lines().count() <= 4 && own.lines().take(3).all(|fd| fd.starts_with("pipe:")),
            "an entered command holds {own:?}"
        );
        // Walking up from every directory that any process holds ends at the container's root.
        prints(
            &guest,
            "for dir in /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/fd/*; do [ ! -d $dir/ ] || \
             [ \"$(stat -c '%d:%i' $dir/../../../../../../../../..)\" = \"$(stat -c '%d:%i' /)\" ] || echo $dir; done; echo done",
            "done",
        )?;
        guest.finish()?;
    }
    Ok(())
}
