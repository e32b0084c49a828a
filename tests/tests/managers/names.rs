//! Names of containers on the host and in each other, and name servers.

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::internet;

const NAT: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nNetwork=nat\n";

/// The address of a name, asked for in `place`; empty when there is none.
const ASK: &str = "getent ahostsv4 NAME | awk 'NR == 1 { print $1 }'";

fn asked(name: &str) -> String {
    ASK.replace("NAME", name)
}

fn address(guest: &Guest<'_>) -> Result<String> {
    sh(
        guest,
        "ip -4 -brief address show dev host0 | awk '{ sub(\"/.*\", \"\", $3); print $3 }'",
    )
}

/// Three containers on one bridge find each other, and the host finds them, with and without systemd-machined.
pub(crate) fn resolve(host: &Host) -> Result<()> {
    let kept = host.sh("cat /etc/hosts")?.ok()?;
    let judged = resolve_with(host, &kept);
    host.write("/etc/hosts", format!("{kept}\n"))?;
    judged
}

fn resolve_with(host: &Host, kept: &str) -> Result<()> {
    if !kept.contains("# BEGIN skep\n# END skep") {
        host.sh("printf '# BEGIN skep\\n# END skep\\n' >>/etc/hosts")?
            .ok()?;
    }
    let before = host.sh("cat /etc/hosts")?.ok()?;
    let one = started(host, "one", NAT)?;
    let two = started(host, "two", NAT)?;
    let three = started(host, "three", NAT)?;
    let pair = started(host, "pair", &NAT.replace("nat", "veth"))?;
    let all = [("one", &one), ("two", &two), ("three", &three)];
    let find_each_other = || -> Result<()> {
        for (name, guest) in all {
            let want = address(guest)?;
            for name in [name.to_owned(), format!("{name}.containers")] {
                let found = host.sh(&asked(&name))?.ok()?;
                ensure!(
                    found == want,
                    "the host finds {name} at {found}, not {want}"
                );
                for (place, other) in all {
                    soon(other, &name, &want).with_context(|| place.to_owned())?;
                }
            }
            let machined = host
                .sh(&format!(
                    "getent -s mymachines ahostsv4 {name} | awk 'NR == 1 {{ print $1 }}'"
                ))?
                .ok()?;
            ensure!(
                machined == want,
                "machined has {name} at {machined}, not {want}"
            );
        }
        Ok(())
    };
    find_each_other()?;
    let (found, want) = (host.sh(&asked("pair.containers"))?.ok()?, address(&pair)?);
    ensure!(found == want && !want.is_empty(), "{found}, not {want}");
    // It is on no bridge, and nobody there knows it.
    prints(&one, &asked("pair.containers"), "")?;
    prints(
        &one,
        "grep -c localhost /etc/hosts; { echo x >>/etc/hosts; } 2>/dev/null || echo refused",
        "2\nrefused",
    )?;
    pair.finish()?;
    three.systemctl("stop")?;
    soon(&one, "three.containers", "")?;
    soon(&one, "three", "")?;
    three.systemctl("start")?;
    find_each_other().context("after a stop and a start")?;
    three.finish()?;
    two.finish()?;
    // Who does not want them there keeps the file as it is, and has the snippet.
    host.write("/etc/hosts", "127.0.0.1 localhost\n")?;
    let two = started(host, "two", NAT)?;
    let hosts = host.sh("cat /etc/hosts")?.ok()?;
    ensure!(hosts == "127.0.0.1 localhost", "{hosts}");
    let snippet = host.sh("cat /run/skep/hosts")?.ok()?;
    let want = format!("{} two.containers two", address(&two)?);
    ensure!(snippet.contains(&want), "{snippet}");
    two.finish()?;
    host.write("/etc/hosts", format!("{before}\n"))?;
    one.finish()?;
    let after = host
        .sh("cat /etc/hosts; cat /run/skep/hosts; ls /run/skep/names")?
        .ok()?;
    ensure!(after == before, "{after}");
    Ok(())
}

/// Fails unless the container soon finds the name at that address.
fn soon(guest: &Guest<'_>, name: &str, want: &str) -> Result<()> {
    let mut last = String::new();
    wait_until(PATIENCE, "a name", || {
        last = sh(guest, &format!("{} || true", asked(name)))?;
        Ok((last == want).then_some(()))
    })
    .with_context(|| format!("{name} is at {last:?}, not {want:?}"))
}

/// A masqueraded container has the name servers of the host that it can reach, as they are and as they become.
pub(crate) fn servers(host: &Host) -> Result<()> {
    let judged = internet::with(host, || servers_with(host));
    host.sh("rm -rf /run/systemd/resolve /run/NetworkManager")?
        .ok()?;
    judged
}

fn servers_with(host: &Host) -> Result<()> {
    let guest = started(host, "served", NAT)?;
    let www = asked("www.example");
    prints(&guest, &www, internet::ANSWER)?;
    let becomes = |want: &str| -> Result<()> {
        let mut last = String::new();
        wait_until(PATIENCE, "resolv.conf to follow", || {
            last = sh(&guest, "grep -v '^# Written' /etc/resolv.conf")?;
            Ok((last == want).then_some(()))
        })
        .with_context(|| format!("{last:?}, not {want:?}"))
    };
    // systemd-resolved: its stub is on the host's loopback, what it asks is in another file.
    let resolved = format!("nameserver {}", internet::SERVER);
    host.sh("mkdir -p /run/systemd/resolve; echo 'nameserver 127.0.0.53' >/etc/resolv.conf")?
        .ok()?;
    becomes("# The host has no name server that can be reached from here; set DNS=.")?;
    ensure!(
        guest
            .journal()?
            .contains("no name server of the host can be reached")
    );
    host.sh(&format!(
        "echo '{resolved}' >/run/systemd/resolve/resolv.conf"
    ))?
    .ok()?;
    becomes(&resolved)?;
    prints(&guest, &www, internet::ANSWER)?;
    // The dnsmasq of NetworkManager: the same.
    host.sh("rm -r /run/systemd/resolve; mkdir -p /run/NetworkManager; echo 'nameserver 192.0.2.7' >/run/NetworkManager/no-stub-resolv.conf")?
        .ok()?;
    becomes("nameserver 192.0.2.7")?;
    host.sh("rm -r /run/NetworkManager")?.ok()?;
    host.sh("printf 'nameserver 192.0.2.1\\nsearch example.org\\n' >/run/new && mv /run/new /etc/resolv.conf")?
        .ok()?;
    becomes("nameserver 192.0.2.1\nsearch example.org")?;
    guest.finish()?;
    // Declared ones stay; without a file of ours there is the tree's, or none.
    let guest = started(host, "served", &format!("{NAT}DNS={}\n", internet::SERVER))?;
    prints(&guest, &www, internet::ANSWER)?;
    guest.finish()?;
    let guest = started(host, "served", &format!("{NAT}ResolvConf=off\n"))?;
    prints(&guest, "cat /etc/resolv.conf 2>/dev/null; true", "")?;
    guest.finish()?;
    let guest = started(host, "served", &format!("{NAT}ResolvConf=bind-host\n"))?;
    prints(
        &guest,
        "cat /etc/resolv.conf",
        "nameserver 192.0.2.1\nsearch example.org",
    )?;
    guest.finish()
}
