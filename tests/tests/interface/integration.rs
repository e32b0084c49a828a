//! What of the host appears in a container: name servers and journal, value by value.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{prints, sh, started},
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::without_machine_id;

/// Starts and stops at once.
pub(super) const QUICK: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nInit=/bin/sh\n\
     Parameters=-c \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"\n";

/// The host's file, what stands in it, and the value that shows it.
const FILES: &[(&str, &str, &str)] = &[
    ("/etc/resolv.conf", "192.0.2.1", "bind-host"),
    ("/usr/lib/systemd/resolv.conf", "192.0.2.2", "bind-static"),
    (
        "/run/systemd/resolve/resolv.conf",
        "192.0.2.3",
        "bind-uplink",
    ),
    (
        "/run/systemd/resolve/stub-resolv.conf",
        "192.0.2.4",
        "bind-stub",
    ),
];

/// Every value of `ResolvConf=` shows its file, and the host's is followed.
pub(super) fn resolv_conf(host: &Host) -> Result<()> {
    let kept = "/run/ci-resolv";
    for (number, (file, address, _)) in FILES.iter().enumerate() {
        host.sh(&format!(
            "mkdir -p {kept} $(dirname {file}); [ -e {file} ] && mv {file} {kept}/{number}; echo 'nameserver {address}' >{file}"
        ))?
        .ok()?;
    }
    let judged = each_file(host);
    for (number, (file, _, _)) in FILES.iter().enumerate() {
        host.sh(&format!(
            "rm -f {file}; [ ! -e {kept}/{number} ] || mv {kept}/{number} {file}"
        ))?
        .ok()?;
    }
    host.sh(&format!(
        "rmdir {kept}; rmdir /run/systemd/resolve 2>/dev/null || :"
    ))?
    .ok()?;
    judged
}

fn each_file(host: &Host) -> Result<()> {
    let own = "192.0.2.9";
    for (value, more, want) in FILES
        .iter()
        .map(|(_, address, value)| (*value, "", *address))
        .chain([
            ("off", "", own),
            ("auto", "", own),
            ("auto", "Network=host\n", FILES[0].1),
        ])
    {
        // What the tree has of its own, where it counts.
        let own_file = "BindReadOnly=/run/ci-own-resolv:/etc/resolv.conf\n";
        let own_file = if want == own { own_file } else { "" };
        host.sh(&format!("echo nameserver {own} >/run/ci-own-resolv"))?
            .ok()?;
        let text = format!("{QUICK}ResolvConf={value}\n{more}{own_file}");
        let guest = started(host, "ci-resolv", &text)?;
        prints(
            &guest,
            "cat /etc/resolv.conf",
            &format!("nameserver {want}"),
        )?;
        if value == "bind-host" {
            host.sh(
                "echo 'nameserver 192.0.2.8' >/etc/resolv.new; mv /etc/resolv.new /etc/resolv.conf",
            )?
            .ok()?;
            wait_until(PATIENCE, "the change", || {
                let said = sh(&guest, "cat /etc/resolv.conf")?;
                Ok((said == "nameserver 192.0.2.8").then_some(()))
            })?;
            host.sh("echo 'nameserver 192.0.2.1' >/etc/resolv.conf")?
                .ok()?;
        }
        guest.finish()?;
    }
    host.sh("rm /run/ci-own-resolv")?.ok().map(drop)
}

/// Whether there is a directory for the journal on the host, and for each value whether the container has it.
pub(super) fn link_journal(host: &Host) -> Result<()> {
    let judged = without_machine_id(host, || with_journals(host));
    host.sh("umount -l /var/log/journal 2>/dev/null; rm -rf /var/lib/machines/.journal; mkdir -p /var/log/journal")?
        .ok()?;
    judged
}

fn with_journals(host: &Host) -> Result<()> {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    // The root of a test host is an overlay, which cannot be idmapped.
    host.sh("mkdir -p /var/lib/machines/.journal /var/log/journal && mount --bind /var/lib/machines/.journal /var/log/journal")?
        .ok()?;
    for (value, there, want) in [
        ("no", true, false),
        ("auto", false, false),
        ("auto", true, true),
        ("try-host", false, true),
        ("try-host", true, true),
        ("host", false, true),
    ] {
        let make = if there { "mkdir" } else { ":" };
        host.sh(&format!(
            "rm -rf /var/log/journal/{ID}; {make} /var/log/journal/{ID}"
        ))?
        .ok()?;
        let text = format!(
            "{QUICK}LinkJournal={value}\nMachineID={ID}\nBindReadOnly=/run/ci-id:/etc/machine-id\n"
        );
        host.sh(&format!("echo {ID} >/run/ci-id"))?.ok()?;
        let guest = started(host, "ci-link", &text)?;
        let said = sh(
            &guest,
            &format!(
                "grep -c ' /var/log/journal/{ID} ' /proc/self/mountinfo; touch /var/log/journal/{ID}/made 2>/dev/null; :"
            ),
        )?;
        let made = host
            .sh(&format!("test -e /var/log/journal/{ID}/made"))?
            .status()
            == 0;
        ensure!(
            made == want && said == if want { "1" } else { "0" },
            "LinkJournal={value}, directory {there}: {said} mounts, reached: {made}"
        );
        guest.finish()?;
    }
    host.sh("rm /run/ci-id")?.ok().map(drop)
}
