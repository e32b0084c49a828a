//! Plain property values as D-Bus variants.

use zbus::Variant;

use crate::property::{Property, Value};

use super::proxy::Properties;

/// `a(sv)` of some properties.
pub(super) fn variants(properties: &[Property]) -> Properties<'_> {
    properties
        .iter()
        .map(|property| (property.name, variant(&property.value)))
        .collect()
}

fn variant(value: &Value) -> Variant<'_> {
    match value {
        Value::Bool(value) => Variant::from(*value),
        Value::I32(value) => Variant::from(*value),
        Value::U32(value) => Variant::from(*value),
        Value::U64(value) => Variant::from(*value),
        Value::Str(text) => Variant::from(text.as_str()),
        Value::List(items) => Variant::from(items.iter().map(String::as_str).collect::<Vec<_>>()),
        Value::Pairs(pairs) => Variant::from(
            pairs
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect::<Vec<_>>(),
        ),
        Value::Limits(limits) => Variant::from(
            limits
                .iter()
                .map(|(path, n)| (path.as_str(), *n))
                .collect::<Vec<_>>(),
        ),
        Value::Files(files) => Variant::from(
            files
                .iter()
                .map(|(path, may)| (path.as_str(), *may))
                .collect::<Vec<_>>(),
        ),
        Value::ByteLists(items) => Variant::from(items.clone()),
        Value::Blobs(blobs) => Variant::from(blobs.clone()),
        Value::Bytes(bytes) => Variant::from(bytes.clone()),
        Value::Exec(commands) => Variant::from(
            commands
                .iter()
                .map(|command| {
                    let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
                    (command.path.as_str(), argv, command.ignore_failure)
                })
                .collect::<Vec<_>>(),
        ),
        Value::Status(codes, signals) => Variant::from((codes.clone(), signals.clone())),
        Value::Choice(only, items) => {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            Variant::from((*only, items))
        }
        Value::Networks(networks) => Variant::from(networks.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::Command;

    /// The signatures that systemd insists on.
    #[test]
    fn signatures() {
        let command = Command {
            path: "/bin/true".into(),
            argv: vec!["true".into()],
            ignore_failure: false,
        };
        for (value, want) in [
            (Value::Bool(true), "b"),
            (Value::I32(1), "i"),
            (Value::U32(1), "u"),
            (Value::U64(1), "t"),
            (Value::Str("x".into()), "s"),
            (Value::List(vec!["x".into()]), "as"),
            (Value::List(Vec::new()), "as"),
            (Value::Pairs(vec![("a".into(), "b".into())]), "a(ss)"),
            (Value::Pairs(Vec::new()), "a(ss)"),
            (Value::Limits(Vec::new()), "a(st)"),
            (Value::Files(Vec::new()), "a(sb)"),
            (Value::ByteLists(Vec::new()), "aay"),
            (Value::Blobs(Vec::new()), "a(say)"),
            (Value::Bytes(Vec::new()), "ay"),
            (Value::Exec(vec![command]), "a(sasb)"),
            (Value::Status(vec![1], Vec::new()), "(aiai)"),
            (Value::Choice(true, vec!["x".into()]), "(bas)"),
            (Value::Networks(Vec::new()), "a(iayu)"),
        ] {
            assert_eq!(variant(&value).value_signature().to_string(), want);
        }
    }
}
