//! Checks C19-C26: journal, shutdown, sockets, readiness, network.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    interface::Sheet,
};

use super::{DEBIAN, settled};

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    shutdown(host, sheet)?;
    let guest = started(host, "ci-svc", DEBIAN)?;
    readiness(&guest, sheet)?;
    guest.finish()?;
    links(host, sheet)
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
