//! `PrivateUsers=`.

use skep_spec::{ID_RANGE, Users};

use super::Reader;
use crate::declaration::value::number;
use crate::problem::{Origin, quoted};
use crate::wanted::Ids;

/// Highest base: the range above it contains the ids -1 and -2, which mean "none".
const MAX: u32 = 4_294_836_224;
/// What systemd sets aside for containers.
const CONTAINERS: std::ops::RangeInclusive<u32> = 524_288..=1_878_982_656;

/// The users of a container.
pub(super) struct Read {
    pub(super) users: Users,
    pub(super) ids: Ids,
    /// Where a range is given.
    pub(super) at: Option<Origin>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let Some(given) = reader.scalar("PrivateUsers", parse) else {
        return Read {
            users: Users::Private { base: 0 },
            ids: Ids::Pick,
            at: None,
        };
    };
    let (users, ids) = given.value;
    let mut at = None;
    if let (Users::Private { base }, Ids::Given) = (users, ids) {
        at = Some(given.origin);
        if !CONTAINERS.contains(&base) {
            let (first, last) = (CONTAINERS.start(), CONTAINERS.end());
            reader.problems.warning(given.origin, "PrivateUsers", || {
                format!("{base} is outside {first}-{last}, the range set aside for containers; other users may have these ids")
            });
        }
    }
    Read { users, ids, at }
}

fn parse(text: &str) -> Result<(Users, Ids), String> {
    match text {
        "pick" => return Ok((Users::Private { base: 0 }, Ids::Pick)),
        "identity" => return Ok((Users::Identity, Ids::Given)),
        "managed" => return Err("managed is not supported in this version; use pick".into()),
        _ => {}
    }
    // 0 and 1 are booleans elsewhere; here they would be the ids of the host's own users.
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let base = number(text.split(':').next().unwrap_or_default(), 0, u32::MAX)?;
        if text.contains(':') {
            return Err(format!(
                "the range is always {ID_RANGE} ids; write just {base}"
            ));
        }
        if !base.is_multiple_of(ID_RANGE) || !(ID_RANGE..=MAX).contains(&base) {
            return Err(format!(
                "{base} is not a multiple of {ID_RANGE} between {ID_RANGE} and {MAX}"
            ));
        }
        return Ok((Users::Private { base }, Ids::Given));
    }
    match crate::declaration::value::boolean(text) {
        Ok(true) => Ok((Users::Private { base: 0 }, Ids::Pick)),
        Ok(false) => Ok((Users::Host, Ids::Given)),
        Err(_) => Err(format!(
            "{} is not pick, identity, no or a first host id",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let private = |base| Users::Private { base };
        let cases = [
            ("pick", (private(0), Ids::Pick)),
            ("yes", (private(0), Ids::Pick)),
            ("no", (Users::Host, Ids::Given)),
            ("identity", (Users::Identity, Ids::Given)),
            ("65536", (private(65536), Ids::Given)),
            ("4294836224", (private(4_294_836_224), Ids::Given)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "0",
            "1",
            "65537",
            "4294901760",
            "4294967296",
            "65536:65536",
            "managed",
            "maybe",
            "-65536",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
