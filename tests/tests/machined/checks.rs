//! What administrators do with a machine: one script each, which succeeds when it works. `$m` is the machine, `$u` its unit,
//! `$peer` says whose it is, `$tmp` is a directory of this machine's own on the host.

/// A name and a script.
pub(super) type Check = (&'static str, &'static str);

/// In this order, on a machine that runs.
pub(super) const RUNNING: &[Check] = &[
    (
        "systemctl -M is-system-running",
        "[ $(systemctl -M $m is-system-running) = running ]",
    ),
    (
        "machinectl list",
        "machinectl list --no-legend | grep -E \"^$m +container +(systemd-nspawn|skep) +debian +13\"",
    ),
    (
        "machinectl list -o json",
        "machinectl list --output=json | grep -F \"\\\"machine\\\":\\\"$m\\\"\"",
    ),
    (
        "machinectl list: address",
        "machinectl list --no-legend | grep \"^$m .*10.99.0.1\"",
    ),
    (
        "machinectl status",
        "machinectl --no-pager status $m >$tmp/status; for w in Leader: Service: Root: OS: Unit: init.scope Address: 10.99.0.1; do \
         grep -qF -- $w $tmp/status || { echo no $w; cat $tmp/status; exit 1; }; done",
    ),
    (
        "machinectl status: log",
        "machinectl --no-pager --lines=5 status $m | grep -E '^[A-Z][a-z][a-z] [0-9 ]{2} [0-9:]{8} '",
    ),
    (
        "machinectl show",
        "machinectl show $m >$tmp/show; for w in Name=$m Class=container State=running Unit=$u RootDirectory=/var/lib/machines/; do \
         grep -q ^$w $tmp/show || { echo no $w; cat $tmp/show; exit 1; }; done",
    ),
    (
        "machinectl show: Id is the guest's machine id",
        "[ $(known Id | tr -d -) = $(systemctl -M $m show-environment >/dev/null; cat /proc/$(known Leader)/root/etc/machine-id) ]",
    ),
    (
        "machinectl image-status",
        "machinectl --no-pager image-status ${tree##*/} | grep Path:.*/$m",
    ),
    (
        "machinectl login",
        "python3 $pty '^.*login: ' machinectl login $m",
    ),
    (
        "machinectl shell, on a terminal",
        "python3 $pty 'on /dev/pts' machinectl shell $m /bin/sh -c 'echo on $(tty)'",
    ),
    (
        "machinectl shell, without",
        "machinectl --quiet shell $m /bin/echo went in </dev/null | grep 'went in'",
    ),
    (
        "machinectl shell: environment",
        "machinectl --quiet --setenv=A=b shell $m /bin/sh -c 'echo a$A' </dev/null | grep ab",
    ),
    (
        "systemctl -M: units",
        "systemctl -M $m list-units --no-pager | grep -F systemd-journald.service && systemctl -M $m restart systemd-logind.service && \
         [ $(systemctl -M $m show -P ActiveState systemd-logind.service) = active ] && systemctl -M $m status --no-pager systemd-logind.service",
    ),
    (
        "systemctl -M: a unit's processes",
        "systemctl -M $m status --no-pager systemd-journald.service | grep -E '[0-9] +.?/usr/lib/systemd/systemd-journald'",
    ),
    (
        "systemctl --user -M",
        "systemctl -M $m start user@0.service && systemctl --user -M root@$m show -P Version",
    ),
    (
        "systemctl list-machines",
        "systemctl list-machines --no-legend --no-pager | grep -E \"$m +running +0|$m +degraded\"",
    ),
    (
        "journalctl -M",
        "systemctl -M $m show -P Version >/dev/null; journalctl -M $m --no-pager --output=cat _PID=1 | grep -E 'Reached target .*(Multi-User|Graphical)'",
    ),
    (
        "journalctl -M --unit --boot",
        "journalctl -M $m --no-pager --boot --unit=systemd-logind.service | grep .",
    ),
    (
        "journalctl -M --follow",
        "timeout 3 journalctl -M $m --follow --lines=0 --output=cat >$tmp/follow & sleep 1; \
         systemd-run -M $m --quiet --wait sh -c 'echo follow me'; wait; grep 'follow me' $tmp/follow",
    ),
    (
        "journalctl --unit: console",
        // Said before the getty hangs up the console.
        "journalctl --unit=$u --no-pager --output=cat | grep 'Reached target.*Basic System'",
    ),
    (
        "loginctl -M",
        "loginctl -M $m list-seats --no-legend && loginctl -M $m list-users --no-legend --no-pager && loginctl -M $m show-seat seat0",
    ),
    (
        "hostnamectl -M",
        "[ $(hostnamectl -M $m hostname) = $m ] && hostnamectl -M $m status",
    ),
    ("timedatectl -M", "timedatectl -M $m show | grep ^Timezone="),
    ("localectl -M", "localectl -M $m status"),
    (
        "busctl -M",
        "busctl -M $m list --no-pager --no-legend | grep org.freedesktop.login1 && \
         busctl -M $m call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer Ping",
    ),
    (
        "systemd-run -M --pipe",
        "[ \"$(echo in | systemd-run -M $m --quiet --wait --pipe cat)\" = in ]; ! systemd-run -M $m --quiet --wait false",
    ),
    (
        "systemd-run -M --pty",
        "python3 $pty 'on /dev/pts' systemd-run -M $m --quiet --wait --pty sh -c 'echo on $(tty)'",
    ),
    (
        "systemd-run -M: timer",
        "systemd-run -M $m --on-active=1h --unit=later true && systemctl -M $m stop later.timer",
    ),
    (
        "systemd-cgls -M",
        "systemd-cgls --no-pager -M $m | grep systemd-journald",
    ),
    (
        "systemd-cgls --unit",
        "systemd-cgls --no-pager --unit $u | grep -F init.scope",
    ),
    (
        "systemd-analyze",
        "systemd-analyze -M $m time 2>/dev/null || systemd-run -M $m --quiet --wait --pipe systemd-analyze time",
    ),
    (
        "ps: machine",
        "ps -o machine= -p $(known Leader) | grep -x $m",
    ),
    ("getent hosts", "getent hosts $m | grep 10.99.0.1"),
    (
        "user names of ids",
        "busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager MapFromMachineUser su $m 0 >$tmp/mapped; \
         grep -xF \"u $(awk '{ print $2 }' /proc/$(known Leader)/uid_map)\" $tmp/mapped",
    ),
    (
        "machinectl copy-to: file",
        "echo to >$tmp/file && machinectl copy-to $m $tmp/file /var/tmp/file && \
         [ \"$(systemd-run -M $m --quiet --wait --pipe sh -c 'cat /var/tmp/file; stat -c %u /var/tmp/file')\" = \"to\n0\" ]",
    ),
    (
        "machinectl copy-to: directory",
        "mkdir -p $tmp/dir/sub && echo to >$tmp/dir/sub/file && machinectl copy-to $m $tmp/dir /var/tmp/dir && \
         [ \"$(systemd-run -M $m --quiet --wait --pipe sh -c 'cat /var/tmp/dir/sub/file; stat -c %u /var/tmp/dir/sub')\" = \"to\n0\" ]",
    ),
    (
        "machinectl copy-from: file",
        "machinectl copy-from $m /etc/debian_version $tmp/release && grep ^13 $tmp/release && [ $(stat -c %u $tmp/release) = 0 ]",
    ),
    (
        "machinectl copy-from: directory",
        "machinectl copy-from $m /etc/systemd $tmp/systemd && [ -f $tmp/systemd/system.conf ] && [ $(stat -c %u $tmp/systemd/system.conf) = 0 ]",
    ),
    (
        "machinectl bind",
        "mkdir -p $tmp/bound && echo bound >$tmp/bound/file && machinectl bind --mkdir $m $tmp/bound /var/tmp/bound && \
         [ $(systemd-run -M $m --quiet --wait --pipe cat /var/tmp/bound/file) = bound ]",
    ),
    (
        "machinectl kill: leader",
        "machinectl kill --kill-whom=leader --signal=USR1 $m",
    ),
    (
        "machinectl kill: all",
        "machinectl kill --kill-whom=all --signal=CONT $m",
    ),
    (
        "systemctl kill",
        "systemctl kill --signal=CONT --kill-whom=main $u",
    ),
];

/// In this order; `$leader` and `$again` are shell functions that wait for another leader and start the unit again.
pub(super) const ENDING: &[Check] = &[
    (
        "machinectl reboot",
        "old=$(known Leader); machinectl reboot $m; another $old && active && up",
    ),
    (
        "systemctl -M reboot",
        "old=$(known Leader); systemctl -M $m reboot; another $old && active && up",
    ),
    (
        "machinectl poweroff",
        "machinectl poweroff $m; ended && again",
    ),
    (
        "systemctl -M poweroff",
        "systemctl -M $m poweroff; ended && again",
    ),
    (
        "machinectl terminate",
        "machinectl terminate $m; ended && again",
    ),
    ("machinectl stop", "machinectl stop $m; ended && again"),
    (
        "systemctl restart",
        "old=$(known Leader); systemctl restart $u; another $old && up",
    ),
    ("systemctl stop", "systemctl stop $u; ended"),
    (
        "machinectl start",
        "machinectl start $m && up && known Unit | grep -xF $u && exit; \
         systemctl stop systemd-nspawn@$m; systemctl reset-failed $u; systemctl start $u; exit 1",
    ),
    (
        "machinectl enable",
        "machinectl enable $m && machinectl disable $m",
    ),
];
