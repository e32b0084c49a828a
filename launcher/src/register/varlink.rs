//! io.systemd.Machine over Varlink (systemd 256 and later): JSON objects that end with a NUL byte.

use serde_json::{Value, json};

use super::{Answer, Machine};

/// Where machined listens; the socket starts it.
pub(super) const SOCKET: &str = "/run/systemd/machine/io.systemd.Machine";

pub(super) fn register(machine: &Machine) -> Vec<u8> {
    let mut parameters = json!({
        "name": machine.name,
        "id": machine.id,
        "service": "skep",
        "class": "container",
        "leader": machine.leader,
    });
    if !machine.root.is_empty() {
        parameters["rootDirectory"] = json!(machine.root);
    }
    call("io.systemd.Machine.Register", &parameters)
}

pub(super) fn unregister(name: &str) -> Vec<u8> {
    call("io.systemd.Machine.Unregister", &json!({ "name": name }))
}

fn call(method: &str, parameters: &Value) -> Vec<u8> {
    let text = json!({ "method": method, "parameters": parameters }).to_string();
    let mut bytes = text.into_bytes();
    bytes.push(0);
    bytes
}

pub(super) fn answer(received: &[u8]) -> Option<Answer> {
    let end = received.iter().position(|byte| *byte == 0)?;
    let Ok(reply) = serde_json::from_slice::<Value>(&received[..end]) else {
        return Some(Answer::Unknown);
    };
    Some(match reply.get("error").and_then(Value::as_str) {
        None => Answer::Done,
        Some("io.systemd.Machine.MachineExists") => Answer::Exists,
        // Not known, or known with other parameters, in this version.
        Some(error) if error.starts_with("org.varlink.service.") => Answer::Unknown,
        Some(error) => Answer::Refused(error.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (text, want) in [
            ("{\"parameters\":{}}\0", Some(Answer::Done)),
            ("{\"parameters\":{}}", None),
            (
                "{\"error\":\"io.systemd.Machine.MachineExists\"}\0",
                Some(Answer::Exists),
            ),
            (
                "{\"error\":\"org.varlink.service.MethodNotFound\"}\0",
                Some(Answer::Unknown),
            ),
            ("{\"error\":\"x\"}\0", Some(Answer::Refused("x".into()))),
            ("garbage\0", Some(Answer::Unknown)),
        ] {
            assert_eq!(answer(text.as_bytes()), want, "{text}");
        }
    }
}
