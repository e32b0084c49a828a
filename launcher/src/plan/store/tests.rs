use super::*;
use crate::host::HostFacts;
use crate::plan::plan_launch;
use crate::plan::tests_support::spec;
use crate::tree::TreeFacts;
use crate::tree::services::Services;

const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

fn item(name: &str) -> PathBuf {
    PathBuf::from(format!("{GUIX_STORE}/{HASH}-{name}"))
}

fn guix() -> SystemFacts {
    SystemFacts {
        path: item("system"),
        boot: Some(Program::Text),
        guile: Some(item("guile/bin/guile")),
        ..SystemFacts::default()
    }
}

#[test]
fn systems_boot_by_what_they_have() {
    let path = item("system");
    let in_system = |name: &str| path.join(name).to_string_lossy().into_owned();
    let argv = |facts: &SystemFacts| plan_system(facts).map(|plan| plan.argv);
    let why = |facts: &SystemFacts| plan_system(facts).unwrap_err().to_string();
    let guile = item("guile/bin/guile").to_string_lossy().into_owned();
    assert_eq!(
        argv(&guix()).unwrap(),
        [guile, "--no-auto-compile".into(), in_system("boot")]
    );
    let direct = SystemFacts {
        boot: Some(Program::Direct),
        ..guix()
    };
    assert_eq!(argv(&direct).unwrap(), [in_system("boot")]);
    let nix = SystemFacts {
        boot: None,
        init: Some(Program::Direct),
        ..guix()
    };
    assert_eq!(argv(&nix).unwrap(), [in_system("init")]);
    assert_eq!(plan_system(&nix).unwrap().init().1, InitKind::Systemd);
    let no_guile = SystemFacts {
        guile: None,
        ..guix()
    };
    assert!(why(&no_guile).starts_with("no Guile to run "));
    let text = SystemFacts {
        init: Some(Program::Text),
        ..nix.clone()
    };
    assert!(why(&text).starts_with("not an executable program: "));
    let empty = SystemFacts {
        init: None,
        ..nix.clone()
    };
    assert!(why(&empty).contains("neither boot (Guix) nor init (NixOS)"));
    for (facts, cure) in [
        (guix(), "guix system container config.scm"),
        (nix, "boot.isContainer = true"),
    ] {
        let metal = SystemFacts {
            bare_metal: vec!["kernel", "initrd"],
            ..facts
        };
        let why = why(&metal);
        assert!(
            why.contains("with kernel, initrd:") && why.contains(cure),
            "{why}"
        );
    }
}

#[test]
fn scripts_name_one_system() {
    let system = item("system");
    let text = |path: &Path| format!("(setenv \"GUIX_NEW_SYSTEM\" \"{}\")", path.display());
    let script = format!(
        "#!{}\n{}\n{}/boot\n",
        item("guile-3.0.9/bin/guile").display(),
        text(&system),
        system.display()
    );
    assert_eq!(system_of_script(&script), Ok(system.clone()));
    assert!(
        system_of_script("#!/bin/sh\n")
            .unwrap_err()
            .contains("no item")
    );
    let other = item("other-system");
    let two = format!("{}{}", text(&system), text(&other));
    assert!(
        system_of_script(&two)
            .unwrap_err()
            .contains("more than one")
    );
    // Longer names and paths that climb out are not it.
    for wrong in ["system-extra", "system.drv"] {
        assert!(system_of_script(&text(&item(wrong))).is_err(), "{wrong}");
    }
    assert!(system_of_script("/gnu/store/../../etc/a-system").is_err());
}

#[test]
fn items_are_direct_children_of_a_store() {
    for (path, store) in [
        ("/gnu/store/a-b", Some(GUIX_STORE)),
        ("/nix/store/a-b", Some(NIX_STORE)),
        ("/nix/store/a-b/c", None),
        ("/nix/store", None),
        ("/nix/store/.links", None),
        ("/nix/store/a b", None),
        ("/opt/store/a", None),
        ("/", None),
    ] {
        assert_eq!(
            store_of(Path::new(path), None),
            store.map(PathBuf::from),
            "{path}"
        );
    }
    let own = Path::new("/opt/store");
    assert!(store_of(Path::new("/opt/store/a"), Some(own)).is_some());
    assert!(store_of(Path::new("/gnu/store/a"), Some(own)).is_none());
}

#[test]
fn lists_are_checked() {
    let store = Path::new(GUIX_STORE);
    let system = item("system");
    let parse = |text: &str| parse_items(text, store, Some(&system), "Closure=/list");
    let (a, s) = (
        item("a").display().to_string(),
        system.display().to_string(),
    );
    assert_eq!(
        parse(&format!("{s}\n {a}\t{s}\n")).unwrap(),
        [format!("{HASH}-a"), format!("{HASH}-system")]
    );
    let why = |text: &str| parse(text).unwrap_err().to_string();
    assert!(why(&a).contains(&format!(
        "the system itself is not in Closure=/list; add {s}"
    )));
    assert!(why("").contains("the system itself"));
    for wrong in [
        "/gnu/store/../etc",
        "/nix/store/a",
        "/gnu/store/a/b",
        "a",
        "/gnu/store/a\u{1b}[2J",
    ] {
        let why = why(&format!("{s} {wrong}"));
        assert!(
            why.contains("not an item of /gnu/store:") && !why.contains('\u{1b}'),
            "{why}"
        );
    }
    let many: String = (0..=MAX_ITEMS)
        .map(|n| format!("{GUIX_STORE}/{n}\n"))
        .collect();
    assert!(why(&many).contains("too many items"));
    assert!(parse_items("", store, None, "x").is_err());
}

#[test]
fn shepherd_leads_to_guile() {
    let store = Path::new(GUIX_STORE);
    let shepherd = item("shepherd-1.0/bin/shepherd");
    let boot = format!("(execl \"{}\" \"shepherd\")", shepherd.display());
    assert_eq!(
        program_in(&boot, store, "shepherd"),
        Some(shepherd.as_path())
    );
    let guile = item("guile-3.0/bin/guile");
    let line = format!("#!{} --no-auto-compile", guile.display());
    assert_eq!(program_in(&line, store, "guile"), Some(guile.as_path()));
    assert_eq!(program_in("#!/usr/bin/guile", store, "guile"), None);
    assert_eq!(program_in("/gnu/store/../bin/guile", store, "guile"), None);
}

#[test]
fn a_guix_system_gets_what_it_needs_and_no_more() {
    let mut spec = spec();
    spec.root.path = None;
    spec.environment.push(skep_spec::Variable {
        name: "LANG".into(),
        value: "C.UTF-8".into(),
    });
    let system = plan_system(&guix()).unwrap();
    let tree = TreeFacts {
        init: system.init(),
        init_version: None,
        os: None,
        machine_id: None,
        services: Services::default(),
    };
    let host = HostFacts {
        os_fields: vec![("id".into(), "debian".into())],
        ..HostFacts::default()
    };
    let mut plan = plan_launch("web", &spec, &host, &tree, "0:0", |_| None);
    let view = View {
        store: GUIX_STORE.into(),
        items: Some(vec!["a".into()]),
    };
    add_store(&mut plan, &spec, Some(system), Some(view));
    let names: Vec<&str> = plan
        .init
        .environment
        .iter()
        .filter_map(|entry| Some(entry.split_once('=')?.0))
        .collect();
    assert_eq!(
        names,
        [
            "PATH",
            "container",
            "TERM",
            "HOME",
            "LANG",
            "TMPDIR",
            "GUIX_NEW_SYSTEM"
        ]
    );
    assert_eq!(plan.init.argv.len(), 3);
    let text = plan.to_string();
    for line in [
        "root on a fresh tmpfs\n",
        "-system (Guix System)\n",
        "directory /root 0700\n",
        "store /gnu/store ro, 1 items\n",
        "(shepherd), ready when it runs, shut down by signal 15, for a reboot too\n",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
}
