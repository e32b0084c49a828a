//! What can go wrong between us and systemd.

use std::io;

use thiserror::Error as ThisError;
use zbus::DBusError as _;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum BusError {
    /// No connection.
    #[error("cannot reach systemd over the system bus: {0}; is dbus running?")]
    Unreachable(String),
    /// No answer.
    #[error("systemd did not answer {0} in time")]
    Timeout(&'static str),
    /// The caller may not do this.
    #[error("{call}: permission denied ({reason}); try again as root")]
    Denied {
        /// The method.
        call: &'static str,
        /// systemd's words.
        reason: String,
    },
    /// A unit of that name is loaded, so it cannot be created.
    #[error("{0}")]
    UnitExists(String),
    /// systemd has no such unit.
    #[error("{0}")]
    NoSuchUnit(String),
    /// The connection ended.
    #[error("the connection to systemd was lost: {0}")]
    Lost(String),
    /// systemd turned the request down; it says why, not always for which unit.
    #[error("{reason}")]
    Refused {
        /// D-Bus error name.
        name: String,
        /// systemd's words.
        reason: String,
    },
    /// The answer makes no sense.
    #[error("unexpected answer: {0}")]
    Reply(String),
}

impl BusError {
    /// Sorts out the error of a method call.
    pub(super) fn of_call(call: &'static str, error: zbus::Error) -> Self {
        match &error {
            zbus::Error::InputOutput(io) if io.kind() == io::ErrorKind::TimedOut => {
                Self::Timeout(call)
            }
            zbus::Error::InputOutput(io) => Self::Lost(io.to_string()),
            zbus::Error::MethodError(name, reason, _) => {
                Self::of_name(call, name.as_str(), reason.clone())
            }
            zbus::Error::FDO(fdo) => Self::of_name(
                call,
                fdo.name().as_str(),
                fdo.description().map(str::to_owned),
            ),
            _ => Self::Reply(format!("{call}: {error}")),
        }
    }

    fn of_name(call: &'static str, name: &str, reason: Option<String>) -> Self {
        let reason = reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| name.to_owned());
        match name {
            "org.freedesktop.systemd1.UnitExists" => Self::UnitExists(reason),
            "org.freedesktop.systemd1.NoSuchUnit" => Self::NoSuchUnit(reason),
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
                Self::Denied { call, reason }
            }
            "org.freedesktop.DBus.Error.NoReply" | "org.freedesktop.DBus.Error.Timeout" => {
                Self::Timeout(call)
            }
            "org.freedesktop.DBus.Error.Disconnected" => Self::Lost(reason),
            "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner" => Self::Unreachable(reason),
            _ => Self::Refused {
                name: name.to_owned(),
                reason,
            },
        }
    }

    /// Whether systemd answered: then a different request may succeed.
    pub const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::UnitExists(_) | Self::NoSuchUnit(_) | Self::Refused { .. }
        )
    }
}

/// The words of an error without the library's own around them.
pub(super) fn root_cause(error: &zbus::Error) -> String {
    match error {
        zbus::Error::InputOutput(io) => io.to_string(),
        zbus::Error::Connection(io, address) => format!("{io} ({address})"),
        other => other.to_string(),
    }
}
