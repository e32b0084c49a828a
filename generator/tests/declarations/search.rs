//! Which files count: precedence, masks, drop-ins, and what is wrong with files themselves.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use skep::declaration::{LoadState, load_file, merged};

use super::{Root, facts, is_valid, named, problems};

const GOOD: &str = "[Container]\nRoot=/srv/tree\n";

/// Each wrong file, made by the function, beside a good one.
#[test]
fn wrong_files() {
    type Make = fn(&Root);
    let cases: &[(&str, Make, &str, &str)] = &[
        (
            "fifo",
            |root| fifo(root, "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "not a regular file but a fifo",
        ),
        (
            "socket",
            |root| socket(root, "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "socket",
        ),
        (
            "directory",
            |root| dir(root, "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "but a directory",
        ),
        (
            "dangling link",
            |root| root.link("gone", "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "dangling",
        ),
        (
            "link to itself",
            |root| root.link("bad.container", "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "circle",
        ),
        (
            "too large",
            |root| large(root, "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "larger than 1024 KiB",
        ),
        (
            "group-writable",
            |root| mode(root, 0o664),
            "/etc/skep/bad.container: ",
            "(mode 0664): chmod go-w",
        ),
        (
            "world-writable",
            |root| mode(root, 0o646),
            "/etc/skep/bad.container: ",
            "(mode 0646): chmod go-w",
        ),
        (
            "link to a directory",
            |root| root.link("/etc", "/etc/skep/bad.container"),
            "/etc/skep/bad.container: ",
            "but a directory",
        ),
        (
            "drop-in is a fifo",
            |root| with(root, fifo, "10.conf"),
            "/etc/skep/bad.container.d/10.conf: ",
            "but a fifo",
        ),
        (
            "drop-in is a socket",
            |root| with(root, socket, "10.conf"),
            "/etc/skep/bad.container.d/10.conf: ",
            "socket",
        ),
        (
            "drop-in is a directory",
            |root| with(root, dir, "10.conf"),
            "/etc/skep/bad.container.d/10.conf: ",
            "but a directory",
        ),
        (
            "drop-in is too large",
            |root| with(root, large, "10.conf"),
            "/etc/skep/bad.container.d/10.conf: ",
            "larger than",
        ),
        (
            "drop-in links to itself",
            |root| looped(root),
            "/etc/skep/bad.container.d/a.conf: ",
            "circle",
        ),
        (
            "drop-ins link in a circle",
            |root| circle(root),
            "/etc/skep/bad.container.d/a.conf: ",
            "circle",
        ),
        (
            "drop-in is dangling",
            |root| dangling(root),
            "/etc/skep/bad.container.d/a.conf: ",
            "dangling",
        ),
        (
            "drop-in directory is a file",
            |root| file_as_dir(root),
            "/etc/skep/bad.container.d: ",
            "not a directory",
        ),
        (
            "drop-in directory links to itself",
            |root| dir_loop(root),
            "/etc/skep/bad.container.d: ",
            "circle",
        ),
        (
            "drop-in directory is dangling",
            |root| dir_dangling(root),
            "/run/skep/bad.container.d: ",
            "dangling",
        ),
        (
            "drop-in is binary",
            |root| binary(root),
            "/etc/skep/bad.container.d/a.conf:1: ",
            "NUL byte",
        ),
    ];
    for (what, make, place, message) in cases {
        let root = Root::new();
        root.put("/etc/skep/good.container", GOOD);
        // A lower file in order: it must not be fallen back to.
        root.put("/usr/lib/skep/bad.container", GOOD);
        make(&root);
        let all = root.load();
        assert!(is_valid(named(&all, "good")), "{what}");
        let text = problems(named(&all, "bad"))
            .first()
            .unwrap_or_else(|| panic!("{what}: no problem"))
            .to_string();
        let text = text.replace(root.path().to_str().unwrap(), "");
        assert!(
            text.starts_with(place) && text.contains(message),
            "{what}: {text}"
        );
    }
}

fn fifo(root: &Root, inside: &str) {
    nix::unistd::mkfifo(
        &root.at(inside),
        nix::sys::stat::Mode::from_bits_truncate(0o644),
    )
    .unwrap();
}

fn socket(root: &Root, inside: &str) {
    // The path of a socket is short; the file stays when the listener goes.
    drop(UnixListener::bind(root.at(inside)).unwrap());
}

fn dir(root: &Root, inside: &str) {
    fs::create_dir(root.at(inside)).unwrap();
}

fn large(root: &Root, inside: &str) {
    root.put(inside, vec![b'#'; 1024 * 1024 + 1]);
}

fn mode(root: &Root, mode: u32) {
    let path = root.put("/etc/skep/bad.container", GOOD);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn with(root: &Root, make: fn(&Root, &str), name: &str) {
    root.put("/etc/skep/bad.container", GOOD);
    fs::create_dir(root.at("/etc/skep/bad.container.d")).unwrap();
    make(root, &format!("/etc/skep/bad.container.d/{name}"));
}

fn looped(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.link("a.conf", "/etc/skep/bad.container.d/a.conf");
}

fn circle(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.link("b.conf", "/etc/skep/bad.container.d/a.conf");
    root.link("a.conf", "/etc/skep/bad.container.d/b.conf");
}

fn dangling(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.link("/gone", "/etc/skep/bad.container.d/a.conf");
}

fn file_as_dir(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.put("/etc/skep/bad.container.d", "x");
}

fn dir_loop(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.link("bad.container.d", "/etc/skep/bad.container.d");
}

fn dir_dangling(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.link("gone", "/run/skep/bad.container.d");
}

fn binary(root: &Root) {
    root.put("/etc/skep/bad.container", GOOD);
    root.put("/etc/skep/bad.container.d/a.conf", b"\x7fELF\0\0\x01");
}

#[test]
fn broken_directories_are_reported() {
    let root = Root::new();
    root.put("/etc/skep/good.container", GOOD);
    root.put("/run/skep", "a file");
    root.link("skep", "/usr/lib/skep");
    let all = root.load();
    assert!(is_valid(named(&all, "good")));
    let lines: Vec<String> = all
        .iter()
        .flat_map(problems)
        .map(ToString::to_string)
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("/run/skep: not a directory")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("/usr/lib/skep: symbolic links in a circle")),
        "{lines:?}"
    );
    assert_eq!(all.iter().filter(|loaded| !loaded.unit).count(), 2);
}

#[test]
fn names_that_cannot_be_units() {
    let root = Root::new();
    let long = "x".repeat(65);
    for name in [
        "a b",
        "@foo",
        "foo@bar@baz",
        "-x",
        "host",
        "localhost",
        "\u{e4}",
        long.as_str(),
    ] {
        root.put(&format!("/etc/skep/{name}.container"), GOOD);
        let loaded = load_file(
            &root.at(&format!("/etc/skep/{name}.container")),
            root.path(),
            &facts(None),
        );
        assert!(!loaded.unit, "{name}");
        assert_eq!(problems(&loaded).len(), 1, "{name}");
        assert_eq!(loaded.name, name);
    }
    let odd = root
        .at("/etc/skep")
        .join(OsStr::from_bytes(b"a\xff.container"));
    fs::write(&odd, GOOD).unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o644)).unwrap();
    // Not declarations at all.
    for name in [
        ".hidden.container",
        "web.container~",
        "web.container.dpkg-new",
        "README",
        ".container",
    ] {
        root.put(&format!("/etc/skep/{name}"), "junk");
    }
    let all = root.load();
    assert_eq!(all.len(), 9, "{all:#?}");
    assert!(
        all.iter()
            .all(|loaded| !loaded.unit && problems(loaded).len() == 1)
    );
    let odd = all
        .iter()
        .find(|loaded| loaded.name.contains('\u{fffd}'))
        .unwrap();
    assert!(
        problems(odd)[0]
            .to_string()
            .contains(r"/a\xff.container: a container's name is UTF-8")
    );
}

#[test]
fn single_files() {
    let root = Root::new();
    let load = |path: &std::path::Path| load_file(path, root.path(), &facts(None));
    root.put(
        "/usr/lib/skep/web.container.d/a.conf",
        "[Container]\nHostname=lower\nReadOnly=yes\n",
    );
    let installed = root.put("/etc/skep/web.container", GOOD);
    let elsewhere = root.put("/home/me/web.container", GOOD);
    root.put(
        "/home/me/web.container.d/a.conf",
        "[Container]\nHostname=mine\n",
    );
    let hostname = |loaded: &skep::declaration::Loaded| match &loaded.state {
        LoadState::Valid(wanted) => wanted.spec.hostname.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(hostname(&load(&installed)).as_deref(), Some("lower"));
    assert_eq!(hostname(&load(&elsewhere)).as_deref(), Some("mine"));
    for (name, expected) in [
        ("gone.container", "cannot be opened"),
        ("web.txt", "ends in .container"),
    ] {
        let loaded = load(&root.at(&format!("/etc/skep/{name}")));
        assert!(
            problems(&loaded)[0].message.contains(expected),
            "{name}: {loaded:?}"
        );
    }
    let null = root.at("/etc/skep/null.container");
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    assert_eq!(load(&null).state, LoadState::Masked);
}

#[test]
fn merged_lines() {
    let root = Root::new();
    root.put(
        "/etc/skep/web.container",
        "[Service]\nMemoryMax=1G\n[Container]\nBind=/a\nBind=/b\nHostname=%i\nX-Note=x\n[X-Other]\nA=1\n",
    );
    root.put(
        "/run/skep/web.container.d/10.conf",
        "[Container]\nBind=\nBind=/c \\\n  d\n[Service]\nMemoryMax=2G\n",
    );
    let lines = merged(root.path(), "web").unwrap().unwrap();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| {
            let file = line.path.strip_prefix(root.path()).unwrap().display();
            format!(
                "{}.{}={} {file}:{}",
                line.section, line.key, line.value, line.line
            )
        })
        .collect();
    let expected = [
        "Container.Hostname=%i etc/skep/web.container:6",
        "Container.Bind=/c  d run/skep/web.container.d/10.conf:3",
        "Service.MemoryMax=2G run/skep/web.container.d/10.conf:6",
    ];
    assert_eq!(shown, expected);
    root.put(
        "/etc/skep/bad.container",
        "[Container]\nBnid=/a\nRoot=relative\n",
    );
    let problems = merged(root.path(), "bad").unwrap().unwrap_err();
    assert_eq!(
        problems.len(),
        1,
        "values are not judged here: {problems:?}"
    );
    root.put("/etc/skep/off.container", "");
    assert_eq!(merged(root.path(), "off"), Some(Ok(Vec::new())));
    assert_eq!(merged(root.path(), "none"), None);
}

#[test]
fn nothing_beside_or_inside_a_tree_is_read() {
    let root = Root::new();
    for directory in [
        "/var/lib/machines",
        "/var/lib/machines/web",
        "/var/lib/machines/web/etc/skep",
    ] {
        for name in ["web.container", "web.nspawn", "web.container.d/10.conf"] {
            root.put(
                &format!("{directory}/{name}"),
                "[Container]\nHostname=stolen\n",
            );
        }
    }
    assert_eq!(root.load(), []);
    root.put("/etc/skep/web.container", "[Container]\n");
    let all = root.load();
    let LoadState::Valid(wanted) = &named(&all, "web").state else {
        panic!("{all:?}");
    };
    assert_eq!(wanted.spec.hostname, None);
    root.put("/etc/systemd/nspawn/other.nspawn", "[Exec]\nBoot=yes\n");
    assert_eq!(root.load().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_listed_hides_what_comes_after_it() {
    let root = Root::new();
    root.link("gone", "/etc/skep");
    root.put("/run/skep/run.container", GOOD);
    root.put(
        "/usr/lib/skep/wanted.container",
        format!("{GOOD}[Install]\nWantedBy=machines.target\n"),
    );
    root.link("/dev/null", "/usr/lib/skep/off.container");
    root.put("/usr/lib/skep/w@.container", GOOD);
    root.link("w@.container", "/usr/lib/skep/w@1.container");
    let all = root.load();
    for name in ["run", "wanted", "off", "w@1"] {
        let one = named(&all, name);
        let lines: Vec<String> = problems(one).iter().map(ToString::to_string).collect();
        assert!(
            one.unit && lines.len() == 1 && lines[0].ends_with("/etc/skep: dangling symbolic link"),
            "{name}: {lines:?}"
        );
    }
    let LoadState::Invalid { wanted_by, .. } = &named(&all, "wanted").state else {
        panic!("{all:#?}");
    };
    assert_eq!(wanted_by, &["machines.target"]);
    let hidden = |name: &str| all.iter().any(|one| one.hides(name));
    assert!(hidden("any"));
    fs::remove_file(root.at("/etc/skep")).unwrap();
    let all = root.load();
    assert!(is_valid(named(&all, "run")) && !all.iter().any(|one| one.hides("any")));
    assert_eq!(named(&all, "off").state, LoadState::Masked);
}
