#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use skep_spec::{Bind, Missing};

use super::*;
use crate::sample;

fn value<'a>(draft: &'a UnitDraft, name: &str) -> Option<&'a Value> {
    let mut found = draft.properties.iter().filter(|p| p.name == name);
    let first = found.next();
    assert!(found.next().is_none(), "{name} twice");
    first.map(|p| &p.value)
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|s| (*s).to_owned()).collect())
}

#[test]
fn properties_follow_the_version() {
    for (systemd, subgroup, coredump) in [
        (252, false, false),
        (254, true, false),
        (255, true, true),
        (262, true, true),
    ] {
        let draft = render(&sample::wanted("web", Vec::new()), systemd);
        assert_eq!(
            value(&draft, "DelegateSubgroup").is_some(),
            subgroup,
            "{systemd}"
        );
        assert_eq!(
            value(&draft, "CoredumpReceive").is_some(),
            coredump,
            "{systemd}"
        );
    }
}

#[test]
fn the_unit_boots_its_container() {
    let draft = render(&sample::wanted("web", Vec::new()), 252);
    assert_eq!(draft.name, "skep@web.service");
    let Some(Value::Exec(commands)) = value(&draft, "ExecStart") else {
        panic!("no ExecStart");
    };
    assert_eq!(commands[0].argv, [LAUNCHER, "boot", "web"]);
    assert_eq!(
        value(&draft, "RuntimeDirectory"),
        Some(&list(&["skep/machine/web"]))
    );
    assert_eq!(
        value(&draft, "RequiresMountsFor"),
        Some(&list(&["/var/lib/machines/web"]))
    );
}

#[test]
fn a_network_comes_before_its_container_and_is_cleaned_after_it() {
    let mut wanted = sample::wanted("web", Vec::new());
    let mut link = Link::of(LinkKind::Veth);
    let after = |wanted: &Wanted| value(&render(wanted, 252), "After").cloned();
    let cleans = |wanted: &Wanted| match value(&render(wanted, 252), "ExecStopPost") {
        Some(Value::Exec(commands)) => commands[0].argv == [LAUNCHER, "clean"],
        _ => false,
    };
    assert!(!cleans(&wanted));
    wanted.spec.net.links = vec![link.clone()];
    assert_eq!(after(&wanted), Some(list(&["network.target"])));
    assert!(cleans(&wanted));
    link.kind = LinkKind::Bridge("br0".into());
    wanted.spec.net.links.push(link);
    let both = list(&["network.target", "network-online.target"]);
    assert_eq!(after(&wanted), Some(both));
    wanted.spec.net.links.clear();
    wanted.spec.net.join = Some(Join::Container("db".into()));
    let both = list(&["network.target", "skep@db.service"]);
    assert_eq!(after(&wanted), Some(both));
    assert!(!cleans(&wanted));
}

#[test]
fn declared_lists_extend_and_declared_scalars_replace() {
    let declared = vec![
        Property::new("After", list(&["network-online.target", "network.target"])),
        Property::new("Description", "Wiki".into()),
        Property::new("TimeoutStartUSec", Value::U64(u64::MAX)),
        Property::new(
            "DeviceAllow",
            Value::Pairs(vec![("/dev/fuse".into(), "rwm".into())]),
        ),
        Property::new("SystemCallArchitectures", list(&["native", "x86"])),
        Property::new("Restart", "on-failure".into()),
    ];
    let draft = render(&sample::wanted("web", declared), 252);
    assert_eq!(
        value(&draft, "After"),
        Some(&list(&["network.target", "network-online.target"]))
    );
    assert_eq!(value(&draft, "Description"), Some(&"Wiki".into()));
    assert_eq!(
        value(&draft, "TimeoutStartUSec"),
        Some(&Value::U64(u64::MAX))
    );
    assert_eq!(
        value(&draft, "SystemCallArchitectures"),
        Some(&list(&["native", "x86"]))
    );
    assert_eq!(value(&draft, "Restart"), Some(&"on-failure".into()));
    let Some(Value::Pairs(devices)) = value(&draft, "DeviceAllow") else {
        panic!("no DeviceAllow");
    };
    assert_eq!(devices.len(), 3);
}

#[test]
fn a_relative_limit_replaces_the_absolute_one() {
    let declared = vec![Property::new("TasksMaxScale", Value::U32(u32::MAX / 2))];
    let draft = render(&sample::wanted("web", declared), 252);
    assert_eq!(value(&draft, "TasksMax"), None);
    assert!(value(&draft, "TasksMaxScale").is_some());
}

#[test]
fn mounts_are_required_where_systemd_can_read_them_back() {
    for (root, want) in [
        ("/", None),
        ("/srv/a", Some("/srv/a")),
        ("/srv/two words/a", Some("/srv")),
        ("/srv/50%/a", Some("/srv")),
        ("/srv/line\nbreak", Some("/srv")),
        ("/two words", None),
    ] {
        let mut wanted = sample::wanted("web", Vec::new());
        wanted.spec.root.path = Some(PathBuf::from(root));
        let draft = render(&wanted, 252);
        assert_eq!(
            value(&draft, "RequiresMountsFor"),
            want.map(|w| list(&[w])).as_ref(),
            "{root:?}"
        );
    }
}

#[test]
fn optional_binds_require_no_mount() {
    let mut wanted = sample::wanted("web", Vec::new());
    for (source, missing) in [
        ("/srv/must", Missing::Fail),
        ("/srv/may", Missing::Skip),
        ("/srv/must", Missing::Fail),
    ] {
        wanted.spec.binds.push(Bind {
            source: PathBuf::from(source),
            target: PathBuf::from("/x"),
            read_only: false,
            missing,
            recursive: true,
            idmap: true,
            nosuid: true,
            nodev: true,
        });
    }
    let draft = render(&wanted, 252);
    assert_eq!(
        value(&draft, "RequiresMountsFor"),
        Some(&list(&["/var/lib/machines/web", "/srv/must"]))
    );
}

#[test]
fn a_refusal_waits_for_no_mount() {
    let draft = render_refusal("web", Path::new("/etc/skep/web.container"), 252);
    assert_eq!(value(&draft, "RequiresMountsFor"), None);
    assert!(value(&draft, "ExecStart").is_some());
}

#[test]
fn only_images_get_loop_devices() {
    let pair = |device: &str| (device.to_owned(), "rw".to_owned());
    let none = ("/dev/block/0:0".to_owned(), "m".to_owned());
    let terminals = [pair("char-pts"), none.clone()];
    let loops = [
        pair("char-pts"),
        none,
        pair("/dev/loop-control"),
        pair("block-loop"),
    ];
    let disk = [&loops[..], &[pair("/dev/vg/web")]].concat();
    for (root, devices) in [
        ("/srv/tree", &terminals[..]),
        ("/srv/web.raw", &loops),
        ("/srv/web.SquashFS", &loops),
        ("/dev/vg/web", &disk),
    ] {
        let mut wanted = sample::wanted("web", Vec::new());
        wanted.spec.root.path = Some(root.into());
        let draft = render(&wanted, 252);
        let allowed = Value::Pairs(devices.to_vec());
        assert_eq!(value(&draft, "DeviceAllow"), Some(&allowed), "{root}");
    }
}

#[test]
fn layers_and_the_template_are_mounted_first() {
    let mut wanted = sample::wanted("web", Vec::new());
    wanted.spec.root.template = Some("/srv/golden".into());
    wanted.spec.overlays.push(skep_spec::Overlay {
        lower: vec!["/a".into(), "/b c".into()],
        upper: Upper::Directory("/u".into()),
        target: "/t".into(),
    });
    let draft = render(&wanted, 252);
    assert_eq!(
        value(&draft, "RequiresMountsFor"),
        Some(&list(&["/var/lib/machines/web", "/srv/golden", "/a", "/u"]))
    );
}
