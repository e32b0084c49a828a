//! Chains of other programs that packets of containers have to pass too.
//!
//! A packet that one chain accepts is still dropped by another: no rule of ours lets through what another program's chain
//! refuses. Hosts with Docker or ufw have one of iptables, `FORWARD` with the policy "drop". There a container needs rules
//! at the top, where Docker and libvirt put theirs. They accept what comes from a link with containers of ours only and goes
//! to it, for what may really pass there is decided in our own table; and what goes to a published port and comes from it
//! where others are behind the same link. They use expressions that iptables knows: of a rule with others, such as connection
//! tracking, it says that the whole table is not for it. Chains of other makers are left alone, and named when they would drop.

use std::collections::BTreeSet;
use std::fmt;

use super::nft;
use super::rules::Way;
use crate::log;

/// What marks our rules in chains of others.
const MARK: &str = "comment \"skep\"";

/// A chain that packets on their way through the host meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chain {
    /// Family, table, chain.
    name: [String; 3],
    /// `type TYPE hook HOOK ...; policy POLICY;`
    says: String,
}

/// What the host's other tables do to what is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Foreign(Vec<Chain>);

impl Chain {
    fn forwards(&self) -> bool {
        self.says.contains(" hook forward ")
    }

    fn drops(&self) -> bool {
        self.forwards() && self.says.contains("policy drop")
    }

    /// Of iptables: others write to it, and so do we.
    fn is_common(&self) -> bool {
        let [family, table, chain] = &self.name;
        matches!(family.as_str(), "ip" | "ip6") && table == "filter" && chain == "FORWARD"
    }

    fn words(&self) -> [&str; 4] {
        let [family, table, chain] = &self.name;
        ["chain", family, table, chain]
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [family, table, chain] = &self.name;
        write!(f, "chain {chain} of table {family} {table}")
    }
}

impl Foreign {
    /// What there is. Without an answer, nothing: the rules that are needed fail by themselves.
    pub(super) fn look() -> Foreign {
        Foreign(nft::list(&["chains"]).map_or_else(|_| Vec::new(), |text| parse(&text)))
    }

    /// Whether another program lets others out through this host, and so relies on forwarding. That of firewalld has such
    /// a chain in any case.
    pub(super) fn masquerades(&self) -> bool {
        let nat = |chain: &Chain| {
            chain.says.contains("type nat hook postrouting") && chain.name[1] != "firewalld"
        };
        self.0.iter().any(nat)
    }

    /// Makes way for these, and for nothing else any more.
    pub(super) fn make_way(&self, ways: &[Way]) {
        for chain in self.0.iter().filter(|chain| chain.forwards()) {
            if chain.is_common() {
                // Names the chain, and is no reason to fail: a container may do without what passes here.
                if let Err(err) = through(chain, ways) {
                    log::line(format_args!("{err}; {chain} may drop what containers send"));
                }
            } else if chain.drops() && !ways.is_empty() {
                let links: BTreeSet<&str> = ways.iter().map(Way::link).collect();
                let links: Vec<&str> = links.into_iter().collect();
                log::line(format_args!(
                    "{chain} drops what it does not know: the way out and Port= need rules there that accept what comes from \
                     and goes to {}",
                    links.join(", ")
                ));
            }
        }
    }
}

fn through(chain: &Chain, ways: &[Way]) -> Result<(), crate::step::StepError> {
    let there = nft::list(&chain.words())?;
    let family = &chain.name[0];
    let wanted: Vec<String> = match chain.drops() {
        true => ways.iter().flat_map(|way| accepting(family, way)).collect(),
        false => Vec::new(),
    };
    let script = change(&chain.words()[1..].join(" "), &there, &wanted);
    match script.is_empty() {
        true => Ok(()),
        false => nft::run(&script),
    }
}

/// The rules for a way in a chain of this family.
fn accepting(family: &str, way: &Way) -> Vec<String> {
    match way {
        Way::Link(link) => ["iifname", "oifname"]
            .map(|end| format!("{end} \"{link}\" accept {MARK}"))
            .to_vec(),
        Way::Port { address, .. } if address.is_ipv4() != (family == "ip") => Vec::new(),
        Way::Port {
            link,
            address,
            protocol,
            ports,
        } => [("iifname", "saddr", "sport"), ("oifname", "daddr", "dport")]
            .map(|(end, at, port)| {
                format!(
                    "{end} \"{link}\" {family} {at} {address} {protocol} {port} {ports} accept {MARK}"
                )
            })
            .to_vec(),
    }
}

/// What makes the marked rules of a chain the wanted ones. iptables-save and -restore take the mark off: such a rule is as
/// good, but nobody's to remove.
fn change(chain: &str, there: &str, wanted: &[String]) -> String {
    let (ours, others): (Vec<&str>, Vec<&str>) =
        there.lines().partition(|line| line.contains(MARK));
    let others: Vec<String> = others.into_iter().map(bare).collect();
    let wanted: Vec<&String> = wanted
        .iter()
        .filter(|rule| !others.contains(&bare(rule)))
        .collect();
    let present: Vec<String> = ours.iter().map(|rule| bare(rule)).collect();
    if present.len() == wanted.len() && wanted.iter().all(|rule| present.contains(&bare(rule))) {
        return String::new();
    }
    let handles = ours
        .iter()
        .filter_map(|line| line.rsplit_once(" # handle ")?.1.parse::<u64>().ok());
    let removals = handles.map(|handle| format!("delete rule {chain} handle {handle}\n"));
    let additions = wanted
        .iter()
        .map(|rule| format!("insert rule {chain} {rule}\n"));
    removals.chain(additions).collect()
}

/// A rule without its handle, its comment and its counter.
fn bare(rule: &str) -> String {
    let rule = rule.split(" # handle ").next().unwrap_or_default();
    let rule = rule.split(" comment ").next().unwrap_or_default();
    let mut words = rule.split_ascii_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            // "counter packets 0 bytes 0"
            "counter" => drop(words.nth(3)),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

/// Chains with a hook, of other tables than ours, as nft lists them.
fn parse(text: &str) -> Vec<Chain> {
    let mut found = Vec::new();
    let mut name = [const { String::new() }; 3];
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["table", family, table, ..] => {
                name = [family.to_owned(), table.to_owned(), String::new()];
            }
            ["chain", chain, ..] => chain.clone_into(&mut name[2]),
            ["type", _, "hook", ..] if !is_ours(&name) => found.push(Chain {
                name: name.clone(),
                says: line.trim().to_owned(),
            }),
            _ => {}
        }
    }
    found
}

fn is_ours([family, table, _]: &[String; 3]) -> bool {
    (family == "inet" && table == "skep") || (family == "netdev" && table.starts_with("skep-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table ip filter { # handle 1\n\tchain FORWARD { # handle 2\n\
        \t\ttype filter hook forward priority filter; policy drop;\n\t}\n\tchain DOCKER-USER { # handle 5\n\t}\n}\n\
        table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t}\n}\n\
        table inet skep {\n\tchain passing {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n\
        table inet own {\n\tchain all {\n\t\ttype filter hook forward priority filter + 5; policy drop;\n\t}\n}\n";

    #[test]
    fn chains_of_others_are_known() {
        let foreign = Foreign(parse(LISTED));
        let shown: Vec<String> = foreign.0.iter().map(Chain::to_string).collect();
        assert_eq!(
            shown,
            [
                "chain FORWARD of table ip filter",
                "chain POSTROUTING of table ip nat",
                "chain all of table inet own"
            ]
        );
        assert!(foreign.masquerades());
        let drops: Vec<bool> = foreign.0.iter().map(Chain::drops).collect();
        assert_eq!(drops, [true, false, true]);
        assert!(foreign.0[0].is_common() && !foreign.0[2].is_common());
        assert_eq!(parse("\u{0}table\nchain\ntype x\n"), []);
    }

    #[test]
    fn rules_in_chains_of_others_come_and_go() {
        let wanted = accepting("ip", &Way::Link("skep0".into()));
        let script = change("ip filter FORWARD", "", &wanted);
        assert_eq!(
            script,
            "insert rule ip filter FORWARD iifname \"skep0\" accept comment \"skep\"\n\
             insert rule ip filter FORWARD oifname \"skep0\" accept comment \"skep\"\n"
        );
        let port = Way::Port {
            link: "br0".into(),
            address: "192.0.2.9".parse().unwrap(),
            protocol: "tcp".into(),
            ports: "80-81".into(),
        };
        assert_eq!(
            accepting("ip", &port),
            [
                "iifname \"br0\" ip saddr 192.0.2.9 tcp sport 80-81 accept comment \"skep\"",
                "oifname \"br0\" ip daddr 192.0.2.9 tcp dport 80-81 accept comment \"skep\"",
            ]
        );
        assert_eq!(accepting("ip6", &port), [""; 0]);
        let there = "  iifname \"skep0\" accept comment \"skep\" # handle 12\n\
                     \toifname \"skep0\" accept comment \"skep\" # handle 11\n  jump DOCKER # handle 3\n";
        assert_eq!(change("ip filter FORWARD", there, &wanted), "");
        let restored = "\tiifname \"skep0\"  counter packets 3 bytes 9 accept # handle 7\n\
                        \toifname \"skep0\"  counter packets 0 bytes 0 accept # handle 8\n";
        assert_eq!(change("ip filter FORWARD", restored, &wanted), "");
        assert_eq!(change("ip filter FORWARD", restored, &[]), "");
        assert_eq!(
            change("ip filter FORWARD", there, &[]),
            "delete rule ip filter FORWARD handle 12\ndelete rule ip filter FORWARD handle 11\n"
        );
    }
}
