//! What is around the containers: a second network namespace that plays everybody else, and servers in it and on the host.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::wait_until};

/// Asks and answers, see there.
const FIRST: &str = include_str!("first.pl");

/// Where it is on the host.
const SCRIPT: &str = "/run/net-test/first.pl";

/// A namespace takes its time to go, and the other ends of its links go last: each link is removed by itself.
const DOWN: &str = "set +e; exec 2>/dev/null; for unit in net-host net-world; do systemctl stop $unit; systemctl reset-failed $unit; done; \
    for link in wan0 lan0 lanbr card0; do ip link del $link; done; ip netns del world; umount /run/netns; rmdir /run/netns; \
    rm -rf /run/net-test; :";

/// `wan0` is the way out, without a way back; `lanbr` a bridge with somebody else in it; `card0` free for a container.
const UP: &str = "ip netns add world; ip -n world link set lo up
ip netns exec world sysctl --quiet --write net.ipv6.conf.default.accept_dad=0
link() { ip link add \"$1\" type veth peer name \"$2\" netns world; ip link set \"$1\" up; ip -n world link set \"$2\" up; }
link wan0 wan1; link lan0 lan1; link card0 card1
at() { ip $1 address add $3 dev $2; ip $1 address add $4 dev $2 nodad; }
ip link add lanbr type bridge; ip link set lanbr up; ip link set lan0 master lanbr
at '' wan0 198.51.100.1/24 2001:db8:1::1/64; at '-n world' wan1 198.51.100.2/24 2001:db8:1::2/64
at '' lanbr 192.0.2.1/24 2001:db8:2::1/64; at '-n world' lan1 192.0.2.2/24 2001:db8:2::2/64
at '-n world' card1 203.0.113.2/24 2001:db8:3::2/64
systemd-run --quiet --unit=net-host perl /run/net-test/first.pl -
systemd-run --quiet --unit=net-world ip netns exec world perl /run/net-test/first.pl -";

/// The surroundings, until dropped.
pub(crate) struct Lan<'a>(&'a Host);

impl<'a> Lan<'a> {
    pub(crate) fn up(host: &'a Host) -> Result<Lan<'a>> {
        host.sh(DOWN)?.ok()?;
        host.sh("mkdir -p /run/net-test")?.ok()?;
        host.write(SCRIPT, FIRST)?;
        let lan = Lan(host);
        host.sh(UP)?.ok()?;
        wait_until(Duration::from_secs(10), "the servers", || {
            let said = lan.ask(&["192.0.2.1", "192.0.2.2", "2001:db8:2::2"])?;
            Ok((said.matches("you are").count() == 6).then_some(()))
        })?;
        Ok(lan)
    }

    /// What the host is answered.
    pub(crate) fn ask(&self, addresses: &[&str]) -> Result<String> {
        self.0
            .sh(&format!("perl {SCRIPT} '?' {}", addresses.join(" ")))?
            .ok()
    }

    /// What somebody else is answered.
    pub(crate) fn ask_from_world(&self, addresses: &[&str]) -> Result<String> {
        let script = format!(
            "ip netns exec world perl {SCRIPT} '?' {}",
            addresses.join(" ")
        );
        self.0.sh(&script)?.ok()
    }
}

impl Drop for Lan<'_> {
    fn drop(&mut self) {
        let _ = self.0.sh(DOWN);
    }
}

/// A declaration whose first process asks these addresses.
pub(crate) fn asking(network: &str, addresses: &[&str]) -> String {
    format!(
        "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nInit=/usr/bin/perl\n\
         BindReadOnly={SCRIPT}:/first.pl\nParameters=/first.pl /run/found {}\n{network}",
        addresses.join(" ")
    )
}

/// What the first process found: links, addresses and routes, then the answers.
pub(crate) struct Found(pub(crate) String);

impl Found {
    /// Waits for it.
    pub(crate) fn by(guest: &Guest<'_>) -> Result<Found> {
        let found = wait_until(Duration::from_secs(40), "the first process", || {
            let said = guest.exec(&["cat", "/run/found"])?.stdout();
            Ok(said.ends_with("end").then_some(said))
        })?;
        ensure!(!found.contains("tentative"), "not usable yet:\n{found}");
        Ok(Found(found))
    }

    /// Fails unless each of these is in it.
    pub(crate) fn has(&self, parts: &[&str]) -> Result<()> {
        for part in parts {
            ensure!(self.0.contains(part), "no {part:?} in\n{}", self.0);
        }
        Ok(())
    }

    /// Fails unless all that was asked was answered, `times` over TCP and UDP, by somebody who sees one of these.
    pub(crate) fn answered(&self, times: usize, seen: &[&str]) -> Result<()> {
        answered(&self.0, times, seen)
    }

    /// The global addresses of a link, without prefix length.
    pub(crate) fn addresses(&self, link: &str) -> Vec<&str> {
        let of_link = |line: &&str| line.split_ascii_whitespace().nth(1) == Some(link);
        let global = self.0.lines().filter(of_link);
        let global = global.filter(|line| line.contains("scope global"));
        global
            .filter_map(|line| line.split_ascii_whitespace().nth(3)?.split('/').next())
            .collect()
    }
}

pub(crate) fn answered(said: &str, times: usize, seen: &[&str]) -> Result<()> {
    let asked = |line: &&str| line.starts_with("tcp ") || line.starts_with("udp ");
    let answers: Vec<&str> = said.lines().filter(asked).collect();
    ensure!(answers.len() == 2 * times, "{times} were asked:\n{said}");
    for answer in answers {
        let known = seen
            .iter()
            .any(|address| answer.ends_with(&format!(" you are {address}")));
        ensure!(known, "{answer}; expected to be one of {seen:?}:\n{said}");
    }
    Ok(())
}
