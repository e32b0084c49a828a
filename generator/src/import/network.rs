//! `[Network]` of systemd.nspawn(5): several settings that say one thing together become `Network=` and `Link=`.

use crate::problem::Origin;

/// What the section says.
#[derive(Debug, Default)]
pub(super) struct Network {
    private: Option<(Origin, bool)>,
    veth: Option<(Origin, bool)>,
    bridge: Option<(Origin, String)>,
    zone: Option<(Origin, String)>,
    namespace: Option<(Origin, String)>,
    links: Vec<(Origin, &'static str, String)>,
}

/// An assignment of a declaration.
pub(super) type Line = (Origin, &'static str, String);

/// What is to be said about an assignment: its key and the remark.
pub(super) type Remark = (Origin, &'static str, &'static str);

const MASQUERADED: &str = "becomes Network=veth, which leads to the host and not further; where systemd-networkd \
    masquerades such links, take Network=nat";
const RENAMED: &str = "skep names the host's end ve-NAME-LINK";

impl Network {
    /// Takes an assignment; whether there is such a setting.
    pub(super) fn take(
        &mut self,
        origin: Origin,
        key: &str,
        value: &str,
    ) -> Option<Result<(), String>> {
        let one = || Some((origin, value.to_owned())).filter(|_| !value.is_empty());
        let truth = || super::boolean(value).map(|value| Some((origin, value)));
        match key {
            "Private" => return Some(truth().map(|said| self.private = said)),
            "VirtualEthernet" => return Some(truth().map(|said| self.veth = said)),
            "Bridge" => self.bridge = one(),
            "Zone" => self.zone = one(),
            "NamespacePath" => self.namespace = one(),
            "VirtualEthernetExtra" => self.list(origin, "veth", value),
            "MACVLAN" => self.list(origin, "macvlan", value),
            "IPVLAN" => self.list(origin, "ipvlan", value),
            "Interface" => self.list(origin, "interface", value),
            _ => return None,
        }
        Some(Ok(()))
    }

    fn list(&mut self, origin: Origin, kind: &'static str, value: &str) {
        if value.is_empty() {
            self.links.retain(|(_, other, _)| *other != kind);
        }
        let words = value.split_ascii_whitespace().map(str::to_owned);
        self.links.extend(words.map(|word| (origin, kind, word)));
    }

    /// The same for a declaration.
    pub(super) fn translate(self) -> (Vec<Line>, Vec<Remark>) {
        let mut remarks = Vec::new();
        let mut links: Vec<(Origin, String)> = Vec::new();
        // Bridge= and Zone= say where the other end of the pair is.
        let pair = match (self.bridge, self.zone, self.veth) {
            (Some((origin, name)), _, _) => Some((origin, format!("bridge:{name}"))),
            (None, Some((origin, name)), _) => Some((origin, format!("zone:{name}"))),
            (None, None, Some((origin, true))) => {
                remarks.push((origin, "VirtualEthernet", MASQUERADED));
                Some((origin, "veth".to_owned()))
            }
            (None, None, _) => None,
        };
        links.extend(pair);
        for (origin, kind, word) in self.links {
            let (host, inside) = match word.split_once(':') {
                Some((host, inside)) => (host, Some(inside)),
                None => (word.as_str(), None),
            };
            let text = match kind {
                "veth" => {
                    remarks.push((origin, "VirtualEthernetExtra", RENAMED));
                    format!("veth,name={}", inside.unwrap_or(host))
                }
                _ => match inside {
                    Some(inside) => format!("{kind}:{host},name={inside}"),
                    None => format!("{kind}:{host}"),
                },
            };
            links.push((origin, text));
        }
        let network = match (self.namespace, self.private) {
            (Some((origin, path)), _) => Some((origin, format!("netns:{path}"))),
            (None, Some((origin, private))) if links.is_empty() => {
                let word = if private { "private" } else { "host" };
                Some((origin, word.to_owned()))
            }
            (None, _) => None,
        };
        // The first link is that of Network=, unless it says something else.
        let rest = links
            .split_off(links.len().min(network.is_none().into()))
            .into_iter();
        let first = network.or(links.pop());
        let lines = first
            .map(|(origin, text)| (origin, "Network", text))
            .into_iter()
            .chain(rest.map(|(origin, text)| (origin, "Link", text)));
        (lines.collect(), remarks)
    }
}
