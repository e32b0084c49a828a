//! Fifty containers on one bridge.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    host::Host,
    wait::{timed, wait_until},
};

use super::lan::{Lan, answered, asking};

const MANY: usize = 50;

/// All numbers, for a loop.
const EACH: &str = "for n in $(seq 50)";

pub(super) fn fifty(host: &Host) -> Result<()> {
    let before = host.snapshot()?;
    let lan = Lan::up(host)?;
    host.exec(["systemctl", "stop", "net-host"])?.ok()?;
    let text = asking(
        "Network=nat\n[Install]\nWantedBy=multi-user.target\n",
        &["gateway"],
    );
    host.write("/run/net-test/many", text)?;
    // The host's boot must find the script.
    host.sh(&format!(
        "cp /run/net-test/first.pl /var/lib/net-many.pl; systemctl stop skep.path
         sed -i 's,/run/net-test/first.pl:/first.pl,/var/lib/net-many.pl:/first.pl:noidmap,' /run/net-test/many
         {EACH}; do cp /run/net-test/many /etc/skep/net-many-$n.container; done; skep apply >/dev/null; systemctl start skep.path"
    ))?
    .ok()?;
    let judged = come_and_go(host, &lan);
    drop(lan);
    host.sh(&format!(
        "{EACH}; do echo skep@net-many-$n; done | xargs systemctl stop; rm -f /etc/skep/net-many-* /var/lib/net-many.pl; skep apply >/dev/null"
    ))?
    .ok()?;
    judged?;
    let mut changes = Vec::new();
    wait_until(Duration::from_secs(10), "the host to be as before", || {
        changes = before.changes(&host.snapshot()?);
        Ok(changes.is_empty().then_some(()))
    })
    .map_err(|error| error.context(changes.join("\n")))
}

fn come_and_go(host: &Host, lan: &Lan<'_>) -> Result<()> {
    let start = format!("{EACH}; do echo skep@net-many-$n; done | xargs systemctl start");
    let (done, took) = timed(|| host.sh(&start));
    done?.ok()?;
    println!("{MANY} containers on nat: started in {took:?}");
    let first = addresses(host)?;
    let all: Vec<&str> = first.iter().map(String::as_str).collect();
    let said = lan.ask(&all)?;
    answered(&said, all.len(), &["10.213.0.1", &bridge(host)?])?;
    names(host, &first)?;
    let stop = format!("{EACH}; do echo skep@net-many-$n; done | xargs systemctl stop");
    let (done, took) = timed(|| host.sh(&stop));
    done?.ok()?;
    println!("stopped in {took:?}");
    let left = host.sh(
        "ls -A /run/skep/network; ls /sys/class/net | grep -E '^(vb-|skep)' || :; nft list tables",
    )?;
    ensure!(
        left.ok()?.lines().all(|line| line.starts_with('.')),
        "something is left"
    );
    host.reboot()?;
    let (again, took) = timed(|| addresses(host));
    let again = again?;
    println!("after the host's boot they were there within {took:?}");
    ensure!(
        again == first,
        "not the same addresses after a boot of the host: {again:?}, before {first:?}"
    );
    Ok(())
}

/// The host knows all of them, and so does each of them.
fn names(host: &Host, addresses: &[String]) -> Result<()> {
    let listed = host.sh("cat /run/skep/hosts")?.ok()?;
    let ask = format!(
        "{EACH}; do getent ahostsv4 net-many-$n.containers | head -n 1; getent ahostsv4 net-many-$n | head -n 1; done"
    );
    let inside = host
        .exec(["skep", "exec", "net-many-33", "--", "sh", "-c", &ask])?
        .ok()?;
    let inside: Vec<&str> = inside
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .collect();
    let v4: Vec<&String> = addresses.iter().filter(|ip| !ip.contains(':')).collect();
    let twice: Vec<&String> = v4.iter().flat_map(|ip| [*ip, *ip]).collect();
    // Its own name is its own affair.
    let own = 2 * 32..2 * 33;
    ensure!(inside.len() == twice.len(), "{inside:?}");
    for (number, (got, want)) in inside.iter().zip(&twice).enumerate() {
        ensure!(
            own.contains(&number) || got == want,
            "{number}: {got} and not {want}"
        );
    }
    for (number, ip) in v4.iter().enumerate() {
        let name = format!("net-many-{}.containers", number + 1);
        let known = listed.lines().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some(ip.as_str()) && words.any(|word| word == name)
        });
        ensure!(known, "{ip} is not {name}:\n{listed}");
    }
    Ok(())
}

fn bridge(host: &Host) -> Result<String> {
    host.sh(
        "ip -6 -o address show dev skep0 scope global | awk '{sub(\"/.*\", \"\", $4); print $4}'",
    )?
    .ok()
}

/// All addresses, in order of the containers.
fn addresses(host: &Host) -> Result<Vec<String>> {
    let script = format!(
        "{EACH}; do skep exec net-many-$n -- cat /run/found 2>/dev/null | grep ' host0 .*scope global' | awk '{{sub(\"/.*\", \"\", $4); print $4}}'; done"
    );
    let mut found = Vec::new();
    wait_until(Duration::from_secs(40), "all first processes", || {
        found = host
            .sh(&script)?
            .stdout()
            .lines()
            .map(str::to_owned)
            .collect();
        Ok((found.len() == 2 * MANY).then_some(()))
    })
    .map_err(|error| error.context(format!("{} addresses", found.len())))?;
    let different: BTreeSet<_> = found.iter().collect();
    ensure!(
        different.len() == 2 * MANY,
        "only {} different ones",
        different.len()
    );
    Ok(found)
}
