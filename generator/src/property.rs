//! Unit properties as plain values.
//!
//! Everything that decides speaks in these types; only `manager` turns them into D-Bus variants and only `unit::text`
//! into unit-file lines. So rendering, comparing and printing need no bus.

use serde::Serialize;

/// One property of a unit, named as org.freedesktop.systemd1(5) names it (`MemoryMax`, `TimeoutStopUSec`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Property {
    /// D-Bus property name.
    pub name: &'static str,
    /// Typed value.
    pub value: Value,
}

impl Property {
    /// A property of this name and value.
    pub const fn new(name: &'static str, value: Value) -> Self {
        Self { name, value }
    }
}

/// The value types that units need, each with its D-Bus signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`: bytes, microseconds or a count; `u64::MAX` is infinity.
    U64(u64),
    /// `s`
    Str(String),
    /// `as`
    List(Vec<String>),
    /// `a(ss)`, e.g. `DeviceAllow`.
    Pairs(Vec<(String, String)>),
    /// `a(st)`, e.g. `IOReadBandwidthMax`.
    Limits(Vec<(String, u64)>),
    /// `a(sb)`, e.g. `EnvironmentFiles`: path, and whether it may be missing.
    Files(Vec<(String, bool)>),
    /// `aay`, e.g. `LogExtraFields`.
    ByteLists(Vec<Vec<u8>>),
    /// `a(say)`, e.g. `SetCredential`.
    Blobs(Vec<(String, Vec<u8>)>),
    /// `ay`, e.g. `AllowedCPUs`.
    Bytes(Vec<u8>),
    /// `a(sasb)`, e.g. `ExecStart`.
    Exec(Vec<Command>),
    /// `(aiai)`, e.g. `SuccessExitStatus`: exit codes, signals.
    Status(Vec<i32>, Vec<i32>),
    /// `(bas)`, e.g. `SystemCallFilter`: only these (true) or all but these.
    Choice(bool, Vec<String>),
    /// `a(iayu)`, e.g. `IPAddressAllow`: family, address, prefix length.
    Networks(Vec<(i32, Vec<u8>, u32)>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(value: [&str; N]) -> Self {
        Self::List(value.into_iter().map(str::to_owned).collect())
    }
}

/// One command line of an `Exec*=` property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Absolute path of the program.
    pub path: String,
    /// Arguments, `argv[0]` included.
    pub argv: Vec<String>,
    /// Leading `-`: failure is ignored.
    pub ignore_failure: bool,
}
