//! The launcher dies by SIGKILL while it makes the network or removes it: nothing is left, and the next start works.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::lan::Lan;

/// Every kind that leaves something on the host.
const TEXT: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nInit=/bin/sh\n\
     Parameters=-c \"trap 'exit 0' TERM; while :; do sleep 0.02; done\"\n\
     Network=nat\nPort=7070\nLink=veth,name=pair\nLink=zone:kill,name=yard,address=10.8.9.2/24,host-address=10.8.9.1/24\n\
     Link=bridge:lanbr,name=lan,address=192.0.2.9/24\nLink=macvlan:wan0,name=mv,address=198.51.100.9/24\n";

/// `state` is what must not change, `hit` kills a launcher as soon as a file is there, MS later, alone or with all.
const SHELL: &str = r#"
unit=skep@net-kill.service; group=/sys/fs/cgroup/machine.slice/$unit; record=/run/skep/network/net-kill
state() {
    ip -o link | sed 's/^[0-9]*: //'; ip -o -4 address | sed 's/^[0-9]*: //'; ip route; ip -6 route show | grep -v '^fe80'
    ls /run/skep/network 2>/dev/null; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
}
leader() {
    spins=0; pid=
    while [ -z "$pid" ]; do
        { read -r pid <"$group/supervisor/cgroup.procs"; } 2>/dev/null || pid=
        spins=$((spins + 1)); [ $spins -lt 200000 ] || { echo "no launcher: $1"; exit 1; }
    done
}
hit() {
    [ ! -e "$record" ] || echo mid
    if [ $(($1 % 3)) = 2 ]; then echo 1 >"$group/cgroup.kill"; else kill -KILL "$pid"; fi && echo hit || :
}
ended() {
    for turn in $(seq 200); do
        case $(systemctl show -P ActiveState $unit) in inactive | failed) break ;; esac; sleep 0.01
    done
    systemctl reset-failed $unit 2>/dev/null || :
    after=$(state)
    [ "$after" = "$before" ] || { echo "left by $1:"; echo "$before" >/run/net-test/before; echo "$after" | diff /run/net-test/before -; exit 1; }
}
before=$(state)
for ms in $(seq 0 49); do
    systemctl start --no-block $unit; leader "set-up, $ms"; spins=0
    while [ ! -e $record ] && [ $spins -lt 100000 ]; do spins=$((spins + 1)); done
    sleep "$(printf '0.%03d' $ms)"; hit $ms; ended "set-up, $ms ms"
done
for ms in $(seq 0 4 96); do
    systemctl start $unit || { echo "no start, $ms"; exit 1; }
    leader "teardown, $ms"; systemctl stop --no-block $unit
    sleep "$(printf '0.%03d' $ms)"; hit $ms 2>/dev/null; ended "teardown, $ms ms"
done
"#;

pub(super) fn sweep(host: &Host) -> Result<()> {
    let _lan = Lan::up(host)?;
    let guest = Guest::declare(host, "net-kill", TEXT)?;
    let done = host.sh(SHELL)?;
    let said = done.stdout();
    let count = |word: &str| said.lines().filter(|line| *line == word).count();
    let (hits, mid) = (count("hit"), count("mid"));
    println!("{hits} launchers were killed, {mid} of them with a network");
    ensure!(done.status() == 0, "{said}\n{}", done.stderr());
    ensure!(
        hits >= 55 && mid >= 50,
        "only {hits} hits, {mid} with a network"
    );
    guest.systemctl("start")?;
    guest.finish()
}
