//! Stable, disjoint id ranges for containers with `PrivateUsers=pick`.
//!
//! Every range is 65536 ids wide and lies in the part of the id space that systemd's UID document sets aside for
//! containers. A range once given to a name is leased to it for good, so that files which a container owns outside its
//! own tree keep their owner; the tree itself is id-mapped and does not care. Choosing is pure: what is in use comes in as
//! [`Taken`], and one question to the name service as a function.

mod lease;
mod taken;

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::ID_RANGE;
use thiserror::Error;

use crate::digest;

pub use lease::{Leases, PATH};
pub use taken::{NameService, Taken};

/// First base of the container range.
pub const FIRST: u32 = 0x0008_0000;

/// Last base of the container range.
pub const LAST: u32 = 0x6FFF_0000;

const SLOTS: u32 = (LAST - FIRST) / ID_RANGE + 1;

/// No range is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "no free range of 65536 ids is left between {FIRST} and {LAST}; name one with PrivateUsers=NUMBER"
)]
pub struct Exhausted;

/// Whether a base may be leased at all.
pub const fn is_base(base: u32) -> bool {
    base.is_multiple_of(ID_RANGE) && base >= FIRST && base <= LAST
}

/// Gives every name its range. Names that have a lease keep it unless somebody declared that very range by number.
///
/// `known` says whether a user or group of that id exists; it is asked about new ranges only. Leases of names that are
/// not in `names` are kept while there is room.
pub fn assign(
    names: &BTreeSet<String>,
    leases: &mut Leases,
    taken: &Taken,
    known: &mut dyn FnMut(u32) -> bool,
) -> BTreeMap<String, Result<u32, Exhausted>> {
    leases.retain(|name, base| !names.contains(name) || !taken.is_declared(base));
    let mut assigned = BTreeMap::new();
    for name in names {
        let base = leases.base_of(name).ok_or(Exhausted).or_else(|_| {
            let found = pick(name, leases, taken, known).or_else(|| {
                leases.retain(|name, _| names.contains(name));
                pick(name, leases, taken, known)
            });
            found
                .ok_or(Exhausted)
                .inspect(|base| leases.add(name, *base))
        });
        assigned.insert(name.clone(), base);
    }
    assigned
}

/// A range for somebody who has it for a while only: no lease is made.
///
/// # Errors
/// When none is left.
pub fn pick_once(
    name: &str,
    leases: &Leases,
    taken: &Taken,
    known: &mut dyn FnMut(u32) -> bool,
) -> Result<u32, Exhausted> {
    pick(name, leases, taken, known).ok_or(Exhausted)
}

/// The first free range, starting where the name's digest points.
fn pick(
    name: &str,
    leases: &Leases,
    taken: &Taken,
    known: &mut dyn FnMut(u32) -> bool,
) -> Option<u32> {
    // The remainder is below SLOTS, which fits.
    let start =
        u32::try_from(digest::of_bytes(name.as_bytes()) % u64::from(SLOTS)).unwrap_or_default();
    (0..SLOTS)
        .map(|step| FIRST + (start + step) % SLOTS * ID_RANGE)
        .find(|base| !leases.has_base(*base) && !taken.overlaps(*base) && !known(*base))
}

#[cfg(test)]
mod tests;
