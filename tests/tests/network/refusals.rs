//! What cannot be made is told in one line that says what to do.

use anyhow::{Result, ensure};
use skep_tests::{guest::started, host::Host};

use super::{
    lan::{Found, Lan, asking},
    refused,
};

/// Declarations that are well-formed, and why they do not start on a host with a [`Lan`].
const REASONS: &[(&str, &[&str])] = &[
    (
        "Network=macvlan:eth9",
        &["find link eth9: ENODEV", "the host has ", "wan0"],
    ),
    (
        "Network=interface:eth9",
        &["find link eth9: ENODEV", "the host has "],
    ),
    (
        "Network=bridge:br9",
        &["find bridge br9: ENODEV", "Network=zone:NAME"],
    ),
    (
        "Network=bridge:wan0",
        &["not a bridge: wan0; it is a veth", "Network=macvlan:wan0"],
    ),
    (
        "Network=macvlan:lan0",
        &["create macvlan of lan0: EBUSY", "member of a bridge"],
    ),
    (
        "Network=interface:lanbr",
        &["move into the container: lanbr: EINVAL"],
    ),
    (
        "Network=veth",
        &[
            "create link ve-net-refused: EEXIST",
            "the host has a bridge link of this name",
        ],
    ),
    (
        "Network=zone:taken,host-address=10.7.7.1/24",
        &["a link of another program has the name vz-taken; HostAddress= is for"],
    ),
    (
        "Network=veth\nAddress=198.51.100.9/25\nHostAddress=198.51.100.1/24",
        &["network taken: the host has a route to 198.51.100.0/24 already"],
    ),
    (
        "Network=bridge:lanbr\nAddress=192.0.2.77/24",
        &["address taken: 192.0.2.77 of net-refused is also that of net-there"],
    ),
    (
        "Network=bridge:lanbr\nMACAddress=02:00:00:00:00:77",
        &[
            "hardware address taken: 02:00:00:00:00:77 of net-refused is also that of net-there in lanbr",
        ],
    ),
    (
        "Network=interface:card0",
        &["link taken: card0 of the host is in container net-there"],
    ),
];

pub(super) fn all(host: &Host) -> Result<()> {
    let _lan = Lan::up(host)?;
    let there = "Network=bridge:lanbr\nAddress=192.0.2.77/24\nMACAddress=02:00:00:00:00:77\nLink=interface:card0\n";
    let there = started(host, "net-there", &asking(there, &[]))?;
    host.sh("ip link add ve-net-refused type bridge; ip link add vz-taken type bridge")?
        .ok()?;
    let judged = REASONS.iter().try_for_each(|(network, reasons)| {
        refused(host, &asking(&format!("{network}\n"), &[]), reasons)
    });
    host.sh("ip link del ve-net-refused; ip link del vz-taken")?
        .ok()?;
    judged?;
    host.sh("ip link show wan0 | grep -q UP")?.ok()?;
    there.finish()?;
    small_pool(host)?;
    without_ipv6(host)
}

/// Three addresses for four.
fn small_pool(host: &Host) -> Result<()> {
    let text =
        "[Container]\nRoot=/var/lib/machines/busybox\nNetwork=veth\nAddressPool=10.99.0.0/28\n";
    for number in 1..=3 {
        host.write(&format!("/etc/skep/net-pool-{number}.container"), text)?;
    }
    let said = host.sh("set +e; skep apply 2>&1; systemctl start skep@net-pool-3 2>&1; systemctl status --full --no-pager skep@net-pool-3; :");
    host.sh("set +e; systemctl reset-failed skep@net-pool-3; rm /etc/skep/net-pool-[123].container; skep apply")?
        .ok()?;
    let said = said?.stdout();
    let reason = "/etc/skep/net-pool-3.container: Network=: no address is left in 10.99.0.0/28; set a larger";
    let times = said.matches(reason).count();
    ensure!(times >= 2, "told {times} times:\n{said}");
    Ok(())
}

/// Many hosts have it switched off.
fn without_ipv6(host: &Host) -> Result<()> {
    let switch = |off: u8| {
        host.sh(&format!(
            "sysctl --quiet --write net.ipv6.conf.default.disable_ipv6={off}"
        ))?
        .ok()
    };
    switch(1)?;
    let judged = ["nat", "veth"].into_iter().try_for_each(|kind| {
        let guest = started(host, "net-four", &asking(&format!("Network={kind}\n"), &[]))?;
        let found = Found::by(&guest)?;
        let own = found.addresses("host0");
        ensure!(own.len() == 1 && own[0].starts_with("10.213."), "{own:?}");
        ensure!(guest.journal()?.contains("the host has no IPv6"));
        guest.finish()
    });
    switch(0)?;
    judged
}
