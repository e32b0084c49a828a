//! `skep create`.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{host::Host, wait::timed, wait::wait_until};

use super::{WORK, fails, sh, skep};

/// Everything about the files of a tree.
const LIST: &str = "find . -printf '%P %y %m %U %G %T@ %l\\n' | sort";

pub(super) fn directory(host: &Host) -> Result<()> {
    sh(
        host,
        &format!(
            "cp -a /var/lib/machines/busybox {WORK}/source && cd {WORK}/source && mkdir -p odd && chown 1000:1001 odd \
             && ln -s /etc/shadow odd/link && mkfifo odd/fifo && mknod -m 666 odd/zero c 1 5 && truncate -s 1G odd/hole \
             && chmod 4755 bin/busybox && mkdir mounted && mount -t tmpfs x mounted && touch mounted/not-copied"
        ),
    )?;
    let (done, time) = timed(|| {
        skep(
            host,
            &format!("create manage-one --from {WORK}/source --declare"),
        )
    });
    let said = done?.ok()?;
    ensure!(
        said.contains("created /var/lib/machines/manage-one"),
        "{said}"
    );
    let source = sh(
        host,
        &format!("umount {WORK}/source/mounted; cd {WORK}/source; {LIST}"),
    )?;
    let copy = sh(host, &format!("cd /var/lib/machines/manage-one; {LIST}"))?;
    // The directory under the mount was not looked at, hence has times of its own.
    let same = |list: &str| -> Vec<String> {
        let lines = list.lines().filter(|line| !line.starts_with("mounted "));
        lines.map(str::to_owned).collect()
    };
    ensure!(same(&source) == same(&copy), "{source}\n{copy}");
    let blocks = sh(host, "stat -c %b /var/lib/machines/manage-one/odd/hole")?;
    ensure!(blocks.parse::<u64>()? < 100, "the hole has {blocks} blocks");
    // Declared, and it boots.
    sh(
        host,
        "systemctl start skep@manage-one && skep exec manage-one -- true",
    )?;
    // Its tree is in use for writing.
    fails(
        host,
        "create manage-two --from /var/lib/machines/manage-one",
        1,
        "is in use",
    )?;
    sh(host, "systemctl stop skep@manage-one")?;
    skep(host, "remove manage-one --yes --declaration")?.ok()?;
    println!("copied, declared and applied in {time:?}");
    Ok(())
}

pub(super) fn archives(host: &Host) -> Result<()> {
    let source = "/var/lib/machines/busybox";
    let want = sh(host, &format!("cd {source}; {LIST}"))?;
    for (flag, suffix) in [
        ("", "tar"),
        ("-z", "tar.gz"),
        ("-J", "tar.xz"),
        ("--zstd", "tar.zst"),
        ("-j", "tar.bz2"),
    ] {
        let program = match suffix {
            "tar.xz" => "xz",
            "tar.zst" => "zstd",
            "tar.bz2" => "bzip2",
            _ => "true",
        };
        if host.sh(&format!("command -v {program}"))?.status() != 0 {
            println!("{suffix}: this host has no {program}");
            continue;
        }
        // Its name says nothing.
        sh(
            host,
            &format!(
                "tar -C {source} {flag} -cf {WORK}/archive --numeric-owner --posix --pax-option=delete=atime,delete=ctime ."
            ),
        )?;
        skep(
            host,
            &format!("create manage-{suffix} --from {WORK}/archive"),
        )?
        .ok()?;
        let got = sh(
            host,
            &format!("cd /var/lib/machines/manage-{suffix}; {LIST}"),
        )?;
        ensure!(want == got, "{suffix}:\n{want}\n{got}");
        skep(host, &format!("remove manage-{suffix} --yes"))?.ok()?;
    }
    // Without an entry for the root, users of the guest can enter it all the same.
    sh(host, &format!("cd {source} && tar -cf {WORK}/bare.tar *"))?;
    skep(host, &format!("create manage-bare --from {WORK}/bare.tar"))?.ok()?;
    let mode = sh(host, "stat -c %a /var/lib/machines/manage-bare")?;
    ensure!(mode == "755", "{mode}");
    skep(host, "remove manage-bare --yes")?.ok().map(drop)
}

/// Archives that reach for what is outside. Each is harmless: its tree holds it, or is not made.
pub(super) fn hostile(host: &Host) -> Result<()> {
    sh(
        host,
        &format!(
            "cd {WORK} && mkdir -p in/dir out && echo evil >in/file && echo kept >out/canary && ln -s {WORK}/out in/link \
             && tar -cPf absolute.tar --transform 's,^in/file,{WORK}/out/absolute,' in/file \
             && tar -cPf up.tar --transform 's,^in/file,../../.manage/out/up,' in/file \
             && tar -cPf through.tar in/link && tar -rPf through.tar --transform 's,^in/file,in/link/through,' in/file \
             && tar -cPf over.tar in/link && tar -rPf over.tar --transform 's,^in/file,in/link,' in/file \
             && ln out/canary in/hard && tar -cPf hard.tar --transform 's,^out/,{WORK}/out/,' out/canary in/hard && rm in/hard \
             && mknod -m 666 in/disk b 7 0 && tar -cf device.tar in/disk \
             && printf 'junk' >junk.tar && head -c 100000 /dev/urandom | gzip >junk.tar.gz && tar -C /var/lib/machines/busybox -cf - . | head -c 100000 >short.tar"
        ),
    )?;
    let before = sh(host, &format!("cd {WORK}/out && {LIST} && cat canary"))?;
    for (archive, made) in [
        ("absolute", true),
        ("up", false),
        ("through", false),
        ("over", true),
        ("hard", true),
        ("device", true),
        ("junk", false),
        ("junk.tar.gz", false),
        ("short", false),
    ] {
        let file = match archive.contains('.') {
            true => archive.to_owned(),
            false => format!("{archive}.tar"),
        };
        let done = skep(host, &format!("create manage-evil --from {WORK}/{file}"))?;
        println!(
            "{archive}: status {}, {}",
            done.status(),
            done.stderr().replace('\n', " | ")
        );
        ensure!((done.status() == 0) == made, "{archive}: {}", done.stderr());
        let after = sh(host, &format!("cd {WORK}/out && {LIST} && cat canary"))?;
        ensure!(before == after, "{archive} reached out:\n{before}\n{after}");
        let left = sh(
            host,
            "cd /var/lib/machines; ls -Ad .#manage* manage* 2>/dev/null || true",
        )?;
        ensure!(
            left == if made { "manage-evil" } else { "" },
            "{archive} left {left:?}"
        );
        if made {
            skep(host, "remove manage-evil --yes")?.ok()?;
        }
    }
    ensure!(before == sh(host, &format!("cd {WORK}/out && {LIST} && cat canary"))?);
    Ok(())
}

pub(super) fn image(host: &Host) -> Result<()> {
    sh(
        host,
        &format!(
            "cd {WORK} && truncate -s 200M disk && mkfs.ext4 -q -d /var/lib/machines/busybox disk"
        ),
    )?;
    skep(host, &format!("create manage-image --from {WORK}/disk"))?.ok()?;
    sh(
        host,
        &format!("cmp {WORK}/disk /var/lib/machines/manage-image.raw"),
    )?;
    let facts = sh(
        host,
        "stat -c '%a %s %b' /var/lib/machines/manage-image.raw",
    )?;
    let blocks: u64 = facts.rsplit(' ').next().unwrap_or_default().parse()?;
    ensure!(
        facts.starts_with("600 209715200") && blocks < 100_000,
        "{facts}"
    );
    skep(host, "remove manage-image --yes")?.ok()?;
    sh(host, "! ls /var/lib/machines/manage-image.raw 2>/dev/null").map(drop)
}

/// A signal takes the half-made tree away; after a kill nothing looks like a tree, and the next run cleans up.
pub(super) fn interrupted(host: &Host) -> Result<()> {
    let create = "skep create manage-half --from /var/lib/machines/debian-12";
    let list = "cd /var/lib/machines; ls -Ad .#manage* manage* 2>/dev/null || true";
    for signal in ["INT", "TERM", "HUP"] {
        let done = host.sh(&format!("timeout --foreground -s {signal} 0.15 {create}"))?;
        ensure!(
            done.stderr().contains("interrupted"),
            "{signal}: {}",
            done.stderr()
        );
        let left = sh(host, list)?;
        ensure!(left.is_empty(), "{signal} left {left}");
    }
    host.sh(&format!("timeout --foreground -s KILL 0.15 {create}"))?;
    let left = sh(host, list)?;
    ensure!(
        left.contains(".#manage-half.skep-new"),
        "after a kill: {left:?}"
    );
    ensure!(!left.lines().any(|name| name == "manage-half"), "{left}");
    let listed = host.sh("machinectl list-images 2>/dev/null")?.stdout();
    ensure!(!listed.contains("manage-half"), "{listed}");
    // cp lives on for a moment, and its lock with it.
    let (done, time) = timed(|| {
        wait_until(
            Duration::from_secs(60),
            "the lock of a killed create",
            || {
                let done = host.sh(create)?;
                ensure!(
                    done.status() == 0 || done.stderr().contains("in use"),
                    "{}",
                    done.stderr()
                );
                Ok((done.status() == 0).then_some(()))
            },
        )
    });
    done?;
    let left = sh(host, list)?;
    ensure!(left == "manage-half", "{left}");
    println!("made again after a kill in {time:?}");
    skep(host, "remove manage-half --yes")?.ok().map(drop)
}

pub(super) fn refuses(host: &Host) -> Result<()> {
    let from = "--from /var/lib/machines/busybox";
    sh(
        host,
        &format!("ln -s /nowhere {WORK}/link; mkfifo {WORK}/fifo; echo text >{WORK}/text"),
    )?;
    for (arguments, status, words) in [
        (format!("create busybox {from}"), 1, "exists already"),
        (
            format!("create manage-x {from} --to {WORK}/link"),
            1,
            "exists already",
        ),
        (
            format!("create manage-x {from} --to {WORK}/none/x"),
            1,
            "No such file",
        ),
        (
            "create manage-x --from /nowhere".to_owned(),
            1,
            "No such file",
        ),
        (
            format!("create manage-x --from {WORK}/fifo"),
            1,
            "neither a directory nor",
        ),
        (
            format!("create manage-x --from {WORK}/text"),
            1,
            "neither an archive nor",
        ),
        ("create manage-x --from /".to_owned(), 1, "write Root=/"),
        (
            format!("create manage-x --from {WORK}/.. --to {WORK}/x"),
            1,
            "lie in itself",
        ),
        (format!("create ../x {from}"), 2, "starts with"),
        (format!("create manage@ {from}"), 2, "is a template"),
        ("create manage-x".to_owned(), 2, "--from"),
    ] {
        fails(host, &arguments, status, words)?;
    }
    // A declaration says where the tree goes.
    host.write(
        "/etc/skep/manage-own.container",
        format!("[Container]\nRoot={WORK}/own\n"),
    )?;
    skep(host, &format!("create manage-own {from}"))?.ok()?;
    sh(
        host,
        &format!("test -x {WORK}/own/sbin/init && rm /etc/skep/manage-own.container"),
    )?;
    // Without one it is said how to declare it.
    let done = skep(host, &format!("create manage-y {from}"))?;
    ensure!(
        done.stderr().contains("not declared yet"),
        "{}",
        done.stderr()
    );
    skep(host, "remove manage-y --yes")?.ok().map(drop)
}
