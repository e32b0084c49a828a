//! `Bind=`, `BindReadOnly=` and `TemporaryFileSystem=`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use skep_spec::{Bind, Missing, Overlay, Tmpfs, Users};

use super::{At, Reader, overlays};
use crate::declaration::value::path::absolute;
use crate::declaration::value::percentage;
use crate::declaration::value::size::{Base, size};
use crate::problem::{Origin, quoted};

const BIND_OPTIONS: &str = "rbind, norbind, idmap, noidmap, nosuid, suid, nodev, dev, create";
const TMPFS_OPTIONS: &str = "size=, nr_inodes=, mode=, ro, rw, exec, noexec, nosuid, nodev";

/// Mounts in the order in which they are made: parents first.
pub(super) struct Read {
    pub(super) binds: Vec<Bind>,
    pub(super) overlays: Vec<Overlay>,
    pub(super) temporary: Vec<Tmpfs>,
}

/// A bind as written.
#[derive(Debug)]
struct Written {
    bind: Bind,
    /// `idmap` or `noidmap` was given.
    idmap: Option<bool>,
}

/// Reads them; `fresh_var` is a tmpfs that another key means, and that a declared one of the same place replaces.
pub(super) fn read(reader: &mut Reader<'_>, users: Users, fresh_var: Option<Tmpfs>) -> Read {
    let mut binds: Vec<(&str, At<Written>)> = Vec::new();
    for (key, read_only) in [("Bind", false), ("BindReadOnly", true)] {
        binds.extend(
            reader
                .list(key, |text| Ok(vec![bind(text, read_only)?]))
                .into_iter()
                .map(|at| (key, at)),
        );
    }
    let mut temporary = reader.list("TemporaryFileSystem", |text| Ok(vec![tmpfs(text)?]));
    for (key, at) in &mut binds {
        let private = matches!(users, Users::Private { .. });
        at.value.bind.idmap = at.value.idmap.unwrap_or(private);
        if at.value.idmap == Some(true) && !private {
            let message = || "idmap needs private users; remove it or PrivateUsers=".to_owned();
            reader.problems.error(at.origin, Some(key), message);
        }
    }
    let mut overlays = overlays::read(reader);
    check_targets(reader, &binds, &overlays, &temporary);
    warn_of_aging(reader, &binds);
    overlays.sort_by(|(_, a), (_, b)| a.value.target.cmp(&b.value.target));
    binds.sort_by(|(_, a), (_, b)| a.value.bind.target.cmp(&b.value.bind.target));
    temporary.sort_by(|a, b| a.value.target.cmp(&b.value.target));
    let mut temporary: Vec<Tmpfs> = temporary.into_iter().map(|at| at.value).collect();
    if let Some(fresh) = fresh_var
        && !temporary.iter().any(|tmpfs| tmpfs.target == fresh.target)
    {
        temporary.push(fresh);
        temporary.sort_by(|a, b| a.target.cmp(&b.target));
    }
    Read {
        binds: binds.into_iter().map(|(_, at)| at.value.bind).collect(),
        overlays: overlays.into_iter().map(|(_, at)| at.value).collect(),
        temporary,
    }
}

/// No two mounts on one place, and none that another hides.
fn check_targets(
    reader: &mut Reader<'_>,
    binds: &[(&str, At<Written>)],
    overlays: &[(&str, At<Overlay>)],
    temporary: &[At<Tmpfs>],
) {
    let bound = binds
        .iter()
        .map(|(key, at)| (at.value.bind.target.as_path(), *key, at.origin));
    let overlaid = overlays
        .iter()
        .map(|(key, at)| (at.value.target.as_path(), *key, at.origin));
    let mut taken: Vec<(&Path, &str, Origin)> = bound
        .chain(overlaid.clone())
        .chain(
            temporary
                .iter()
                .map(|at| (at.value.target.as_path(), "TemporaryFileSystem", at.origin)),
        )
        .collect();
    taken.sort_by_key(|(target, _, origin)| (*target, *origin));
    for pair in taken.windows(2) {
        if let [(target, _, first), (other, key, second)] = pair
            && target == other
        {
            let place = reader.problems.place(*first);
            let message = || format!("{} is mounted at {place} already", target.display());
            reader.problems.error(*second, Some(key), message);
        }
    }
    // Mounted in this order, whatever their paths: what comes later hides what is below its place.
    let after_overlays = bound_or_overlaid(binds, &[]);
    let after_temporary = bound_or_overlaid(binds, overlays);
    let fresh = temporary
        .iter()
        .map(|at| (at.value.target.as_path(), "TemporaryFileSystem", at.origin));
    for (hidden, key, origin) in fresh.chain(overlaid.clone()) {
        let later = if key == "TemporaryFileSystem" {
            &after_temporary
        } else {
            &after_overlays
        };
        let above = hidden.ancestors().skip(1);
        let hiding = |target| later.get(target).map(|(what, first)| (target, what, first));
        if let Some((target, what, first)) = above.into_iter().find_map(hiding) {
            let place = reader.problems.place(*first);
            let target = target.display();
            let message =
                || format!("hidden by the {what} on {target} at {place}, which is mounted later");
            reader.problems.error(origin, Some(key), message);
        }
    }
}

/// What is mounted after the temporary file systems or, without `overlays`, after those: by its place.
fn bound_or_overlaid<'a>(
    binds: &'a [(&str, At<Written>)],
    overlays: &'a [(&str, At<Overlay>)],
) -> HashMap<&'a Path, (&'static str, Origin)> {
    let binds = binds
        .iter()
        .map(|(_, at)| (at.value.bind.target.as_path(), ("bind", at.origin)));
    let overlays = overlays
        .iter()
        .map(|(_, at)| (at.value.target.as_path(), ("overlay", at.origin)));
    overlays.chain(binds).collect()
}

/// Says where a guest would delete what it finds old.
fn warn_of_aging(reader: &mut Reader<'_>, binds: &[(&str, At<Written>)]) {
    for (key, at) in binds {
        let bind = &at.value.bind;
        if bind.target == Path::new("/var/tmp") && !bind.read_only {
            reader.problems.warning(at.origin, key, || {
                "systemd in the guest deletes what is older than 30 days there; bind to a directory below /var/tmp to keep it".to_owned()
            });
        }
    }
}

/// `[-]SOURCE[:TARGET[:OPTION,...]]`.
fn bind(text: &str, read_only: bool) -> Result<Written, String> {
    let (optional, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest.starts_with('+') {
        return Err("sources relative to the tree (+) are not supported in this version".into());
    }
    let mut parts = fields(rest).into_iter();
    let source = parts.next().unwrap_or_default();
    if source.is_empty() {
        return Err("source is empty; use TemporaryFileSystem= for an empty directory".into());
    }
    let source = absolute("source", &source)?;
    check_source(&source)?;
    let target = match parts.next().filter(|target| !target.is_empty()) {
        Some(target) => absolute("target", &target)?,
        None => source.clone(),
    };
    check_target(&target)?;
    check_wiped(&target)?;
    let options = parts.next().unwrap_or_default();
    if parts.next().is_some() {
        return Err("more than SOURCE:TARGET:OPTIONS; write \\: for a colon in a path".into());
    }
    let mut written = Written {
        bind: Bind {
            source,
            target,
            read_only,
            missing: if optional {
                Missing::Skip
            } else {
                Missing::Fail
            },
            recursive: true,
            idmap: false,
            nosuid: true,
            nodev: true,
        },
        idmap: None,
    };
    bind_options(&options, &mut written)?;
    Ok(written)
}

fn bind_options(options: &str, written: &mut Written) -> Result<(), String> {
    let (mut recursive, mut nosuid, mut nodev) = (None, None, None);
    for option in options
        .split(',')
        .map(str::trim)
        .filter(|option| !option.is_empty())
    {
        let (slot, value) = match option {
            "rbind" | "norbind" => (&mut recursive, option == "rbind"),
            "idmap" | "noidmap" => (&mut written.idmap, option == "idmap"),
            "nosuid" | "suid" => (&mut nosuid, option == "nosuid"),
            "nodev" | "dev" => (&mut nodev, option == "nodev"),
            "create" if written.bind.missing == Missing::Skip => {
                return Err("create contradicts \"-\", which leaves a missing source out".into());
            }
            "create" => {
                written.bind.missing = Missing::Create;
                continue;
            }
            "rootidmap" | "owneridmap" => {
                return Err(format!(
                    "{option} is not supported in this version; use idmap"
                ));
            }
            "ro" => return Err("ro is no option; use BindReadOnly=".into()),
            other => {
                return Err(format!(
                    "unknown option {}; there are {BIND_OPTIONS}",
                    quoted(other)
                ));
            }
        };
        if slot.replace(value).is_some_and(|before| before != value) {
            return Err(format!("{option} contradicts an option before it"));
        }
    }
    written.bind.recursive = recursive.unwrap_or(true);
    written.bind.nosuid = nosuid.unwrap_or(true);
    written.bind.nodev = nodev.unwrap_or(true);
    Ok(())
}

/// `PATH[:OPTION,...]`.
fn tmpfs(text: &str) -> Result<Tmpfs, String> {
    let parts = fields(text);
    let [target, options @ ..] = parts.as_slice() else {
        return Err("path is empty".into());
    };
    let target = absolute("path", target)?;
    check_target(&target)?;
    if options.len() > 1 {
        return Err("more than PATH:OPTIONS; write \\: for a colon in a path".into());
    }
    let mut tmpfs = Tmpfs {
        target,
        options: Vec::new(),
        read_only: false,
        noexec: false,
    };
    let options = options.iter().flat_map(|options| options.split(','));
    for option in options.map(str::trim).filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            None => match option {
                "ro" | "rw" => tmpfs.read_only = option == "ro",
                "noexec" | "exec" => tmpfs.noexec = option == "noexec",
                // Always on.
                "nosuid" | "nodev" => {}
                other => {
                    return Err(format!(
                        "unknown option {}; there are {TMPFS_OPTIONS}",
                        quoted(other)
                    ));
                }
            },
            Some((key, value)) => {
                let value =
                    tmpfs_value(key, value).map_err(|message| format!("{key}=: {message}"))?;
                let start = format!("{key}=");
                tmpfs.options.retain(|option| !option.starts_with(&start));
                tmpfs.options.push(start + &value);
            }
        }
    }
    Ok(tmpfs)
}

/// A value in a form that the kernel reads, which has no decimals.
fn tmpfs_value(key: &str, value: &str) -> Result<String, String> {
    let finite = |value: &str| match size(value, Base::Binary)? {
        u64::MAX => Err("infinity is no limit here; leave the option out".to_owned()),
        0 => Err("0 would mean no limit at all".into()),
        bytes => Ok(bytes.to_string()),
    };
    match key {
        "size" => match percentage(value) {
            Some(hundredths) => match hundredths? {
                hundredths @ 100..=10_000 if hundredths % 100 == 0 => {
                    Ok(format!("{}%", hundredths / 100))
                }
                _ => Err(format!(
                    "{} is not a whole percentage between 1% and 100%",
                    quoted(value)
                )),
            },
            None => finite(&value.to_ascii_uppercase()),
        },
        "nr_inodes" => finite(&value.to_ascii_uppercase()),
        "mode" => {
            let octal = value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let mode = u32::from_str_radix(value, 8)
                .ok()
                .filter(|mode| octal && *mode <= 0o7777);
            mode.map(|mode| format!("{mode:04o}"))
                .ok_or_else(|| format!("not an octal mode: {}", quoted(value)))
        }
        _ => Err(format!("unknown option; there are {TMPFS_OPTIONS}")),
    }
}

/// Splits at colons; `\:` is a colon and `\\` a backslash, any other backslash is itself.
pub(super) fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '\\' => fields[last].push(
                chars
                    .next_if(|next| matches!(next, ':' | '\\'))
                    .unwrap_or('\\'),
            ),
            ':' => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

/// Refuses sources that would hand the host over.
pub(super) fn check_source(source: &Path) -> Result<(), String> {
    let shown = source.display();
    if source == Path::new("/") {
        return Err("source is /, the whole host".into());
    }
    if source.starts_with("/proc") || source.starts_with("/sys") {
        return Err(format!(
            "source {shown} is the host's kernel interface; the container has its own"
        ));
    }
    if source.starts_with("/dev") {
        return Err("devices cannot be bound yet".into());
    }
    if source.starts_with("/run/skep") || source == Path::new("/run") {
        return Err(format!("source {shown} holds skep's own state"));
    }
    Ok(())
}

/// Refuses targets that the launcher makes itself.
pub(super) fn check_target(target: &PathBuf) -> Result<(), String> {
    let shown = target.display();
    if target == Path::new("/") {
        return Err("target is /, the tree of the container; use Root=".into());
    }
    if target == Path::new("/run") || target == Path::new("/tmp") {
        return Err(format!(
            "target {shown}: the guest mounts a fresh tmpfs there, which would hide it, or empties it; bind to a directory below it, {shown}/NAME"
        ));
    }
    if target.starts_with("/dev") && target != Path::new("/dev") {
        return Err("devices cannot be bound yet".into());
    }
    for own in ["/proc", "/sys", "/dev", "/run/host"] {
        if target.starts_with(own) {
            return Err(format!("target {shown}: {own} is made by skep"));
        }
    }
    Ok(())
}

/// Refuses targets whose contents a guest deletes when it boots: an init deletes what is on the file system of the
/// directory itself, and that would be the host's. The launcher refuses links that lead there.
fn check_wiped(target: &Path) -> Result<(), String> {
    match ["/run/lock", "/var/lock", "/var/run"]
        .into_iter()
        .find(|path| target == Path::new(path))
    {
        Some(path) => Err(format!(
            "target {path}: a guest empties it when it boots, and with it the source; bind to a directory below it, {path}/NAME"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn binds() {
        let plain = Bind {
            source: "/a".into(),
            target: "/b".into(),
            read_only: false,
            missing: Missing::Fail,
            recursive: true,
            idmap: false,
            nosuid: true,
            nodev: true,
        };
        let cases = [
            ("/a:/b", plain.clone()),
            ("/a:/b:", plain.clone()),
            (
                "-/a:/b",
                Bind {
                    missing: Missing::Skip,
                    ..plain.clone()
                },
            ),
            (
                "/a",
                Bind {
                    target: "/a".into(),
                    ..plain.clone()
                },
            ),
            (
                "/a::norbind",
                Bind {
                    target: "/a".into(),
                    recursive: false,
                    ..plain.clone()
                },
            ),
            (
                "/a:/b:create",
                Bind {
                    missing: Missing::Create,
                    ..plain.clone()
                },
            ),
            (
                r"/a\:b c:/b",
                Bind {
                    source: "/a:b c".into(),
                    ..plain.clone()
                },
            ),
            (
                r"/a\\:/b",
                Bind {
                    source: r"/a\".into(),
                    ..plain.clone()
                },
            ),
            (
                r"/a\x2d:/b",
                Bind {
                    source: r"/a\x2d".into(),
                    ..plain.clone()
                },
            ),
            (
                "/a:/b:suid,dev,rbind",
                Bind {
                    nosuid: false,
                    nodev: false,
                    ..plain.clone()
                },
            ),
            (
                "/a:/run/x",
                Bind {
                    target: "/run/x".into(),
                    ..plain.clone()
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(bind(text, false).unwrap().bind, expected, "{text}");
        }
        assert_eq!(bind("/a:/b:idmap,idmap", false).unwrap().idmap, Some(true));
        for (text, expected) in [
            ("", "source is empty"),
            ("-", "source is empty"),
            ("a", "source is not absolute: \"a\""),
            ("/a:b", "target is not absolute"),
            ("/a:/b:idmap,noidmap", "noidmap contradicts"),
            ("/a:/b:foo", "there are rbind"),
            ("/a:/b:ro", "BindReadOnly="),
            ("/a:/b:rbind:x", "write \\: for a colon"),
            ("-/a:/b:create", "contradicts \"-\""),
            ("/a:/var/run", "empties it"),
            ("/a:/var/lock/", "/var/lock/NAME"),
            ("/a:/run/lock", "/run/lock/NAME"),
            ("+/a:/b", "not supported"),
            ("/:/b", "whole host"),
            ("/proc/sys:/b", "kernel interface"),
            ("/run/skep/spec:/b", "own state"),
            ("/dev/fuse", "devices cannot be bound yet"),
            ("/a:/dev/fuse", "devices cannot be bound yet"),
            ("/a:/run/host/x", "made by skep"),
            ("/a:/tmp/", "fresh tmpfs"),
        ] {
            assert!(bind(text, false).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn temporary() {
        let read = tmpfs("/var/tmp:size=1.5G,mode=1777,noexec,ro,nodev,nr_inodes=1k").unwrap();
        assert_eq!(
            read.options,
            ["size=1610612736", "mode=1777", "nr_inodes=1024"]
        );
        assert!(read.read_only && read.noexec);
        assert_eq!(tmpfs("/a:size=10%").unwrap().options, ["size=10%"]);
        assert_eq!(
            tmpfs("/a:size=1M,size=2M").unwrap().options,
            ["size=2097152"]
        );
        for bad in [
            "a",
            "/a:size=",
            "/a:size=0",
            "/a:size=200%",
            "/a:mode=9",
            "/a:mode=17777",
            "/a:foo",
            "/a:uid=0",
            "/a:b:c",
            "/proc",
            "/a:size=infinity",
            "/a:mode=+7",
        ] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }
}
