//! A hundred starts and stops, while dbus, machined and journald are killed, stopped and restarted at random: every one ends
//! well, no console line is lost, nothing is left, and machined knows at the end who runs.

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::registered;

/// Containers at the same time, and starts of each.
const CONTAINERS: usize = 9;
const TURNS: usize = 12;

const TEXT: &str =
    "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

/// `$dir` is of this test. `worker UNIT` prints its failures, and writes the invocation of each start to a file.
const SCRIPT: &str = r#"
worker() {
    for turn in $(seq $turns); do
        systemctl start $1 || echo "$1: start $turn failed"
        systemctl show -P InvocationID $1 >>$dir/invocations
        sleep 0.$((RANDOM % 4))
        systemctl stop $1 || echo "$1: stop $turn failed"
        state=$(systemctl show -P ActiveState $1)/$(systemctl show -P Result $1)
        [ $state = inactive/success ] || echo "$1: $state after turn $turn"
    done
}
trouble() {
    units=(dbus.service systemd-machined.service systemd-journald.service)
    while [ ! -e $dir/done ]; do
        unit=${units[RANDOM % 3]}
        case $((RANDOM % 3)) in
            0) verb=restart; systemctl restart $unit ;;
            1) verb=kill; systemctl kill --signal=KILL $unit ;;
            2) verb=stop; systemctl stop $unit ;;
        esac >/dev/null 2>&1
        echo "$verb $unit" >>$dir/troubles
        # They may be started as often as this test likes.
        systemctl reset-failed dbus.service dbus.socket systemd-machined.service systemd-machined.socket systemd-journald.service systemd-logind.service >/dev/null 2>&1
        sleep 0.$((RANDOM % 5 + 1))
    done
}
trouble &
for unit in $units; do worker $unit >>$dir/failures & workers="$workers $!"; done
wait $workers; touch $dir/done; wait
systemctl start dbus.socket systemd-journald.socket systemd-journald.service; systemctl restart systemd-logind.service || :
sort $dir/troubles | uniq -c; cat $dir/failures
"#;

/// Prints the console lines that are missing.
const COMPLETE: &str = r#"
import subprocess, sys
entries = subprocess.run(["journalctl", "--boot", "--no-pager", "--output=cat", "--unit=skep@fault-*", "--since=@" + sys.argv[3]], stdout=subprocess.PIPE, check=True).stdout
lines = entries.decode(errors="replace").split("\n")
turns = open(sys.argv[1]).read().split()
# What journald had read from a stream and not yet stored when it was killed is lost for every service.
killed = open(sys.argv[2]).read().count("kill systemd-journald.service")
for wanted in "busybox system up", "busybox service runs", "busybox system going down":
    found = sum(wanted in line for line in lines)
    if found < len(turns) - killed:
        print(f"{wanted!r}: {found} of {len(turns)}, and journald was killed {killed} times")
print(len(turns), len(set(turns)))
"#;

pub(super) fn survived(host: &Host) -> Result<()> {
    const DIRECTORY: &str = "/run/faults";
    let mut guests = Vec::new();
    for number in 0..CONTAINERS {
        guests.push(Guest::declare(host, &format!("fault-{number}"), TEXT)?);
    }
    let units: Vec<_> = guests.iter().map(Guest::unit).collect();
    let begin = host
        .sh(&format!(
            "rm -rf {DIRECTORY} && mkdir {DIRECTORY} && date +%s"
        ))?
        .ok()?;
    host.write(&format!("{DIRECTORY}/complete.py"), COMPLETE)?;
    let script = format!(
        "dir={DIRECTORY} units='{}' turns={TURNS}\n{SCRIPT}",
        units.join(" ")
    );
    let said = host.exec(["bash", "-c", &script])?.ok()?;
    println!("{said}");
    ensure!(!said.contains(": "), "{said}");
    let complete = host
        .sh(&format!(
            "journalctl --sync; python3 {DIRECTORY}/complete.py {DIRECTORY}/invocations {DIRECTORY}/troubles {begin}"
        ))?
        .ok()?;
    let turns = CONTAINERS * TURNS;
    ensure!(complete == format!("{turns} {turns}"), "{complete}");
    for guest in &guests[..2] {
        guest.systemctl("start")?;
    }
    for number in 0..2 {
        registered(host, &format!("fault-{number}"))?;
    }
    host.sh(&format!("rm -r {DIRECTORY}"))?.ok()?;
    for guest in &guests[..2] {
        guest.systemctl("stop")?;
    }
    let list = host.exec(["machinectl", "list", "--no-legend"])?.ok()?;
    ensure!(!list.contains("fault-"), "still known:\n{list}");
    guests
        .into_iter()
        .rev()
        .try_for_each(Guest::finish)
        .context("after all")
}
