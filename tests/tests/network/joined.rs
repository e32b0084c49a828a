//! Networks that are there already: of a file, or of another container.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    wait::wait_until,
};

use super::{
    lan::{Found, Lan, asking},
    refused,
};

/// How long a reboot may take.
const LIMIT: Duration = Duration::from_secs(40);

pub(super) fn of_others(host: &Host) -> Result<()> {
    let _lan = Lan::up(host)?;
    host.sh("ip netns exec world ip link set lo up")?.ok()?;
    let own = ["198.51.100.2", "2001:db8:1::2"];
    let text = asking(
        "Network=netns:/run/netns/world\n",
        &["192.0.2.1", "2001:db8:2::1"],
    );
    // The server of the namespace has the port.
    host.exec(["systemctl", "stop", "net-world"])?.ok()?;
    let guest = started(host, "net-ns", &text)?;
    let found = Found::by(&guest)?;
    found.answered(2, &["192.0.2.2", "2001:db8:2::2"])?;
    found.has(&own)?;
    let links = sh(&guest, "ls /sys/class/net")?;
    ensure!(links.contains("wan1"), "{links}");
    // It is a guest in there.
    ensure!(
        guest
            .exec(&["ip", "link", "set", "wan1", "mtu", "1300"])?
            .status()
            != 0
    );
    guest.finish()?;
    ensure!(host.sh("ip -n world link show wan1 | grep -q UP")?.status() == 0);

    host.sh("echo no >/run/net-test/file")?.ok()?;
    for (network, reasons) in [
        (
            "netns:/run/net-test/none",
            &["open /run/net-test/none: ENOENT", "ip netns add"][..],
        ),
        (
            "netns:/run/net-test/file",
            &["/run/net-test/file: EINVAL", "not a network namespace"],
        ),
        (
            "netns:/proc/1/ns/net",
            &["no network of its own has /proc/1/ns/net", "Network=host"],
        ),
    ] {
        refused(host, &asking(&format!("Network={network}\n"), &[]), reasons)?;
    }
    shared(host)
}

/// The network of a container, through everything that may happen to that one.
fn shared(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";
    let first = Guest::declare(host, "net-first", &format!("{text}Network=nat\n"))?;
    let second = Guest::declare(
        host,
        "net-second",
        &format!("{text}Network=container:net-first\n"),
    )?;
    // A program that knows no reboot.
    let third = Guest::declare(
        host,
        "net-third",
        &format!(
            "{text}Network=container:net-first\nInit=/bin/sleep\nParameters=1000000\nProcessTwo=yes\n"
        ),
    )?;
    // The other is started first.
    second.systemctl("start")?;
    third.systemctl("start")?;
    let address = |guest: &Guest<'_>| sh(guest, "ip -4 -o addr show host0 | awk '{print $4}'");
    let space = |guest: &Guest<'_>| guest.exec(&["readlink", "/proc/self/ns/net"])?.ok();
    ensure!(first.property("ActiveState")? == "active");
    ensure!(address(&first)? == address(&second)? && space(&first)? == space(&second)?);
    let old = space(&first)?;
    host.exec(["skep", "reboot", "net-first"])?.ok()?;
    wait_until(LIMIT, "the reboot", || {
        Ok(space(&first).is_ok_and(|new| new != old).then_some(()))
    })?;
    for other in [&second, &third] {
        wait_until(LIMIT, "the others to follow", || {
            let both = [space(&first), space(other)];
            Ok(matches!(&both, [Ok(a), Ok(b)] if a == b).then_some(()))
        })
        .with_context(|| other.status().unwrap_or_default())?;
    }
    ensure!(
        second
            .journal()?
            .contains("whose network this one shares has ended")
    );
    // It ends by itself.
    first.exec(&["poweroff", "-f"])?;
    for guest in [&first, &second, &third] {
        wait_until(LIMIT, "the end", || {
            let state = (guest.property("ActiveState")?, guest.property("Result")?);
            Ok((state == ("inactive".into(), "success".into())).then_some(()))
        })
        .with_context(|| guest.status().unwrap_or_default())?;
    }
    second.systemctl("start")?;
    third.systemctl("start")?;
    first.systemctl("stop")?;
    for guest in [&second, &third] {
        ensure!(
            guest.property("ActiveState")? == "inactive",
            "{}",
            guest.status()?
        );
    }
    third.finish()?;
    second.finish()?;
    first.finish()?;

    let plain = started(host, "net-first", &format!("{text}Network=host\n"))?;
    let of_it = format!("{text}Network=container:net-first\n");
    refused(
        host,
        &of_it,
        &[
            "no network of its own has container net-first",
            "Network=host",
        ],
    )?;
    plain.finish()?;
    let unknown = format!("{text}Network=container:net-nobody\n");
    let guest = Guest::declare(host, "net-alone", &unknown)?;
    let said = host.exec(["systemctl", "start", &guest.unit()])?;
    ensure!(
        said.status() != 0 && said.stderr().contains("net-nobody"),
        "{}",
        said.stderr()
    );
    guest.finish()
}
