//! Id mapping.

use std::fmt;

use skep_spec::{ID_RANGE, Users};

/// How ids of the container map to ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Host id of the container's root.
    pub base: u32,
    /// Whether the container has a user namespace.
    pub namespace: bool,
}

impl Ids {
    /// The mapping that a spec asks for.
    pub fn of(users: Users) -> Ids {
        match users {
            Users::Private { base } => Ids {
                base,
                namespace: true,
            },
            Users::Identity => Ids {
                base: 0,
                namespace: true,
            },
            Users::Host => Ids {
                base: 0,
                namespace: false,
            },
        }
    }

    /// Whether the container owns a range of host ids.
    pub fn picked(&self) -> bool {
        self.base != 0
    }

    /// One line of uid_map or gid_map, user_namespaces(7).
    pub fn map_line(&self) -> String {
        format!("0 {} {ID_RANGE}\n", self.base)
    }

    /// The same for the mount of the tree: root of the host has the first id there that no container has.
    pub fn tree_map(&self) -> String {
        format!("{}{ID_RANGE} 0 1\n", self.map_line())
    }

    /// The host id of container id `id`.
    pub fn host(&self, id: u32) -> u32 {
        self.base + id
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.namespace, self.base) {
            (false, _) => f.write_str("of the host, no user namespace"),
            (true, 0) => f.write_str("of the host, in a user namespace"),
            (true, base) => write!(
                f,
                "0-{} are {base}-{} of the host",
                ID_RANGE - 1,
                base + (ID_RANGE - 1)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let ids = Ids::of(Users::Private { base: 655_360 });
        assert_eq!(ids.map_line(), "0 655360 65536\n");
        assert_eq!(ids.tree_map(), "0 655360 65536\n65536 0 1\n");
        assert_eq!(ids.host(5), 655_365);
        assert!(!Ids::of(Users::Host).namespace);
    }
}
