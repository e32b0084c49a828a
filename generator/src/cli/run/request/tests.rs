#![allow(clippy::unwrap_used)]

use clap::Parser;
use skep_spec::Tmpfs;

use super::*;
use crate::property::Value;
use crate::sample;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

const FACTS: Facts = Facts {
    systemd: Some(257),
    hostname: String::new(),
    machine_id: None,
    boot_id: String::new(),
    kernel: String::new(),
};

fn asked(like: Option<&Wanted>, options: &[&str]) -> Result<Request, Problems> {
    let words = ["run"].iter().chain(options).chain(&["--", "true", "-x"]);
    let line = Line::try_parse_from(words).unwrap();
    let variable = |name: &str| (name == "USER").then(|| "ann".to_owned());
    let around = Around {
        directory: Path::new("/home/ann"),
        variable: &variable,
        resolve: &|path| (path == Path::new("/home/ann/../bob")).then(|| "/home/bob".into()),
        streams: Streams::Pipes,
    };
    request(&line.run, like, Vec::new(), &around, &FACTS)
}

fn spec(options: &[&str]) -> ContainerSpec {
    asked(None, options).unwrap().spec
}

fn mounts(spec: &ContainerSpec) -> Vec<String> {
    let text = |bind: &Bind| {
        let kind = if bind.read_only { "ro" } else { "rw" };
        let dash = if bind.missing == Missing::Skip {
            "-"
        } else {
            ""
        };
        let (source, target) = (bind.source.display(), bind.target.display());
        format!("{dash}{source}={target} {kind}")
    };
    spec.binds.iter().map(text).collect()
}

#[test]
fn by_default_nothing_of_the_host_is_there() {
    let spec = spec(&[]);
    assert_eq!(spec.root.path, None);
    assert_eq!(spec.root.access, Access::Ephemeral);
    assert_eq!(spec.users, Users::Private { base: 0 });
    assert_eq!(spec.network, Network::Private);
    assert!(spec.binds.is_empty() && spec.shared.is_empty() && spec.environment.is_empty());
    let command = spec.command.unwrap();
    assert_eq!(command.argv, ["true", "-x"]);
    assert_eq!(command.user, (0, 0));
    assert!(!command.init);
}

#[test]
fn shares_are_made_absolute_and_parents_come_first() {
    let spec = spec(&[
        "--share=data=/srv/deep/data",
        "--expose",
        "/usr/bin/busybox=/srv",
        "--expose=-./maybe",
        "--share=../bob",
        "--share=/a:b=/c:d%",
    ]);
    let mut found = mounts(&spec);
    found.sort();
    assert_eq!(
        found,
        [
            "-/home/ann/maybe=/home/ann/maybe ro",
            "/a:b=/c:d% rw",
            "/home/ann/data=/srv/deep/data rw",
            "/home/bob=/home/bob rw",
            "/usr/bin/busybox=/srv ro",
        ]
    );
    let targets: Vec<&Path> = spec
        .binds
        .iter()
        .map(|bind| bind.target.as_path())
        .collect();
    assert!(targets.is_sorted());
    assert!(spec.binds.iter().all(|bind| bind.idmap && bind.nosuid));
}

#[test]
fn ids_variables_and_places() {
    let spec = spec(&[
        "--uid=33",
        "--env=A=b=c",
        "--env",
        "USER",
        "--chdir=/srv",
        "--hostname=h1",
        "--pid-file=pid",
        "--init",
        "--tmpfs=/x:size=1M",
    ]);
    let command = spec.command.unwrap();
    assert_eq!(command.user, (33, 33));
    assert_eq!(command.directory, Some("/srv".into()));
    assert_eq!(command.pid_file, Some("/home/ann/pid".into()));
    assert!(command.init);
    let variables: Vec<_> = spec
        .environment
        .iter()
        .map(|one| (one.name.as_str(), one.value.as_str()))
        .collect();
    assert_eq!(variables, [("A", "b=c"), ("USER", "ann")]);
    assert_eq!(
        spec.temporary,
        [Tmpfs {
            target: "/x".into(),
            options: vec!["size=1048576".into()],
            read_only: false,
            noexec: false
        }]
    );
}

#[test]
fn namespaces_that_are_left_out_are_the_hosts() {
    let none = spec(&["--namespaces=none"]);
    assert_eq!(none.users, Users::Host);
    assert_eq!(none.network, Network::Host);
    assert_eq!(none.shared.len(), 5);
    assert_eq!(none.root.access, Access::Write);
    let network = spec(&["--network", "--namespaces=all"]);
    assert_eq!(network.network, Network::Host);
    assert!(network.shared.is_empty());
    let two = spec(&["--namespaces=user,mount"]);
    assert_eq!(two.users, Users::Private { base: 0 });
    assert_eq!(two.shared.len(), 4);
}

#[test]
fn a_declaration_is_a_base() {
    let mut like = sample::wanted(
        "web",
        vec![
            Property::new("MemoryMax", Value::U64(1)),
            Property::new("Restart", "always".into()),
        ],
    );
    let bind = |source: &str, target: &str| Bind {
        source: source.into(),
        recursive: true,
        ..exposed(Path::new(target), like.spec.users)
    };
    like.spec.binds = vec![bind("/old", "/a"), bind("/keep", "/a/b")];
    like.spec.init = Some("/sbin/init".into());
    like.spec.kill_signal = Some(2);
    let got = asked(Some(&like), &["--share=/new=/a", "--property=MemoryMax=2"]).unwrap();
    assert_eq!(mounts(&got.spec), ["/new=/a rw", "/keep=/a/b ro"]);
    assert_eq!(got.spec.root.path, Some("/var/lib/machines/web".into()));
    assert_eq!(got.spec.root.access, Access::Ephemeral);
    assert_eq!((got.spec.init, got.spec.kill_signal), (None, None));
    assert_eq!(got.properties, [Property::new("MemoryMax", Value::U64(2))]);
    like.spec.users = Users::Identity;
    let spec = asked(Some(&like), &["--share=/new=/n"]).unwrap().spec;
    assert_eq!(spec.users, Users::Identity);
    assert!(spec.binds.iter().all(|bind| !bind.idmap));
}

#[test]
fn the_unit_allows_what_the_container_gets() {
    let rules = |got: &Request| -> Vec<(String, String)> {
        let allowed = got
            .properties
            .iter()
            .filter(|one| one.name == "DeviceAllow");
        allowed
            .flat_map(|one| match &one.value {
                Value::Pairs(pairs) => pairs.clone(),
                _ => Vec::new(),
            })
            .collect()
    };
    let pair = |node: &str, access: &str| (node.to_owned(), access.to_owned());
    let of_images = [pair("/dev/loop-control", "rw"), pair("block-loop", "rw")];
    assert_eq!(rules(&asked(None, &[]).unwrap()), []);
    assert_eq!(rules(&asked(None, &["--root=a.raw"]).unwrap()), of_images);
    let mut like = sample::wanted("web", Vec::new());
    like.spec.root.path = Some("/srv/web.raw".into());
    like.spec.devices = vec![skep_spec::Device {
        source: "/dev/kvm".into(),
        target: "/dev/kvm".into(),
        access: "rw".into(),
        optional: false,
    }];
    let got = asked(Some(&like), &["--property=DeviceAllow=/dev/fuse r"]).unwrap();
    let own = [pair("/dev/fuse", "r"), pair("/dev/kvm", "rwm")];
    assert_eq!(rules(&got), [own, of_images].concat());
}

#[test]
fn wrong_options_say_what_declarations_say() {
    for (options, want) in [
        (
            &["--share=/proc"][..],
            "--share: source /proc is the host's kernel interface; the container has its own",
        ),
        (
            &["--expose=/a=b"],
            "--expose: target is not absolute: \"b\"",
        ),
        (&["--share==/b"], "--share: source is empty: \"=/b\""),
        (
            &["--share=../../x"],
            "--share: \"../../x\": no such file or directory",
        ),
        (
            &["--share=/a", "--expose=/b=/a"],
            "--expose: something else is mounted at \"/a\" already",
        ),
        (
            &["--tmpfs=/x:sise=1"],
            "--tmpfs: sise=: unknown option; there are size=, nr_inodes=, mode=, ro, rw, exec, noexec, nosuid, nodev",
        ),
        (&["--property=MemoryMax=lots"], "--property: MemoryMax=: "),
        (
            &["--property=MemoryMx=1"],
            "--property: MemoryMx=: unknown key in [Service]; did you mean MemoryMax=?",
        ),
        (&["--property=ExecStart=/x"], "--property: ExecStart=: "),
        (&["--property=x"], "--property: not NAME=VALUE: \"x\""),
        (&["--env=NOPE"], "--env: the caller has no variable NOPE"),
        (
            &["--namespaces=pod"],
            "--namespaces: \"pod\" is no namespace",
        ),
        (
            &["--namespaces=-mount", "--share=/a"],
            "--share needs a mount namespace, which --namespaces leaves out",
        ),
        (&["--hostname=a b"], "--hostname: "),
        (
            &["--root=/", "--writable"],
            "--root: / is always copy-on-write; remove --writable",
        ),
        (
            &["--root=/proc/1/root"],
            "--root: no OS tree can be below /proc: \"/proc/1/root\"",
        ),
        (
            &["--root=/dev"],
            "--root: the tree is a directory of devices",
        ),
    ] {
        let problems = asked(None, options).unwrap_err();
        assert!(
            problems.iter().any(|line| line.starts_with(want)),
            "{options:?}: {problems:?}"
        );
    }
}
