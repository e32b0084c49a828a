//! What is around the containers: another network namespace that plays everybody else, and the words of `peer.pl`.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::{Done, Host},
    wait::wait_until,
};

/// Asks, answers, forges and listens; see there.
const PEER: &str = include_str!("peer.pl");

/// Where it is on the host.
pub(crate) const SCRIPT: &str = "/run/ports-test/peer.pl";

/// Everybody else's address on the way out.
pub(crate) const WORLD: [&str; 2] = ["198.51.100.2", "2001:db8:1::2"];

const DOWN: &str = "set +e; exec 2>/dev/null; systemctl stop 'ports-*.service'; \
    systemctl reset-failed 'ports-*'; ip link del wan0; ip link del far0; ip link del portsbr; nft delete table ip spy; ip netns del world; umount /run/netns; \
    rmdir /run/netns; rm -rf /run/ports-test; :";

/// `world` has no way back into the networks of containers but one through the host, and a second link to it whose other
/// side only a router would lead to.
const UP: &str = "ip netns add world; ip -n world link set lo up
for pair in 'wan0 wan1' 'far0 far1'; do set -- $pair
    ip link add $1 type veth peer name $2 netns world; ip link set $1 up; ip -n world link set $2 up; done
ip address add 198.51.100.1/24 dev wan0; ip address add 2001:db8:1::1/64 dev wan0 nodad
ip -n world address add 198.51.100.2/24 dev wan1; ip -n world address add 2001:db8:1::2/64 dev wan1 nodad
ip address add 203.0.113.1/24 dev far0
ip -n world route add 10.213.0.0/16 via 198.51.100.1
systemd-run --quiet --unit=ports-world ip netns exec world perl /run/ports-test/peer.pl serve world 80 81";

/// The surroundings, until dropped.
pub(crate) struct Around<'a>(&'a Host);

impl<'a> Around<'a> {
    pub(crate) fn up(host: &'a Host) -> Result<Around<'a>> {
        host.sh(DOWN)?.ok()?;
        host.write(SCRIPT, PEER)?;
        let around = Around(host);
        host.sh(UP)?.ok()?;
        wait_until(Duration::from_secs(10), "the server", || {
            let said = around.host(&["tcp:198.51.100.2:80", "udp:2001:db8:1::2:81"])?;
            Ok((said.matches("sees").count() == 2).then_some(()))
        })?;
        Ok(around)
    }

    /// What the host is answered.
    pub(crate) fn host(&self, targets: &[&str]) -> Result<String> {
        self.0
            .sh(&format!("perl {SCRIPT} ask {}", targets.join(" ")))?
            .ok()
    }

    /// What somebody else is answered.
    pub(crate) fn world(&self, targets: &[&str]) -> Result<String> {
        let targets = targets.join(" ");
        self.0
            .sh(&format!("ip netns exec world perl {SCRIPT} ask {targets}"))?
            .ok()
    }

    /// Runs a command as a unit of the host, until it has said that it is there.
    pub(crate) fn service(&self, unit: &str, command: &str) -> Result<()> {
        self.0
            .sh(&format!(
                "systemctl reset-failed {unit} 2>/dev/null || :; \
                 systemd-run --quiet --collect --unit={unit} --property=StandardOutput=truncate:/run/ports-test/{unit} \
                 {command}"
            ))?
            .ok()?;
        wait_until(Duration::from_secs(10), unit, || {
            Ok((!self.said(unit)?.is_empty()).then_some(()))
        })
    }

    /// What such a unit has said so far.
    pub(crate) fn said(&self, unit: &str) -> Result<String> {
        Ok(self
            .0
            .sh(&format!("cat /run/ports-test/{unit} 2>/dev/null || :"))?
            .stdout())
    }

    /// Ends such a unit.
    pub(crate) fn end(&self, unit: &str) -> Result<Done> {
        self.0.exec(["systemctl", "stop", unit])
    }
}

impl Drop for Around<'_> {
    fn drop(&mut self) {
        let _ = self.0.sh(DOWN);
    }
}

/// A container that answers on these ports.
pub(crate) fn serving(name: &str, ports: &str, network: &str) -> String {
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n\
         Init=/usr/bin/perl\nBindReadOnly={SCRIPT}:/peer.pl\nParameters=/peer.pl serve {name} {ports}\n{network}"
    )
}

/// Waits until the server in a container is there.
pub(crate) fn serves(guest: &Guest<'_>, port: u16) -> Result<()> {
    let target = format!("tcp:127.0.0.1:{port}");
    wait_until(Duration::from_secs(20), "the server inside", || {
        let said = guest.exec(&["perl", "/peer.pl", "ask", &target])?.stdout();
        Ok(said.contains("sees").then_some(()))
    })
}

/// What a container is answered.
pub(crate) fn inside(guest: &Guest<'_>, targets: &[&str]) -> Result<String> {
    let words = ["perl", "/peer.pl", "ask"];
    let words: Vec<&str> = words.iter().chain(targets).copied().collect();
    guest.exec(&words)?.ok()
}

/// Fails unless each target was answered as it should be: the two are lists of `TARGET ANSWER`, and an answer may be longer.
pub(crate) fn answered(who: &str, said: &str, wanted: &[(&str, &str)]) -> Result<()> {
    for (target, answer) in wanted {
        let line = format!("{target} {answer}");
        ensure!(
            said.lines().any(|one| one.starts_with(&line)),
            "{who} should be told {line:?}; it was told\n{said}"
        );
    }
    Ok(())
}

/// Asks as `ask` does and compares.
pub(crate) fn expect(
    who: &str,
    ask: impl Fn(&[&str]) -> Result<String>,
    wanted: &[(&str, &str)],
) -> Result<()> {
    let targets: Vec<&str> = wanted.iter().map(|(target, _)| *target).collect();
    answered(who, &ask(&targets)?, wanted)
}
