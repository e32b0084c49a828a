//! Checks C19-C26: journal, shutdown, sockets, readiness, network.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    interface::Sheet,
};

use super::{DEBIAN, settled, without_machine_id};

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    shutdown(host, sheet)?;
    let guest = started(host, "ci-svc", DEBIAN)?;
    readiness(&guest, sheet)?;
    guest.finish()?;
    journal(host, sheet)?;
    sockets(host, sheet)?;
    links(host, sheet)
}

/// A journal that the container writes below the host's, and one that it may not.
fn journal(host: &Host, sheet: &mut Sheet) -> Result<()> {
    // The root of a test host is an overlay, which cannot be idmapped.
    host.sh("mkdir -p /var/lib/machines/.journal /var/log/journal && mount --bind /var/lib/machines/.journal /var/log/journal")?
        .ok()?;
    let judged = without_machine_id(host, || journal_of(host, sheet));
    host.sh("umount -l /var/log/journal; rm -rf /var/lib/machines/.journal")?
        .ok()?;
    judged
}

fn journal_of(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-log", &format!("{DEBIAN}LinkJournal=host\n"))?;
    settled(&guest)?;
    let id = sh(
        &guest,
        "cat /run/host/container-uuid; logger -t ci-said found-it; journalctl --sync",
    )?;
    sheet.outside(
        host,
        "C19",
        "journalctl --merge of the host shows it",
        "journalctl --merge --no-pager --output=cat --identifier=ci-said",
        "found-it",
    );
    sheet.outside(
        host,
        "C19",
        "in a directory of its machine id, owned by root",
        &format!("stat -c %u /var/log/journal/{id} /var/log/journal/{id}/system.journal"),
        "0\n0",
    );
    let of_host = host.sh("cat /etc/machine-id")?.ok()?;
    host.sh(&format!("mkdir -p /var/log/journal/{of_host}"))?
        .ok()?;
    sheet.inside(
        &guest,
        "C19",
        "of the host's journals it sees its own only",
        &format!("ls -d /var/log/journal/{of_host} 2>/dev/null; \
         mknod /var/log/journal/*/zero c 1 5 2>/dev/null && cat /var/log/journal/*/zero 2>/dev/null | head -c 1 | wc -c; \
         rm -f /var/log/journal/*/zero; echo end"),
        "end",
    );
    guest.finish()?;
    // One that claims the journal of another.
    host.scratch_guest("busybox", "ci-claim")?;
    host.sh(&format!(
        "echo {id} >/var/lib/machines/ci-claim/etc/machine-id"
    ))?
    .ok()?;
    let guest = Guest::declare(host, "ci-claim", "[Container]\nLinkJournal=host\n")?;
    let failed = host.exec(["systemctl", "start", &guest.unit()])?.status() != 0;
    let said = guest.property("StatusText")?;
    let judged = || -> Result<()> {
        ensure!(
            failed && said.contains("has a machine id of its own"),
            "{said}"
        );
        Ok(())
    };
    sheet.fact(
        "C19",
        "another's machine id in a tree gives nothing",
        judged(),
    );
    host.sh(&format!("systemctl reset-failed {}", guest.unit()))?
        .ok()?;
    drop(guest);
    host.remove_guest("ci-claim")
}

const SOCKET: &str =
    "[Socket]\nListenStream=127.0.0.1:4711\nListenStream=/run/ci.sock\nFileDescriptorName=ci\n";

/// Says who answers.
const ANSWER: &str = "[Service]\nExecStart=/bin/sh -c 'cat /run/host/container-uuid'\nStandardInput=socket\nStandardOutput=socket\n";

/// A socket of the host starts the container and is served by a socket unit in there.
fn sockets(host: &Host, sheet: &mut Sheet) -> Result<()> {
    host.write(
        "/etc/systemd/system/ci-in.socket",
        format!("{SOCKET}Service=skep@ci-sock.service\n"),
    )?;
    let units = "/var/lib/machines/.ci";
    let inside = SOCKET.replace("FileDescriptorName=ci\n", "Accept=yes\n");
    host.write(&format!("{units}/ci.socket"), inside)?;
    host.write(&format!("{units}/ci@.service"), ANSWER)?;
    host.write(&format!("{units}/ci.conf"), "[Unit]\nWants=ci.socket\n")?;
    let mut text = DEBIAN.to_owned();
    for (file, target) in [
        ("ci.socket", "ci.socket"),
        ("ci@.service", "ci@.service"),
        ("ci.conf", "sockets.target.d/ci.conf"),
    ] {
        text += &format!("BindReadOnly={units}/{file}:/etc/systemd/system/{target}\n");
    }
    let guest = Guest::declare(host, "ci-sock", &text)?;
    host.sh("systemctl daemon-reload && systemctl start ci-in.socket")?
        .ok()?;
    let ask = "python3 -c 'import socket; s = socket.create_connection((\"127.0.0.1\", 4711)); s.settimeout(30); print(s.recv(99).decode().strip())'";
    let name = sh_or(host, ask);
    let judged = || -> Result<()> {
        ensure!(name.len() == 32, "{name:?}");
        Ok(())
    };
    sheet.fact(
        "C21",
        "the first connection starts it and is answered from inside",
        judged(),
    );
    sheet.inside(
        &guest,
        "C21",
        "told in the environment, in order",
        "tr '\\000' '\\n' </proc/1/environ | grep '^LISTEN_'",
        "LISTEN_PID=1\nLISTEN_FDS=2\nLISTEN_FDNAMES=ci:ci",
    );
    host.exec(["skep", "exec", "ci-sock", "--", "systemctl", "reboot"])?;
    let again = sh_or(host, &format!("sleep 1; {ask}"));
    let judged = || -> Result<()> {
        ensure!(again == name, "{again:?}");
        Ok(())
    };
    sheet.fact("C21", "and after a reboot", judged());
    host.sh("systemctl stop ci-in.socket && rm -r /etc/systemd/system/ci-in.socket /var/lib/machines/.ci && systemctl daemon-reload; rm -f /run/ci.sock")?
        .ok()?;
    guest.finish()
}

fn sh_or(host: &Host, script: &str) -> String {
    let done = host.sh(script).and_then(|done| done.ok());
    done.unwrap_or_else(|error| format!("{error:#}"))
}

/// A stop at any time is clean and quick.
fn shutdown(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = Guest::declare(host, "ci-stop", DEBIAN)?;
    let unit = guest.unit();
    for delay in ["0", "0.05", "0.5", "settled"] {
        if delay == "settled" {
            guest.systemctl("start")?;
            settled(&guest)?;
        } else {
            host.sh(&format!("systemctl start --no-block {unit}; sleep {delay}"))?
                .ok()?;
        }
        let took = guest.systemctl("stop")?;
        let ended = (guest.property("ActiveState")?, guest.property("Result")?);
        let judged = || -> Result<()> {
            ensure!(took < Duration::from_secs(15), "took {took:?}");
            ensure!(ended == ("inactive".into(), "success".into()), "{ended:?}");
            Ok(())
        };
        sheet.fact("C20", &format!("stopped after {delay}"), judged());
    }
    let journal = guest.journal()?;
    let judged = || -> Result<()> {
        ensure!(
            journal.contains("SIGRTMIN+3")
                || journal.contains("Powering")
                || journal.contains("Halting"),
            "{journal}"
        );
        Ok(())
    };
    sheet.fact("C20", "the container's systemd shut down", judged());
    guest.finish()
}

fn readiness(guest: &Guest<'_>, sheet: &mut Sheet) -> Result<()> {
    // systemctl start returned with the default target reached.
    sheet.inside(
        guest,
        "C23",
        "started when the container has reached its target",
        "systemctl is-active default.target; tr '\\000' '\\n' </proc/1/environ | grep NOTIFY_SOCKET",
        "active\nNOTIFY_SOCKET=/run/host/notify",
    );
    let before = guest.property("StatusText")?;
    sheet.inside(
        guest,
        "C23",
        "any process may send",
        "NOTIFY_SOCKET=/run/host/notify systemd-notify --status=ci-forged; NOTIFY_SOCKET=/run/host/notify systemd-notify --stopping; echo sent",
        "sent",
    );
    let after = guest.property("StatusText")?;
    let state = guest.property("ActiveState")?;
    let judged = || -> Result<()> {
        ensure!(
            !after.contains("ci-forged") && state == "active",
            "{before} {after} {state}"
        );
        Ok(())
    };
    sheet.fact("C23", "only PID 1 is heard", judged());
    Ok(())
}

/// Names of links, where there are any.
fn links(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let text = format!("{DEBIAN}Network=veth\n");
    let Ok(guest) = Guest::declare(host, "ci-veth", &text) else {
        host.sh("rm -f /etc/skep/ci-veth.container; skep apply")?
            .ok()?;
        for check in ["C24", "C25", "C26"] {
            sheet.differs(
                check,
                "no veth in this version: loopback or the host's network",
            );
        }
        return Ok(());
    };
    guest.systemctl("start")?;
    sheet.inside(
        &guest,
        "C24",
        "host0",
        "ls /sys/class/net | grep -x host0",
        "host0",
    );
    sheet.outside(
        host,
        "C25",
        "ve-NAME",
        "ls /sys/class/net | grep -x ve-ci-veth",
        "ve-ci-veth",
    );
    let macs = "cat /sys/class/net/ve-ci-veth/address; skep exec ci-veth -- cat /sys/class/net/host0/address";
    let before = host.sh(macs)?.ok()?;
    guest.systemctl("restart")?;
    sheet.outside(host, "C26", "the same after a restart", macs, &before);
    guest.finish()
}
