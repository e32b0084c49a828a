//! Ports of the host that more than one declaration wants.
//!
//! No error: of two containers that take turns only one runs at a time, and the launcher keeps the second from starting
//! beside the first. But whoever did not mean it learns it here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use skep_spec::Protocol;

use super::{LoadState, Loaded};
use crate::problem::{Problem, Severity};

/// Who wants a port, and of which address.
type Claims = BTreeMap<(Protocol, u16), Vec<(Option<IpAddr>, usize)>>;

/// Adds a warning to each declaration that wants a port which one before it wants too.
pub(super) fn warn(loaded: &mut [Loaded]) {
    let mut claims = Claims::new();
    for number in 0..loaded.len() {
        let Some(((protocol, port), other)) = claim(&mut claims, loaded, number) else {
            continue;
        };
        let other = loaded[other].name.clone();
        let one = &mut loaded[number];
        let message = format!(
            "port {port}/{protocol} of the host is wanted by {} and by {other}; only one of them can run at a time",
            one.name
        );
        one.warnings.push(Problem {
            path: one.source.clone(),
            line: None,
            key: Some("Port".to_owned()),
            severity: Severity::Warning,
            message,
        });
    }
}

/// Notes the ports of a declaration; the first one that another has.
fn claim(
    claims: &mut Claims,
    loaded: &[Loaded],
    number: usize,
) -> Option<((Protocol, u16), usize)> {
    let LoadState::Valid(wanted) = &loaded[number].state else {
        return None;
    };
    let mut met = None;
    for port in &wanted.spec.net.ports {
        let last = port.host.saturating_add(port.count.saturating_sub(1));
        for at in port.host..=last {
            let key = (port.protocol, at);
            let others = claims.entry(key).or_default();
            let same = |(ip, other): &&(Option<IpAddr>, usize)| {
                *other != number && (*ip == port.address || ip.is_none() || port.address.is_none())
            };
            if let (None, Some((_, other))) = (met, others.iter().find(same)) {
                met = Some((key, *other));
            }
            others.push((port.address, number));
        }
    }
    met
}
