//! The same system under Guix' own `call-with-container`: every difference has its reason here.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{Store, guix::GUIX, says, with_store};

const PEER: &str = include_str!("peer.scm");

const SCRIPT: &str = "/var/lib/machines/.stores/peer.scm";

/// Start of a difference, and why it is there. `+` is ours alone, `-` the peer's.
const REASONS: &[(&str, &str)] = &[
    (
        "+env PATH=",
        "a boot program finds what the tree has; the peer clears PATH and the fixture's shell sets its own",
    ),
    (
        "-env PATH=",
        "the default of the fixture's shell, as the peer has none",
    ),
    ("+env TERM=", "the console is a terminal"),
    (
        "+env container=",
        "programs can tell that they are in a container",
    ),
    (
        "+env SHLVL=",
        "the fixture's shell wrapper runs for the boot program, too",
    ),
    (
        "-env SHLVL=",
        "it loads the boot program in the Guile that it is",
    ),
    (
        "+uid_map 0 ",
        "a range of its own: the peer's root is the host's",
    ),
    (
        "+gid_map 0 ",
        "a range of its own: the peer's root is the host's",
    ),
    ("-uid_map 0 0 ", "the host's own ids"),
    ("-gid_map 0 0 ", "the host's own ids"),
    (
        "+mount /proc/",
        "what tells about the host or acts on it is masked or read-only",
    ),
    (
        "+mount /sys/firmware ",
        "what tells about the host is masked",
    ),
    ("+mount /sys/fs/cgroup ", "a delegated cgroup of its own"),
    (
        "+mount /run",
        "a fresh tmpfs, with the Container Interface below",
    ),
    ("+mount /tmp ", "a fresh tmpfs with a limit"),
    (
        "-mount /dev/fuse ",
        "a device is granted by declaration only",
    ),
];

pub(super) fn compare(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        host.write(SCRIPT, PEER)?;
        let text = format!(
            "[Container]\nSystem={}\nHostname=peer\n",
            store.path("one")?
        );
        let guest = Guest::declare(host, "peer", &text)?;
        guest.systemctl("start")?;
        says(&guest, "Service hello has been started")?;
        let leader = host
            .sh("grep -o '\"leader\":[0-9]*' /run/skep/machine/peer/state.json | cut -d: -f2")?
            .ok()?;
        let ours = facts(host, &leader)?;
        guest.finish()?;
        start_peer(host, store)?;
        let theirs = host
            .sh("cat /run/test-peer.pid")?
            .ok()
            .and_then(|pid| facts(host, &pid));
        stop_peer(host)?;
        let theirs = theirs?;
        let mut unexplained = Vec::new();
        for (sign, line) in ours
            .difference(&theirs)
            .map(|line| ('+', line))
            .chain(theirs.difference(&ours).map(|line| ('-', line)))
        {
            let line = format!("{sign}{line}");
            match REASONS.iter().find(|(start, _)| line.starts_with(start)) {
                Some((_, reason)) => println!("{line}: {reason}"),
                None => unexplained.push(line),
            }
        }
        println!("{} facts are the same", ours.intersection(&theirs).count());
        ensure!(
            unexplained.is_empty(),
            "without a reason:\n{}",
            unexplained.join("\n")
        );
        ratio(host, store)
    })
}

/// Namespaces, mounts, environment and id maps of a process, one line each.
fn facts(host: &Host, pid: &str) -> Result<BTreeSet<String>> {
    let script = format!(
        "cd /proc/{pid}; for kind in mnt pid ipc uts user net cgroup time; do \
           [ \"$(readlink ns/$kind)\" = \"$(readlink /proc/1/ns/$kind)\" ] && echo \"ns $kind host\" || echo \"ns $kind own\"; done; \
         awk '{{ split($6, o, \",\"); for (n = 7; $n != \"-\"; n++); print \"mount\", $5, $(n + 1), o[1] }}' mountinfo; \
         tr '\\000' '\\n' <environ | sed 's/^/env /'; sed 's/  */ /g; s/^/uid_map/' uid_map; sed 's/  */ /g; s/^/gid_map/' gid_map"
    );
    Ok(host.sh(&script)?.ok()?.lines().map(str::to_owned).collect())
}

/// Waits in the host until the Shepherd of `$pid` has started its service.
const UNTIL_STARTED: &str = "n=0; until grep -q 'hello has been started' /proc/$pid/root/var/shepherd.log 2>/dev/null; do \
     n=$((n + 1)); [ $n -lt 4000 ] || exit 1; sleep 0.005; done";

fn peer_script(store: &Store) -> Result<String> {
    let one = store.path("one")?;
    Ok(format!(
        "rm -f /run/test-peer.pid; setsid guile --no-auto-compile {SCRIPT} /run/test-peer.pid {one} >/run/test-peer.log 2>&1 </dev/null & \
         until [ -s /run/test-peer.pid ]; do sleep 0.005; kill -0 $! || {{ cat /run/test-peer.log >&2; exit 1; }}; done; pid=$(cat /run/test-peer.pid); {UNTIL_STARTED}"
    ))
}

fn start_peer(host: &Host, store: &Store) -> Result<()> {
    host.sh(&peer_script(store)?)?.ok().map(drop)
}

/// Its launcher ends when its container does.
const STOP_PEER: &str = "kill -KILL $(cat /run/test-peer.pid); while [ -d /proc/$(cat /run/test-peer.pid) ]; do sleep 0.01; done";

fn stop_peer(host: &Host) -> Result<()> {
    host.sh(&format!("{STOP_PEER}; rm -f /run/test-peer.*"))?
        .ok()
        .map(drop)
}

/// From the command to the first service, median of five, ours and the peer's.
fn ratio(host: &Host, store: &Store) -> Result<()> {
    let text = format!("[Container]\nSystem={}\n", store.path("one")?);
    let guest = Guest::declare(host, "peer", &text)?;
    let ours = format!(
        "systemctl start skep@peer; pid=$(grep -o '\"leader\":[0-9]*' /run/skep/machine/peer/state.json | cut -d: -f2); {UNTIL_STARTED}"
    );
    let ours = median(host, &ours, "systemctl stop skep@peer")?;
    guest.finish()?;
    let theirs = median(host, &peer_script(store)?, STOP_PEER);
    host.sh("rm -f /run/test-peer.*")?.ok()?;
    let theirs = theirs?;
    println!(
        "start to the first service: ours {ours} ms, call-with-container {theirs} ms, {:.2} times",
        ours / theirs
    );
    Ok(())
}

/// Milliseconds that a script takes.
fn median(host: &Host, start: &str, stop: &str) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let script = format!(
            "begin=$(date +%s%N); {start}; end=$(date +%s%N); {stop} >&2; echo $(((end - begin) / 1000))"
        );
        let said = host.sh(&script)?.ok()?;
        let time: f64 = said.lines().last().context("no time")?.parse()?;
        times.push(time / 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.remove(2))
}
