//! What a command sees: shares, declarations as a base, closures, namespaces.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{bash, leaving_nothing, prints};

const SOURCES: &str = "mkdir -p /var/lib/machines/.run/dir/nested && cd /var/lib/machines/.run && echo file >file && echo below >dir/file \
     && mount -t tmpfs run /var/lib/machines/.run/dir/nested && echo nested >dir/nested/file";
const CLEAR: &str = "umount -l /var/lib/machines/.run/dir/nested; rm -rf /var/lib/machines/.run";

pub(super) fn shares(host: &Host) -> Result<()> {
    host.sh(SOURCES)?.ok()?;
    let judged = leaving_nothing(host, || shares_of(host));
    host.sh(CLEAR)?.ok()?;
    judged
}

fn shares_of(host: &Host) -> Result<()> {
    for (script, want) in [
        // Read-only to the bottom, files and directories; relative paths; made targets.
        (
            "cd /var/lib/machines/.run; r --expose dir=/deep/er/dir --expose ./file=/deep/file -- sh -c 'cat /deep/file /deep/er/dir/file /deep/er/dir/nested/file; \
             for f in /deep/file /deep/er/dir/x /deep/er/dir/nested/x; do { echo x >>$f; } 2>&1 | grep -o Read-only.*; done'",
            "file\nbelow\nnested\nRead-only file system\nRead-only file system\nRead-only file system",
        ),
        // Written through, with the ids of the caller.
        (
            "r --share /var/lib/machines/.run/dir=/d -- sh -c 'echo new >/d/new; echo new >/d/nested/new'; cd /var/lib/machines/.run/dir; cat new nested/new; stat -c %u:%g new nested/new",
            "new\nnew\n0:0\n0:0",
        ),
        (
            "mkdir -m 777 /var/lib/machines/.run/all; r --uid 1234 --share /var/lib/machines/.run/all=/d -- touch /d/mine; stat -c %u:%g /var/lib/machines/.run/all/mine",
            "1234:1234",
        ),
        // The same target twice.
        (
            "r --share /var/lib/machines/.run/dir=/d --expose /var/lib/machines/.run/file=/d -- true 2>&1; echo $?",
            "--expose: something else is mounted at \"/d\" already\n125",
        ),
        // What would hand the host over.
        (
            "for s in / /proc /run/skep; do r --share $s=/x -- true 2>/dev/null; echo $?; done",
            "125\n125\n125",
        ),
    ] {
        prints(host, script, want)?;
    }
    // For good only when asked for.
    host.sh("cp -a /var/lib/machines/busybox /var/lib/machines/run-tree")?
        .ok()?;
    let tree = "skep run --root /var/lib/machines/run-tree";
    let judged = prints(
        host,
        &format!(
            "{tree} -- sh -c 'echo x >/kept'; ls /var/lib/machines/run-tree/kept 2>/dev/null; \
             {tree} --writable -- sh -c 'echo x >/kept'; cat /var/lib/machines/run-tree/kept; stat -c %u /var/lib/machines/run-tree/kept"
        ),
        "x\n0",
    );
    host.sh("rm -r /var/lib/machines/run-tree")?.ok()?;
    judged
}

pub(super) fn like(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/busybox\nBind=/var/lib/machines/busybox/etc/hosts:/shown\nBindReadOnly=/var/lib/machines/busybox/etc:/e\n\
         Environment=FROM=declaration\n[Service]\nMemoryMax=123M\n";
    host.write("/etc/skep/run-like.container", text)?;
    host.write("/etc/skep/run-wrong.container", "[Container]\nBnd=/x\n")?;
    let judged = leaving_nothing(host, || {
        for (script, want) in [
            (
                "skep run --like run-like -- sh -c 'echo $FROM; cmp /shown /e/hosts && echo x >/changed && echo same'; ls $b/changed 2>/dev/null",
                "declaration\nsame",
            ),
            // The command line wins over the declaration, and adds.
            (
                "echo own >/var/lib/machines/.own; skep run --like run-like --env FROM=line --expose /var/lib/machines/.own=/shown -- sh -c 'cat /shown; echo $FROM; ls /e/hosts'; rm /var/lib/machines/.own",
                "own\nline\n/e/hosts",
            ),
            (
                "skep run --like run-like --name limited -- sleep 30 & sleep 1; systemctl show --value -p MemoryMax skep-run-limited; kill $!; wait",
                "128974848",
            ),
            (
                "skep run --like run-wrong -- true 2>&1; echo $?; skep run --like none -- true 2>&1; echo $?",
                "/etc/skep/run-wrong.container:2: Bnd=: unknown key in [Container]; did you mean Bind=?\n125\n--like: no declaration is called none\n125",
            ),
        ] {
            prints(host, script, want)?;
        }
        Ok(())
    });
    host.sh("rm -f /etc/skep/run-like.container /etc/skep/run-wrong.container; skep apply")?;
    judged
}

/// A store of a few items, made by hand.
pub(super) fn closure(host: &Host) -> Result<()> {
    let hash = "0123456789abcdfghijklmnpqrsvwxyz";
    let store = "/var/lib/machines/.store";
    host.sh(&format!(
        "mkdir -p {store}/{hash}-shell/bin {store}/{hash}-other {store}/{hash}-data; \
         cp /usr/bin/busybox {store}/{hash}-shell/bin/sh; echo data >{store}/{hash}-data/file"
    ))?
    .ok()?;
    let list = format!("{store}/{hash}-shell\n{store}/{hash}-data {store}/{hash}-shell\n");
    host.write("/run/run-list", &list)?;
    let judged = leaving_nothing(host, || {
        let script = format!(
            "for c in \"$(cat /run/run-list)\" @/run/run-list; do skep run --closure \"$c\" -- {store}/{hash}-shell/bin/sh -c \
             'cd {store}; echo *; read x <{hash}-data/file; echo $x; {{ echo x >{hash}-data/file; }} 2>/dev/null || echo refused; cd /; echo var/lib/machines/.s*'; done",
        );
        let once = format!("{hash}-data {hash}-shell\ndata\nrefused\nvar/lib/machines/.store");
        prints(host, &script, &format!("{once}\n{once}"))?;
        prints(
            host,
            "skep run --closure /etc/passwd -- true 2>&1; echo $?; skep run --closure @/none -- true 2>&1; echo $?",
            "--closure: not below a store such as /gnu/store or /nix/store: \"/etc/passwd\"\n125\n\
             --closure: /none: No such file or directory (os error 2)\n125",
        )
    });
    host.sh(&format!("rm -rf {store} /run/run-list"))?.ok()?;
    judged
}

/// Closures of desktop programs have thousands of items.
pub(super) fn thousands(host: &Host) -> Result<()> {
    let store = "/var/lib/machines/.many";
    host.sh(&format!(
        "mkdir -p {store}; cd {store}; for n in $(seq -f %032.0f 3000); do echo $n-item; done | xargs mkdir; ls -d {store}/* >/run/run-list"
    ))?
    .ok()?;
    let judged = leaving_nothing(host, || {
        let begin = std::time::Instant::now();
        prints(
            host,
            &format!("r --closure @/run/run-list -- sh -c 'ls {store} | wc -l'"),
            "3000",
        )?;
        let time = begin.elapsed();
        println!("3000 store items: {time:?}");
        ensure!(time.as_secs() < 15, "3000 items took {time:?}");
        Ok(())
    });
    host.sh(&format!("rm -rf {store} /run/run-list"))?.ok()?;
    judged
}

/// Exactly the namespaces that were asked for are new.
pub(super) fn namespaces(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        let own = host
            .sh("for n in user mnt pid net ipc uts cgroup; do echo $n $(readlink /proc/1/ns/$n); done")?
            .ok()?;
        for (list, new) in [
            ("all", "user mnt pid net ipc uts cgroup"),
            ("user,mount,pid", "user mnt pid"),
            ("-net", "user mnt pid ipc uts cgroup"),
            ("-ipc,-cgroup", "user mnt pid net uts"),
            ("-pid", "user mnt net ipc uts cgroup"),
            ("-user", "mnt pid net ipc uts cgroup"),
            ("mount", "mnt"),
            ("-mount", "user pid net ipc uts cgroup"),
            ("pid,uts", "pid uts"),
            ("none", ""),
        ] {
            let mounts = list == "all"
                || list == "mount"
                || list.contains(",mount")
                || list.starts_with('-') && list != "-mount";
            let program = if mounts { "r" } else { "skep run" };
            let script = format!(
                "{program} --no-block --quiet --name ns --namespaces {list} -- sleep 60; p=$(grep -o '\"leader\":[0-9]*' /run/skep/machine/ns/state.json | cut -d: -f2); \
                 for n in user mnt pid net ipc uts cgroup; do echo $n $(readlink /proc/$p/ns/$n); done; systemctl stop skep-run-ns"
            );
            let got = bash(host, &script)?.ok()?;
            let differing: Vec<&str> = got
                .lines()
                .filter(|line| !own.lines().any(|other| other == *line))
                .filter_map(|line| line.split(' ').next())
                .collect();
            ensure!(
                differing.join(" ") == new,
                "{list}: {differing:?}, not {new}\n{got}"
            );
        }
        Ok(())
    })
}
