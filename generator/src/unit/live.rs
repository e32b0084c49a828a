//! Which properties systemd changes on a loaded unit, and what undoes each of them.
//!
//! `SetUnitProperties` takes resource control only (systemd.resource-control(5)); everything else is fixed when the unit
//! is created. It writes a drop-in below `/run/systemd/system.control`, which outlives the unit: [`dropin_name`] names it.

use crate::property::{Property, Value};

/// How a property goes back to systemd's default once it is no longer declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    /// `u64::MAX`: no limit, or the default weight.
    Infinity,
    /// `t` zero: no protection.
    Zero,
    /// `u` zero.
    ZeroU32,
    /// `s`.
    Word(&'static str),
    /// Boolean.
    Switch(bool),
    /// `ay`, empty.
    Mask,
    /// `a(st)`, empty; setting adds, so a change starts with it.
    Limits,
    /// `a(ss)`, likewise.
    Pairs,
    /// `as`, likewise.
    List,
    /// `a(iayu)`, likewise.
    Networks,
    /// The default is the manager's own and cannot be asked for: only a new unit has it.
    Never,
}

#[rustfmt::skip]
const TABLE: &[(&str, Reset)] = &[
    ("AllowedCPUs", Reset::Mask),
    ("AllowedMemoryNodes", Reset::Mask),
    ("BPFProgram", Reset::Pairs),
    ("CPUAccounting", Reset::Never),
    ("CPUQuotaPerSecUSec", Reset::Infinity),
    ("CPUQuotaPeriodUSec", Reset::Infinity),
    ("CPUWeight", Reset::Infinity),
    ("DefaultMemoryLow", Reset::Zero),
    ("DefaultMemoryMin", Reset::Zero),
    ("DeviceAllow", Reset::Pairs),
    ("DevicePolicy", Reset::Word("auto")),
    ("IOAccounting", Reset::Never),
    ("IODeviceLatencyTargetUSec", Reset::Limits),
    ("IODeviceWeight", Reset::Limits),
    ("IOReadBandwidthMax", Reset::Limits),
    ("IOReadIOPSMax", Reset::Limits),
    ("IOWeight", Reset::Infinity),
    ("IOWriteBandwidthMax", Reset::Limits),
    ("IOWriteIOPSMax", Reset::Limits),
    ("IPAccounting", Reset::Never),
    ("IPAddressAllow", Reset::Networks),
    ("IPAddressDeny", Reset::Networks),
    ("IPEgressFilterPath", Reset::List),
    ("IPIngressFilterPath", Reset::List),
    ("ManagedOOMMemoryPressure", Reset::Word("auto")),
    ("ManagedOOMMemoryPressureDurationUSec", Reset::Infinity),
    ("ManagedOOMMemoryPressureLimit", Reset::ZeroU32),
    ("ManagedOOMPreference", Reset::Word("none")),
    ("ManagedOOMSwap", Reset::Word("auto")),
    ("MemoryAccounting", Reset::Never),
    ("MemoryHigh", Reset::Infinity),
    ("MemoryLow", Reset::Zero),
    ("MemoryMax", Reset::Infinity),
    ("MemoryMin", Reset::Zero),
    ("MemorySwapMax", Reset::Infinity),
    ("MemoryZSwapMax", Reset::Infinity),
    ("MemoryZSwapWriteback", Reset::Switch(true)),
    ("StartupAllowedCPUs", Reset::Mask),
    ("StartupAllowedMemoryNodes", Reset::Mask),
    ("StartupCPUWeight", Reset::Infinity),
    ("StartupIOWeight", Reset::Infinity),
    ("StartupMemoryHigh", Reset::Infinity),
    ("StartupMemoryLow", Reset::Zero),
    ("StartupMemoryMax", Reset::Infinity),
    ("StartupMemorySwapMax", Reset::Infinity),
    ("StartupMemoryZSwapMax", Reset::Infinity),
    ("TasksAccounting", Reset::Never),
    ("TasksMax", Reset::Infinity),
];

/// The setting behind a property: `MemoryMaxScale` is another way to say `MemoryMax`.
fn setting(name: &str) -> &str {
    name.strip_suffix("Scale").unwrap_or(name)
}

fn reset_of(name: &str) -> Option<(&'static str, Reset)> {
    let name = setting(name);
    let at = TABLE.binary_search_by_key(&name, |row| row.0).ok()?;
    Some(TABLE[at])
}

/// Whether a loaded unit takes a new value.
pub fn can_change(name: &str) -> bool {
    reset_of(name).is_some()
}

/// What sets a property on a loaded unit: lists are emptied first, since setting only adds to them.
pub fn change(property: &Property) -> Vec<Property> {
    let mut steps = Vec::with_capacity(2);
    if let Some((name, reset @ (Reset::Limits | Reset::Pairs | Reset::List | Reset::Networks))) =
        reset_of(property.name)
    {
        steps.extend(value_of(reset).map(|value| Property::new(name, value)));
    }
    steps.push(property.clone());
    steps
}

/// What undoes a property that is no longer declared; `None` when only a new unit can.
pub fn undo(name: &str) -> Option<Property> {
    let (name, reset) = reset_of(name)?;
    value_of(reset).map(|value| Property::new(name, value))
}

fn value_of(reset: Reset) -> Option<Value> {
    Some(match reset {
        Reset::Infinity => Value::U64(u64::MAX),
        Reset::Zero => Value::U64(0),
        Reset::ZeroU32 => Value::U32(0),
        Reset::Word(word) => word.into(),
        Reset::Switch(on) => Value::Bool(on),
        Reset::Mask => Value::Bytes(Vec::new()),
        Reset::Limits => Value::Limits(Vec::new()),
        Reset::Pairs => Value::Pairs(Vec::new()),
        Reset::List => Value::List(Vec::new()),
        Reset::Networks => Value::Networks(Vec::new()),
        Reset::Never => return None,
    })
}

/// File name of the drop-in that `SetUnitProperties` writes for a property.
pub fn dropin_name(property: &str) -> String {
    let setting = match setting(property) {
        "CPUQuotaPerSecUSec" => "CPUQuota",
        "CPUQuotaPeriodUSec" => "CPUQuotaPeriodSec",
        "IODeviceLatencyTargetUSec" => "IODeviceLatencyTargetSec",
        "ManagedOOMMemoryPressureDurationUSec" => "ManagedOOMMemoryPressureDurationSec",
        other => other,
    };
    format!("50-{setting}.conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|row| row.0));
    }

    #[test]
    fn only_resource_control_is_live() {
        for (name, live) in [
            ("MemoryMax", true),
            ("MemoryMaxScale", true),
            ("TasksMax", true),
            ("DeviceAllow", true),
            ("Slice", false),
            ("Delegate", false),
            ("Restart", false),
            ("TimeoutStopUSec", false),
        ] {
            assert_eq!(can_change(name), live, "{name}");
        }
    }

    #[test]
    fn lists_are_emptied_before_they_are_filled() {
        let devices = Property::new(
            "DeviceAllow",
            Value::Pairs(vec![("/dev/fuse".into(), "rwm".into())]),
        );
        assert_eq!(
            change(&devices),
            [
                Property::new("DeviceAllow", Value::Pairs(Vec::new())),
                devices.clone()
            ]
        );
        let limit = Property::new("MemoryMax", Value::U64(1));
        assert_eq!(change(&limit), [limit]);
    }

    #[test]
    fn undoing_names_the_absolute_property() {
        assert_eq!(
            undo("MemoryMaxScale"),
            Some(Property::new("MemoryMax", Value::U64(u64::MAX)))
        );
        assert_eq!(undo("CPUAccounting"), None);
        assert_eq!(undo("Restart"), None);
    }

    #[test]
    fn dropins_have_the_setting_s_name() {
        for (property, file) in [
            ("MemoryMaxScale", "50-MemoryMax.conf"),
            ("CPUQuotaPerSecUSec", "50-CPUQuota.conf"),
            ("TasksMax", "50-TasksMax.conf"),
        ] {
            assert_eq!(dropin_name(property), file);
        }
    }
}
