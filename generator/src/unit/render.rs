//! From a validated declaration to the properties of its unit.
//!
//! The baseline is what a unit that boots an operating system needs; what the declaration says in `[Unit]` and
//! `[Service]` then adds to lists and replaces everything else.
//!
//! What confines it is `sandbox`'s.
//!
//! `DevicePolicy=closed` already allows the pseudo devices that the launcher binds into the guest (null, zero, full,
//! random, urandom, tty, ptmx); terminals are named once more because a guest allocates them in its own devpts.

use std::path::{Component, Path, PathBuf};

use skep_spec::{
    ContainerSpec, Device, Join, LAUNCHER, Link, LinkJournal, LinkKind, Missing, Store, Upper,
};

use crate::distinct::extend;
use crate::property::{Command, Property, Value};
use crate::validate::root::names_image;
use crate::wanted::Wanted;

use super::sandbox::sandbox;
use super::{UnitDraft, unit_name};

pub(super) const SECOND: u64 = 1_000_000;

/// Lists that a declaration replaces instead of extending: adding to them could not say less than the baseline.
const REPLACED_LISTS: &[&str] = &["SystemCallArchitectures"];

/// The unit of a container.
pub fn render(wanted: &Wanted, systemd: u32) -> UnitDraft {
    let mut properties = baseline(&wanted.name, &wanted.source, systemd);
    properties.extend(sandbox(&wanted.spec, &wanted.properties));
    let mounts = mounts_for(&wanted.spec);
    if !mounts.is_empty() {
        properties.push(Property::new("RequiresMountsFor", Value::List(mounts)));
    }
    if !wanted.spec.pass_environment.is_empty() {
        let names = wanted.spec.pass_environment.clone();
        properties.push(Property::new("PassEnvironment", Value::List(names)));
    }
    for property in order_of_network(&wanted.spec) {
        merge(&mut properties, property);
    }
    if let Some(devices) = devices_of(&wanted.spec) {
        merge(&mut properties, devices);
    }
    for property in &wanted.properties {
        merge(&mut properties, property.clone());
    }
    if !wanted.spec.net.links.is_empty() {
        clean_after(&mut properties);
    }
    UnitDraft {
        name: unit_name(&wanted.name),
        properties,
    }
}

/// The unit of a declaration that is wrong: the launcher reads the reason from its spec file and fails with it.
pub fn render_refusal(name: &str, source: &Path, systemd: u32) -> UnitDraft {
    UnitDraft {
        name: unit_name(name),
        properties: baseline(name, source, systemd),
    }
}

/// What the unit of every container has.
fn baseline(name: &str, source: &Path, systemd: u32) -> Vec<Property> {
    let mut properties = Vec::with_capacity(40);
    let mut set = |name: &'static str, value: Value| properties.push(Property::new(name, value));

    set("Description", format!("Container {name}").into());
    set(
        "Documentation",
        // Not SourcePath=: after an edit of that file systemd asks for a daemon-reload, which would change nothing.
        Value::List(vec![
            format!("file:{}", source.display()),
            "man:skep.container(5)".to_owned(),
        ]),
    );
    // Started with machines.target at boot, stopped with it, and shut down before the host's network goes.
    set("PartOf", ["machines.target"].into());
    set("Before", ["machines.target"].into());
    set("After", ["network.target"].into());

    set("Type", "notify".into());
    set("NotifyAccess", "main".into());
    set("ExecStart", Value::Exec(vec![boot_command(name)]));
    set("TimeoutStartUSec", Value::U64(120 * SECOND));
    // Exporters print nonsense for a unit without it.
    set("IPAccounting", true.into());
    properties.extend(of_any_launcher(name, systemd));
    properties
}

/// What every unit has whose main process is the launcher.
pub(super) fn of_any_launcher(name: &str, systemd: u32) -> Vec<Property> {
    let mut properties = Vec::with_capacity(24);
    let mut set = |name: &'static str, value: Value| properties.push(Property::new(name, value));

    set("KillMode", "mixed".into());
    set("KillSignal", Value::I32(15));
    set("TimeoutStopUSec", Value::U64(90 * SECOND));
    set(
        "RuntimeDirectory",
        Value::List(vec![format!("skep/machine/{name}")]),
    );
    set("RuntimeDirectoryMode", Value::U32(0o700));
    // An out-of-memory kill of one guest process is the guest's business.
    set("OOMPolicy", "continue".into());

    set("Slice", "machine.slice".into());
    set("Delegate", true.into());
    if systemd >= 254 {
        set("DelegateSubgroup", "supervisor".into());
    }
    if systemd >= 255 {
        set("CoredumpReceive", true.into());
    }
    set("TasksMax", Value::U64(16384));
    set("DevicePolicy", "closed".into());
    let ptys = ("char-pts".to_owned(), "rw".to_owned());
    // Of no device: a node that service managers cover others with, systemd's Container Interface.
    let none = ("/dev/block/0:0".to_owned(), "m".to_owned());
    set("DeviceAllow", Value::Pairs(vec![ptys, none]));

    set("KeyringMode", "private".into());

    set("SyslogIdentifier", name.into());
    // A guest line that starts with <0> must not become an emergency message of the host.
    set("SyslogLevelPrefix", false.into());
    let field = format!("CONTAINER_NAME={name}").into_bytes();
    set("LogExtraFields", Value::ByteLists(vec![field]));
    properties
}

fn boot_command(name: &str) -> Command {
    Command {
        path: LAUNCHER.to_owned(),
        argv: vec![LAUNCHER.to_owned(), "boot".to_owned(), name.to_owned()],
        ignore_failure: false,
    }
}

/// What a unit has to allow beside the pseudo devices: those that the container gets, and those that its image needs.
pub fn devices_of(spec: &ContainerSpec) -> Option<Property> {
    let mut rules: Vec<_> = spec.devices.iter().map(device_rule).collect();
    if spec.root.path.as_deref().is_some_and(names_image) {
        rules.extend(image_devices(spec));
    }
    (!rules.is_empty()).then(|| Property::new("DeviceAllow", Value::Pairs(rules)))
}

/// What else is there before, and how long it has to be.
fn order_of_network(spec: &ContainerSpec) -> Vec<Property> {
    let mut properties = Vec::new();
    let of_host = |link: &Link| match link.kind {
        LinkKind::Nat(_) | LinkKind::Veth | LinkKind::Zone(_) => false,
        LinkKind::Bridge(_)
        | LinkKind::Macvlan(..)
        | LinkKind::Ipvlan(_)
        | LinkKind::Interface(_) => true,
    };
    if spec.net.links.iter().any(of_host) {
        // Where something waits for the host's links, at boot. Nothing is waited for that is not there: not every host has
        // a device unit of each link.
        let target = vec!["network-online.target".to_owned()];
        properties.push(Property::new("After", Value::List(target)));
    }
    if let Some(Join::Container(other)) = &spec.net.join {
        let unit = unit_name(other);
        // It goes when the other goes: the network would be left without its links.
        for name in ["Requires", "After"] {
            properties.push(Property::new(name, Value::List(vec![unit.clone()])));
        }
    }
    properties
}

/// A launcher that is killed leaves links and rules on the host. Before the declaration's own commands.
fn clean_after(properties: &mut Vec<Property>) {
    let clean = Command {
        path: LAUNCHER.to_owned(),
        argv: vec![LAUNCHER.to_owned(), "clean".to_owned()],
        ignore_failure: true,
    };
    let declared = properties.iter_mut().find(|p| p.name == "ExecStopPost");
    match declared.map(|property| &mut property.value) {
        Some(Value::Exec(commands)) => commands.insert(0, clean),
        _ => properties.push(Property::new("ExecStopPost", Value::Exec(vec![clean]))),
    }
}

/// The launcher makes the node, which takes `m`; a container with private users could not.
fn device_rule(device: &Device) -> (String, String) {
    let mut access = device.access.clone();
    if !access.contains('m') {
        access.push('m');
    }
    let node = device.source.to_string_lossy().into_owned();
    (node, access)
}

/// Adds what the declaration says to the baseline.
pub(super) fn merge(properties: &mut Vec<Property>, wanted: Property) {
    // MemoryMax=2G and MemoryMax=50% are two D-Bus properties of one setting: the declared one wins.
    properties.retain(|p| p.name == wanted.name || setting(p.name) != setting(wanted.name));
    let Some(present) = properties.iter_mut().find(|p| p.name == wanted.name) else {
        properties.push(wanted);
        return;
    };
    match (&mut present.value, wanted.value) {
        (Value::List(old), Value::List(new)) if !REPLACED_LISTS.contains(&wanted.name) => {
            extend(old, new)
        }
        (Value::Pairs(old), Value::Pairs(new)) => extend(old, new),
        (Value::ByteLists(old), Value::ByteLists(new)) => extend(old, new),
        (Value::Blobs(old), Value::Blobs(new)) => extend(old, new),
        (old, new) => *old = new,
    }
}

fn setting(name: &str) -> &str {
    name.strip_suffix("Scale").unwrap_or(name)
}

/// What the launcher needs to mount a disk image. A container cannot make nodes for them, so it gains nothing.
fn image_devices(spec: &ContainerSpec) -> Vec<(String, String)> {
    let mut devices = vec![
        ("/dev/loop-control".to_owned(), "rw".to_owned()),
        ("block-loop".to_owned(), "rw".to_owned()),
    ];
    // A link below /dev, as those of LVM, is followed by systemd.
    if let Some(path) = spec
        .root
        .path
        .as_deref()
        .filter(|path| path.starts_with("/dev"))
    {
        devices.push((path.to_string_lossy().into_owned(), "rw".to_owned()));
    }
    devices
}

/// Host paths whose mounts must be there first: the tree, its template, the layers of overlays, and every bind source that
/// may not be missing.
fn mounts_for(spec: &ContainerSpec) -> Vec<String> {
    let layers = spec.overlays.iter().flat_map(|overlay| {
        let upper = match &overlay.upper {
            Upper::Directory(upper) => Some(upper),
            Upper::Memory | Upper::ReadOnly => None,
        };
        overlay.lower.iter().chain(upper).map(PathBuf::as_path)
    });
    let sources = spec
        .binds
        .iter()
        .filter(|bind| bind.missing == Missing::Fail)
        .map(|bind| bind.source.as_path());
    let journals = (spec.link_journal != LinkJournal::No).then(|| Path::new("/var/log/journal"));
    let stores = stores_for(spec);
    let stores = stores.iter().map(PathBuf::as_path);
    let root = [spec.root.path.as_deref(), spec.root.template.as_deref()];
    let all = root.into_iter().flatten();
    let all = all
        .chain(layers)
        .chain(sources)
        .chain(stores)
        .chain(journals);
    let mut paths = Vec::new();
    extend(&mut paths, all.filter_map(plain_ancestor));
    paths
}

/// Host paths of a store: what names the system and its items, and the store that a profile's link leads to.
fn stores_for(spec: &ContainerSpec) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = spec.system.iter().cloned().collect();
    match &spec.store {
        Some(Store::Whole(path) | Store::Listed(path)) => paths.push(path.clone()),
        Some(Store::Computed) | None => {}
    }
    let leads = |place: &str| {
        spec.system
            .as_ref()
            .is_some_and(|path| path.starts_with(place))
    };
    if leads("/gnu") || leads("/var/guix") {
        paths.push("/gnu/store".into());
    }
    if leads("/nix") {
        paths.push("/nix/store".into());
    }
    paths
}

/// The path up to its first component that systemd could not read back.
///
/// systemd writes `RequiresMountsFor` into the unit's file without quoting it, and reads that file at the next reload.
fn plain_ancestor(path: &Path) -> Option<String> {
    let mut plain = String::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => match name.to_str().filter(|name| is_plain(name)) {
                Some(name) => {
                    plain.push('/');
                    plain.push_str(name);
                }
                None => break,
            },
            Component::Prefix(_) | Component::CurDir | Component::ParentDir => break,
        }
    }
    (!plain.is_empty()).then_some(plain)
}

fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '%' | '\\' | '"' | '\''))
}

#[cfg(test)]
mod tests;
