//! What two running containers cannot both have.

use skep_spec::Port;

use super::record::{Record, Seat};
use crate::plan::net::Mac;
use crate::step::StepError;

/// Fails when one that runs has what `record` wants.
pub(super) fn refuse(record: &Record, alive: &[Record]) -> Result<(), StepError> {
    alive.iter().try_for_each(|other| {
        for (own, theirs) in pairs(&record.seats, &other.seats) {
            refuse_seat(&record.name, own, &other.name, theirs)?;
        }
        if let Some(name) = record.lent.iter().find(|name| other.lent.contains(name)) {
            return Err(StepError::new(
                "link taken:",
                format_args!("{name} of the host is in container {}", other.name),
            ));
        }
        match pairs(&record.ports, &other.ports).find(|(own, theirs)| overlap(own, theirs)) {
            None => Ok(()),
            Some((own, theirs)) => Err(StepError::new(
                "port taken:",
                format_args!(
                    "{}/{} is wanted by {} and leads to {}",
                    own.host.max(theirs.host),
                    own.protocol,
                    record.name,
                    other.name
                ),
            )
            .cure("change Port= of one of them")),
        }
    })
}

fn pairs<'a, T>(own: &'a [T], theirs: &'a [T]) -> impl Iterator<Item = (&'a T, &'a T)> {
    own.iter()
        .flat_map(move |one| theirs.iter().map(move |other| (one, other)))
}

fn refuse_seat(name: &str, own: &Seat, other: &str, theirs: &Seat) -> Result<(), StepError> {
    let one_network = own.network == theirs.network && !own.network.is_empty();
    let shared = own
        .addresses
        .iter()
        .find(|ip| theirs.addresses.contains(ip));
    if let (Some(ip), true) = (shared, one_network || own.routed && theirs.routed) {
        return Err(StepError::new(
            "address taken:",
            format_args!("{ip} of {name} is also that of {other}"),
        )
        .cure("change Address= of one of them, or restart the other to give it its own"));
    }
    match own.mac.filter(|_| one_network && own.mac == theirs.mac) {
        None => Ok(()),
        Some(mac) => Err(StepError::new(
            "hardware address taken:",
            format_args!(
                "{} of {name} is also that of {other} in {}",
                Mac(mac),
                own.network
            ),
        )
        .cure("change MACAddress= of one of them")),
    }
}

/// Whether a packet could mean both.
fn overlap(a: &Port, b: &Port) -> bool {
    let last = |port: &Port| port.host.saturating_add(port.count.saturating_sub(1));
    let (any, same) = (
        a.address.is_none() || b.address.is_none(),
        a.address == b.address,
    );
    a.protocol == b.protocol && (any || same) && a.host <= last(b) && b.host <= last(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_spec::Protocol;

    fn port(address: Option<&str>, host: u16, count: u16) -> Port {
        Port {
            protocol: Protocol::Tcp,
            address: address.map(|ip| ip.parse().unwrap()),
            host,
            container: 80,
            count,
        }
    }

    #[test]
    fn ports_overlap() {
        for (a, b, want) in [
            (port(None, 80, 1), port(None, 80, 1), true),
            (port(None, 80, 1), port(None, 81, 1), false),
            (port(None, 80, 10), port(None, 89, 1), true),
            (port(None, 80, 1), port(Some("192.0.2.1"), 80, 1), true),
            (
                port(Some("192.0.2.2"), 80, 1),
                port(Some("192.0.2.1"), 80, 1),
                false,
            ),
        ] {
            assert_eq!(overlap(&a, &b), want, "{a:?} {b:?}");
            assert_eq!(overlap(&b, &a), want, "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_second_one_is_refused_with_both_names() {
        let record = |name: &str| Record {
            name: name.into(),
            ports: vec![port(None, 8080, 1)],
            ..Record::default()
        };
        let err = refuse(&record("web"), &[record("db")])
            .unwrap_err()
            .to_string();
        assert!(
            err.contains("8080/tcp is wanted by web and leads to db"),
            "{err}"
        );
    }

    #[test]
    fn one_network_has_an_address_once() {
        let record = |name: &str, network: &str, routed, mac: u8, address: &str| Record {
            name: name.into(),
            seats: vec![Seat {
                network: network.into(),
                routed,
                mac: Some([2, 0, 0, 0, 0, mac]),
                addresses: vec![address.parse().unwrap()],
            }],
            ..Record::default()
        };
        for (own, theirs, want) in [
            (
                ("br0", false, 1, "10.0.0.2"),
                ("br0", false, 2, "10.0.0.2"),
                "10.0.0.2 of web is also that of db",
            ),
            (
                ("br0", false, 1, "10.0.0.2"),
                ("br1", false, 1, "10.0.0.2"),
                "",
            ),
            (
                ("", true, 1, "10.0.0.2"),
                ("skep0", true, 1, "10.0.0.2"),
                "10.0.0.2 of web is also that of db",
            ),
            (("", true, 1, "10.0.0.2"), ("", true, 1, "10.0.0.3"), ""),
            (
                ("br0", false, 1, "10.0.0.2"),
                ("br0", false, 1, "10.0.0.3"),
                "02:00:00:00:00:01 of web is also that of db in br0",
            ),
        ] {
            let (a, b) = (
                record("web", own.0, own.1, own.2, own.3),
                record("db", theirs.0, theirs.1, theirs.2, theirs.3),
            );
            let said = refuse(&a, &[b]).map_or_else(|err| err.to_string(), |()| String::new());
            assert!(
                said.contains(want) && said.is_empty() == want.is_empty(),
                "{own:?} {theirs:?}: {said}"
            );
        }
    }
}
