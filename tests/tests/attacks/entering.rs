//! What comes along when the host enters a container, and who may.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{prints, started},
    host::Host,
    wait::wait_until,
};

use super::{BUSYBOX, DEBIAN};

/// A caller with open files, a directory, groups, capabilities and variables that nobody inside is to get.
const CALLER: &str = "mkdir -p /run/att; cd /run/att; exec 7</root 8</etc/shadow 9</run; \
     export SECRET=leak LD_LIBRARY_PATH=/run/att GCONV_PATH=/run/att LOCPATH=/run/att LISTEN_FDS=3 BASH_ENV=/run/att/env; \
     setpriv --groups 5,6,27 --inh-caps +net_raw,+chown --ambient-caps +net_raw,+chown";

/// Prints all of that, one line each.
const BELONGINGS: &str = "for fd in 4 5 6 7 8 9 10 11 12; do [ ! -e /proc/self/fd/$fd ] || readlink /proc/self/fd/$fd; done; \
     pwd; id -G; grep -hE \"^Cap(Inh|Amb)\" /proc/self/status | tr -d \"\\t\"; \
     env | grep -E \"^(SECRET|LD_|GCONV|LOC|LISTEN|BASH)\" | sort; echo end";

pub(super) fn callers_belongings(host: &Host) -> Result<()> {
    let guest = started(host, "att-caller", BUSYBOX)?;
    let nothing = "CapInh:0000000000000000\nCapAmb:0000000000000000";
    let with_all = host.exec(["bash", "-c", &format!("{CALLER} sh -c '{BELONGINGS}'")])?;
    let control = with_all.stdout();
    for part in ["/etc/shadow", "/run/att", "27", "SECRET=leak", "GCONV_PATH"] {
        ensure!(control.contains(part), "no control, {part}: {control}");
    }
    ensure!(!control.contains("CapAmb:0000000000000000"), "{control}");
    host.prints(
        &format!("{CALLER} skep exec att-caller -- sh -c '{BELONGINGS}'"),
        &format!("/\n0\n{nothing}\nend"),
    )?;
    // The init has none of the launcher's, either.
    prints(
        &guest,
        "grep -hE '^(Groups|CapInh|CapAmb)' /proc/1/status | tr -d '\\t '",
        &format!("Groups:\n{nothing}"),
    )?;
    // A descriptor that is still open when the directory is entered would lead out.
    let ways = "/proc/self/fd/$n /proc/self/fd/$n/../.. /proc/1/fd/$n /proc/self/task/1/fd/$n";
    host.prints(&format!(
            "exec 7</ 8</root 9</etc; for n in $(seq 0 24) cwd root; do for way in {ways} /proc/self/$n; do \
             skep exec --chdir $way att-caller -- sh -c \
             'for up in . .. ../.. ../../../../..; do [ ! -e $up/etc/skep ] || echo out $0 $up; done' $way 2>/dev/null; done; done; echo end"
        ),
        "end",
    )?;
    host.sh("rm -r /run/att")?.ok()?;
    guest.finish()
}

/// A state file that names a process that is not the container's, or not the one that it was.
pub(super) fn stale_state(host: &Host) -> Result<()> {
    let guest = started(host, "att-stale", BUSYBOX)?;
    let enter = "skep exec att-stale -- echo entered";
    let file = "/run/skep/machine/att-stale/state.json";
    host.sh(&format!(
        "cp -p {file} /run/att-state; systemd-run --quiet --unit=att-other sleep 60"
    ))?
    .ok()?;
    // `$start` and `$leader` are the container's own, `$pid` and `$since` of another process.
    let changed = |leader: &str, start: &str| {
        format!(
            "leader=$(tr , '\\n' </run/att-state | grep '\"leader\"' | tr -dc 0-9); \
             start=$(tr , '\\n' </run/att-state | grep leader_start | tr -dc 0-9); pid=$(systemctl show -P MainPID att-other); \
             since=$(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20); \
             sed -E \"s/\\\"leader\\\": *[0-9]+/\\\"leader\\\":{leader}/; s/\\\"leader_start\\\": *[0-9]+/\\\"leader_start\\\":{start}/\" /run/att-state >{file}; \
             {enter} 2>&1 | grep -oE 'not running|entered'"
        )
    };
    for (leader, start, want) in [
        ("$leader", "$start", "entered"),
        ("$leader", "$((start + 1))", "not running"),
        ("$pid", "$start", "not running"),
        ("$pid", "$since", "not running"),
        ("4294967295", "0", "not running"),
        ("$leader", "$start", "entered"),
    ] {
        host.prints(&changed(leader, start), want)?;
    }
    host.sh(&format!(
        "cp -p /run/att-state {file}; rm /run/att-state; systemctl stop att-other"
    ))?
    .ok()?;
    guest.finish()
}

/// A container whose machine would have the name of a running one leaves it alone, and runs without.
pub(super) fn machine_names_clash(host: &Host) -> Result<()> {
    let leader = || {
        host.exec([
            "machinectl",
            "show",
            "--value",
            "--property",
            "Leader",
            "att-name",
        ])?
        .ok()
    };
    let known = || {
        wait_until(Duration::from_secs(20), "the registration", || {
            Ok(leader().ok())
        })
    };
    let first = started(host, "att_name", BUSYBOX)?;
    let of_first = known()?;
    let second = started(host, "att-name", BUSYBOX)?;
    wait_until(Duration::from_secs(10), "the refusal", || {
        let journal = second.journal()?;
        Ok(journal.contains("registered already").then_some(()))
    })?;
    ensure!(leader()? == of_first, "the name was taken over");
    second.finish()?;
    ensure!(leader()? == of_first, "the name was given back by another");
    // What the same container has left is no obstacle: machined keeps a machine whose unit is active.
    host.sh("systemctl kill --kill-whom=main --signal=KILL skep@att_name; until [ \"$(systemctl show -P ActiveState skep@att_name)\" = failed ]; do sleep 0.05; done")?
        .ok()?;
    first.systemctl("start")?;
    wait_until(Duration::from_secs(20), "another leader", || {
        Ok(leader().ok().filter(|now| *now != of_first))
    })?;
    first.finish()
}

/// A user of the host reaches nothing of a container, and root does.
pub(super) fn other_users(host: &Host) -> Result<()> {
    let guest = started(host, "att-users", BUSYBOX)?;
    let console = "python3 -c 'import socket; \
         socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(\"/run/skep/machine/att-users/console\")'";
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups --";
    for attempt in [
        "cat /run/skep/spec/att-users.json",
        "cat /run/skep/machine/att-users/state.json",
        "ls /run/skep/machine/att-users/unix-export",
        console,
        "sh -c 'skep exec att-users -- true </dev/null'",
        "sh -c '/usr/libexec/skep/launcher exec att-users -- true'",
        // Set-user-ID programs in a tree.
        "ls /var/lib/machines/busybox",
        "ls /proc/$(systemctl show -P MainPID skep@att-users)/root",
        "ls /proc/$(systemctl show -P MainPID skep@att-users)/fd",
    ] {
        let each = format!(
            "{attempt} >/dev/null 2>&1 && echo root; {nobody} {attempt} >/dev/null 2>&1 && echo nobody; echo end"
        );
        host.prints(&each, "root\nend")?;
    }
    // What nobody writes is not believed, wherever it is named.
    host.prints(&format!(
            "cp /run/skep/spec/att-users.json /tmp/att.json; chown 65534 /tmp/att.json; chmod 644 /tmp/att.json; \
             /usr/libexec/skep/launcher plan --spec /tmp/att.json >/dev/null 2>&1 || echo refused; rm /tmp/att.json; \
             {nobody} systemctl stop skep@att-users.service </dev/null >/dev/null 2>&1 || echo refused"
        ),
        "refused\nrefused",
    )?;
    guest.finish()
}

/// add_key(2) 248, request_key(2) 249, keyctl(2) 250: 0 gets an id, 11 reads, 3 revokes. ENOKEY is 126, EACCES 13.
const KEYS: &str = r#"
sub call { $! = 0; my ($n, @rest) = @_; my $r = syscall($n, @rest); $r == -1 ? "error " . (0 + $!) : $r }
"#;

/// Where the calls are allowed, the keys of the host are out of reach all the same.
pub(super) fn keyrings(host: &Host) -> Result<()> {
    let perl = |script: &str| format!("perl -e '{KEYS}{script}'");
    // Of the user and not of a session: it stays until it is revoked.
    let key = host
        .sh(&perl(r#"my ($t, $n, $p) = ("user", "att-secret", "secret!"); print call(248, $t, $n, $p, 7, -4)"#))?
        .ok()?;
    let judged = host.between("true", "true", || {
        let read = perl(&format!(
            r#"my $b = "\0" x 16; print call(250, 11, {key}, $b, 16, 0)"#
        ));
        let control = host.sh(&read)?.ok()?;
        ensure!(control == "7", "no control: {control:?}");
        for (name, lines) in [
            ("att-keys", "SystemCallFilter=@keyring\n"),
            (
                "att-keys-id",
                "PrivateUsers=identity\nSystemCallFilter=@keyring\n",
            ),
        ] {
            let guest = started(host, name, &format!("{DEBIAN}{lines}"))?;
            let search = perl(
                r#"my ($t, $n) = ("user", "att-secret"); print call(249, $t, $n, 0, 0), "\n", call(250, 0, -3, 0, 0, 0) > 0 ? "own" : "none""#,
            );
            // Nobody put it into this session.
            prints(&guest, &search, "error 126\nown")?;
            if name == "att-keys" {
                prints(
                    &guest,
                    &perl(&format!(
                        r#"my $b = "\0" x 16; print call(250, 11, {key}, $b, 16, 0)"#
                    )),
                    "error 13",
                )?;
            }
            // Nor does the session of who enters come along.
            let session = format!(
                r#"$| = 1; {KEYS} my ($t, $n, $p, $zero) = ("user", "att-secret", "secret!", 0); call(250, 1, 0, 0, 0, 0); call(248, $t, $n, $p, 7, -3) > 0 or die; print call(249, $t, $n, 0, 0) > 0 ? "found" : "lost", "\n"; exec "skep", "exec", "{name}", "--", "perl", "-e", $ENV{{SEARCH}}"#
            );
            let inside = format!(
                r#"{KEYS} my ($t, $n) = ("user", "att-secret"); print call(249, $t, $n, 0, 0)"#
            );
            host.write("/run/att-session", &session)?;
            host.write("/run/att-inside", &inside)?;
            host.prints("SEARCH=$(cat /run/att-inside) perl /run/att-session; rm /run/att-session /run/att-inside",
                "found\nerror 126",
            )?;
            prints(&guest, "head -c 1 /proc/keys | wc -c", "0")?;
            guest.finish()?;
        }
        Ok(())
    });
    host.sh(&perl(&format!("print call(250, 3, {key}, 0, 0, 0)")))?
        .ok()?;
    judged
}
