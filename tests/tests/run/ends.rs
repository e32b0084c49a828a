//! How runs end: by signals, with a killed caller, while systemd restarts, two hundred at once.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{bash, leaving_nothing, prints};

/// `start NAME OPTIONS CMD`: in the background, up when it returns.
const START: &str = "start() { n=$1; shift; $R --name $n \"$@\" & pid=$!; \
     for i in $(seq 100); do [ -e /run/skep/machine/$n/state.json ] && break; sleep 0.1; done; sleep 0.2; }; ";

pub(super) fn signals(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        for (script, want) in [
            (
                "start sig sleep 60; kill -TERM $pid; wait $pid; echo $?",
                "143",
            ),
            (
                "start sig sleep 60; kill -INT $pid; wait $pid; echo $?",
                "130",
            ),
            (
                "start sig sleep 60; kill -HUP $pid; wait $pid; echo $?",
                "129",
            ),
            (
                "start sig --init sleep 60; kill -TERM $pid; wait $pid; echo $?",
                "143",
            ),
            (
                "start sig sh -c 'trap \"echo heard; exit 9\" TERM; while :; do sleep 0.1; done'; kill $pid; wait $pid; echo $?",
                "heard\n9",
            ),
            // Deaf to the first, killed by the second.
            (
                "start sig sh -c 'trap \"\" TERM INT; while :; do sleep 0.1; done'; kill $pid; sleep 1; kill -0 $pid && echo alive; kill $pid; wait $pid; echo $?",
                "alive\n137",
            ),
            (
                "start sig sleep 60; systemctl stop skep-run-sig; wait $pid; echo $?",
                "143",
            ),
            // A shell blocks all signals while it starts a program, and what comes then is none that it would hear.
            (
                "for i in 1 2 3 4 5; do start sig sh -c 'while :; do /bin/true; done'; kill $pid; wait $pid; echo $?; done",
                "143\n143\n143\n143\n143",
            ),
            // Before the command runs.
            (
                "$R sleep 60 & pid=$!; sleep 0.02; kill $pid; wait $pid; s=$?; [ $s = 143 ] && echo $s",
                "143",
            ),
        ] {
            prints(host, &format!("{START}{script}"), want)?;
        }
        Ok(())
    })
}

pub(super) fn two_hundred(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        let begin = std::time::Instant::now();
        prints(
            host,
            "for n in $(seq 200); do (r -- sh -c \"exit $((n % 100))\" </dev/null; s=$?; [ $s = $((n % 100)) ] && echo ok || echo $n: $s) & done | sort | uniq -c | sed 's/^ *//'; wait",
            "200 ok",
        )?;
        println!("200 runs at once: {:?}", begin.elapsed());
        Ok(())
    })
}

pub(super) fn killed_client(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        prints(
            host,
            &format!(
                "{START}start orphan sleep 60; kill -KILL $pid; wait $pid 2>/dev/null; sleep 0.5; \
                 systemctl is-active skep-run-orphan; skep exec orphan -- hostname; ls /run/skep/run; \
                 systemctl stop skep-run-orphan; systemctl is-active skep-run-orphan; r -- true; systemctl is-active skep-run-orphan; ls -A /run/skep/run"
            ),
            "active\norphan\norphan.json\nfailed\ninactive",
        )
    })
}

pub(super) fn restarts(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        for what in [
            "systemctl daemon-reload",
            "systemctl daemon-reexec",
            "systemctl restart dbus",
        ] {
            prints(
                host,
                &format!("{START}start again sh -c 'sleep 4; exit 42'; {what}; wait $pid; echo $?"),
                "42",
            )?;
        }
        // systemd comes back to the bus, and everything else in the host has to as well.
        bash(
            host,
            "for i in $(seq 50); do systemctl list-units >/dev/null 2>&1 && break; sleep 0.2; done",
        )?
        .ok()
        .map(drop)
    })
}

pub(super) fn no_block(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        prints(
            host,
            "m=mark-$RANDOM$RANDOM; r --no-block --name later -- sh -c \"echo $m; sleep 2; exit 3\"; ls -A /run/skep/run; skep exec later -- hostname; \
             for i in $(seq 50); do systemctl is-active -q skep-run-later || break; sleep 0.1; done; sleep 0.5; journalctl --sync; \
             journalctl -q -o cat -t later | grep -cx $m",
            "skep-run-later.service\nlater\n1",
        )?;
        // Limits are those of any unit, and `skep list` has no runs.
        prints(
            host,
            "r --no-block --quiet --name lim --property MemoryMax=64M --property CPUWeight=50 -- sleep 60; \
             systemctl show --value -p MemoryMax -p CPUWeight -p Description skep-run-lim | sort; skep list | grep -c lim; \
             skep apply --prune >/dev/null; systemctl is-active skep-run-lim; systemctl stop skep-run-lim",
            "50\n67108864\nsleep 60\n0\nactive",
        )?;
        prints(
            host,
            "$R --pid-file /run/run.pid --name pid -- sleep 60 & sleep 1; p=$(cat /run/run.pid); readlink /proc/$p/exe >/dev/null && echo lives; \
             kill $!; wait $!; echo $?; ls /run/run.pid 2>/dev/null; r --name pid --name x -- true 2>/dev/null; echo $?",
            "lives\n143\n2",
        )?;
        // One name, one run.
        let got = bash(
            host,
            "r --no-block --quiet --name twin -- sleep 60; r --name twin -- true; echo $?; systemctl stop skep-run-twin",
        )?;
        ensure!(
            got.stdout() == "125" && got.stderr().contains("--name: twin is the name of"),
            "{got:?}"
        );
        Ok(())
    })
}
