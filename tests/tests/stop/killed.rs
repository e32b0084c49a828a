//! The launcher, or a process of a launch, dies by SIGKILL at any moment: nothing is left, and the next start works.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{BUSYBOX, DEBIAN};

/// `ended UNIT` waits for its end, `again UNIT` sees that it leaves no cgroup and starts again.
const SHELL: &str = r#"
ended() {
    for turn in $(seq 100); do
        case $(systemctl show -P ActiveState "$1") in inactive | failed) return 0 ;; esac
        sleep 0.05
    done
    echo "$1 does not end: $2"; return 1
}
again() {
    ended "$1" "$2"
    [ ! -e "/sys/fs/cgroup/machine.slice/$1" ] || { echo "a cgroup is left: $2"; return 1; }
    [ ! -e "/run/skep/machine/${1#skep@}" ] || { echo "a runtime directory is left: $2"; return 1; }
    systemctl reset-failed "$1" 2>/dev/null || :
    systemctl start "$1" || { echo "no start after $2"; return 1; }
    # The end of a run is one more point.
    kill -KILL "$(systemctl show -P MainPID "$1")"
    ended "$1" "running"
    systemctl reset-failed "$1" 2>/dev/null || :
}
killed() { pid=$(systemctl show -P MainPID "$1"); [ "$pid" = 0 ] || { kill -KILL "$pid" 2>/dev/null && echo hit; } || :; }
"#;

fn run(host: &Host, guest: Guest<'_>, script: &str, least: usize) -> Result<()> {
    let script = format!("{SHELL}unit={}\n{script}", guest.unit());
    let said = host.sh(&script)?.ok()?;
    let hits = said.lines().filter(|line| *line == "hit").count();
    println!("{hits} processes were killed");
    ensure!(hits >= least, "only {hits} hits:\n{said}");
    guest.finish()
}

pub(super) fn launcher(host: &Host) -> Result<()> {
    let points = "for ms in $(seq 0 2 58) $(seq 70 40 350); do \
         systemctl start --no-block $unit; sleep \"$(printf '0.%03d' $ms)\"; killed $unit; again $unit \"$ms ms\"; done";
    run(host, Guest::declare(host, "killed", BUSYBOX)?, points, 30)?;
    let points = "for ms in 0.05 0.2 0.4 0.6 0.8 1.0 1.2 1.5; do \
         systemctl start --no-block $unit; sleep $ms; killed $unit; again $unit \"$ms s\"; done";
    run(
        host,
        Guest::declare(host, "killed-debian", DEBIAN)?,
        points,
        8,
    )
}

pub(super) fn in_stop(host: &Host) -> Result<()> {
    let points = "for s in 0 0.01 0.02 0.03 0.05 0.08 0.1 0.15; do systemctl start $unit; \
         systemctl stop --no-block $unit; sleep $s; killed $unit; again $unit \"$s s of a stop\"; done";
    run(
        host,
        Guest::declare(host, "killed-stop", DEBIAN)?,
        points,
        4,
    )
}

/// Stage, builder and the guest before its exec: whatever but the supervisor still is the launcher.
pub(super) fn crew(host: &Host) -> Result<()> {
    let points = r#"
crew() {
    main=$(systemctl show -P MainPID "$1")
    for pid in $(cat /sys/fs/cgroup/machine.slice/"$1"/*/cgroup.procs 2>/dev/null | sort -rn); do
        if [ "$pid" != "$main" ] && [ "$(cat /proc/"$pid"/comm 2>/dev/null)" = launcher ]; then
            kill -"$2" "$pid" 2>/dev/null && { echo hit; return; }
        fi
    done
    :
}
for ms in $(seq 0 1 24); do
    systemctl start --no-block $unit; sleep "$(printf '0.%03d' $ms)"; crew $unit KILL
    # The launch has failed, or had no more need of that process; it does not wait for it.
    for turn in $(seq 60); do [ "$(systemctl show -P ActiveState $unit)" = activating ] || break; sleep 0.05; done
    [ $turn != 60 ] || { echo "the launch waits for a killed process, $ms ms"; exit 1; }
    killed $unit; again $unit "$ms ms, crew killed"
done
for ms in $(seq 0 1 24); do
    systemctl start --no-block $unit; sleep "$(printf '0.%03d' $ms)"; crew $unit STOP
    begin=$(date +%s); systemctl stop $unit
    [ $(($(date +%s) - begin)) -le 5 ] || { echo "a stopped process holds the stop, $ms ms"; exit 1; }
    again $unit "$ms ms, crew stopped"
done
"#;
    run(host, Guest::declare(host, "crew", BUSYBOX)?, points, 1)
}
