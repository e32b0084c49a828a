//! How a command ends, and what its caller is told.

use anyhow::{Result, ensure};
use skep_spec::{Missing, Namespace, Users};
use skep_tests::host::Host;

use crate::case::{BASE, Case, prints, read_only};

pub(crate) fn statuses(host: &Host) -> Result<()> {
    let mut script = String::new();
    for status in [0, 1, 2, 124, 125, 126, 127, 128, 200, 255] {
        let name = format!("trial-{status}");
        Case::sh(&format!("exit {status}")).write(host, &name)?;
        script.push_str(&format!(
            "in_cgroup {name} </dev/null; s=$?; [ $s = {status} ] || echo {name}: $s\n"
        ));
    }
    for signal in (1..32).chain(34..65) {
        // Ignored by default, or they stop; SIGQUIT this shell ignores.
        if [3, 17, 18, 19, 20, 21, 22, 23, 28].contains(&signal) {
            continue;
        }
        let name = format!("trial-signal-{signal}");
        Case::sh(&format!("kill -{signal} $$; sleep 9"))
            .command(|command| command.init = true)
            .write(host, &name)?;
        script.push_str(&format!(
            "in_cgroup {name} </dev/null; s=$?; [ $s = $((128 + {signal})) ] || echo {name}: $s\n"
        ));
    }
    prints(host, &(script + "echo done"), "done")?;
    Case::sh("echo out; exit 7").gives(host, 7, "out")?;
    for (program, status) in [
        ("/etc", 126),
        ("/etc/hosts", 126),
        ("/none", 127),
        ("none", 127),
        ("", 127),
        ("/etc/hosts/none", 127),
    ] {
        for init in [false, true] {
            Case::new(&[program])
                .command(|command| command.init = init)
                .gives(host, status, "")?;
        }
    }
    Ok(())
}

/// The cause, once, on standard error, and what helps.
pub(crate) fn errors(host: &Host) -> Result<()> {
    let required = |spec: &mut skep_spec::ContainerSpec| {
        let mut bind = read_only("/srv/none", "/none");
        bind.missing = Missing::Fail;
        spec.binds.push(bind);
    };
    let cases = [
        (
            Case::new(&["true"]).with(required),
            125,
            "open BindReadOnly=/srv/none: ENOENT (no such file or directory); create it",
        ),
        (
            Case::new(&["true"]).command(|command| command.directory = Some("/none".into())),
            125,
            "enter /none: ENOENT",
        ),
        (
            Case::new(&["true"]).with(|spec| spec.shared = vec![Namespace::Mount]),
            125,
            "a bind needs a mount namespace",
        ),
        (
            Case::new(&["true"]).with(|spec| spec.root.path = Some("/srv/none".into())),
            125,
            "open root /srv/none: ENOENT",
        ),
        (
            Case::new(&["true"]).command(|command| command.pid_file = Some("/none/x".into())),
            125,
            "write PID file /none/x",
        ),
        (Case::new(&["nosuch"]), 127, "execute nosuch: ENOENT"),
    ];
    for (case, status, cause) in cases {
        let done = case.run(host)?;
        let text = done.stderr();
        ensure!(
            done.status() == status && text.lines().count() == 1 && text.contains(cause),
            "{:?}: {text}, not {cause}",
            done.status()
        );
    }
    unused(host)?;
    lacking(host)
}

/// A range whose lock file stays counts as taken until the host boots again.
fn unused(host: &Host) -> Result<()> {
    host.sh("truncate -s 1M /run/trial.raw")?.ok()?;
    let done = Case::new(&["true"])
        .with(|spec| spec.root.path = Some("/run/trial.raw".into()))
        .run(host)?;
    let left = format!(
        "rm -f /run/trial.raw /run/.#trial.raw.lck; ls /run/systemd/nspawn-uid | grep -x {BASE}"
    );
    let left = host.sh(&left)?.stdout();
    let text = done.stderr();
    ensure!(
        done.status() == 125 && text.contains("no file system in image") && left.is_empty(),
        "{text}, left: {left}"
    );
    Ok(())
}

/// What the kernel or the host does not give, with a hint.
fn lacking(host: &Host) -> Result<()> {
    Case::new(&["true"])
        .with(|spec| spec.users = Users::Identity)
        .write(host, "trial")?;
    // The limits of a user namespace of the test's own.
    for namespace in ["user", "net", "cgroup"] {
        let limit = format!("max_{namespace}_namespaces");
        let script = format!(
            "export -f in_cgroup; unshare --user --map-root-user --pid --fork --mount-proc bash -c \
             'echo 0 >/proc/sys/user/{limit} && in_cgroup trial' </dev/null 2>&1 | grep -c user.{limit}"
        );
        prints(host, &script, "1")?;
    }
    // A host without cgroup2.
    let script = "unshare --mount bash -c 'umount -l /sys/fs/cgroup; exec /usr/libexec/skep/launcher run trial' \
        </dev/null 2>&1 | grep -c 'unified cgroup hierarchy'";
    prints(host, script, "1")?;
    // Somebody without the privileges.
    let script = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin bash -c \
        'in_cgroup trial' </dev/null 2>&1 | head -1 | grep -c EPERM";
    prints(host, &format!("export -f in_cgroup; {script}"), "1")
}

pub(crate) fn signals(host: &Host) -> Result<()> {
    let mut script = String::from(
        "send() { local want=$1 name=$2 p; shift 2; in_cgroup $name </dev/null >/run/trial-out & \
         for try in $(seq 50); do sleep 0.05; grep -qs ready /run/trial-out && break; done; \
         for s in $*; do pkill -$s -f \"^/usr/libexec/skep/launcher run $name\" --oldest; sleep 0.1; done; \
         wait $!; s=$?; [ $s = $want ] || echo \"$name $*: $s, not $want\"; grep -v ready /run/trial-out; rm /run/trial-out; }\n",
    );
    let numbers = [
        ("TERM", 15),
        ("INT", 2),
        ("HUP", 1),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
    ];
    for (place, init, shared) in [
        ("plain", false, vec![]),
        ("init", true, vec![]),
        ("pid", false, vec![Namespace::Pid]),
        ("pid-init", true, vec![Namespace::Pid]),
    ] {
        let write = |kind: &str, text: &str| {
            Case::sh(text)
                .with(|spec| spec.shared = shared.clone())
                .command(|command| command.init = init)
                .write(host, &format!("trial-{place}-{kind}"))
        };
        write("default", "echo ready; exec sleep 61")?;
        write(
            "deaf",
            "trap '' TERM INT; echo ready; setsid sleep 61 & while :; do sleep 61; done",
        )?;
        let traps: String = numbers
            .iter()
            .map(|(name, number)| format!("trap 'exit {number}' {name}; "))
            .collect();
        write("trap", &format!("{traps}sleep 61 & echo ready; wait; wait"))?;
        for (name, number) in numbers {
            script.push_str(&format!(
                "send {} trial-{place}-default {name}\n",
                128 + number
            ));
            script.push_str(&format!("send {number} trial-{place}-trap {name}\n"));
        }
        script.push_str(&format!("send 137 trial-{place}-deaf TERM TERM\n"));
        script.push_str(&format!("send 137 trial-{place}-deaf INT TERM\n"));
    }
    script.push_str("pgrep -af '^sleep 61'; echo done");
    prints(host, &script, "done")
}

/// PID 1 reaps, is not to be killed or looked into, and takes all the others along.
pub(crate) fn own_init(host: &Host) -> Result<()> {
    let look = "(setsid bash -c 'sleep 0.2; exit 3' &) ; sleep 0.5; ps -e --no-headers -o stat,comm | grep -c '^Z'; \
        [ $$ = 1 ] || echo $(cat /proc/1/comm); kill -9 1; readlink /proc/1/exe || echo hidden; ls /proc/1/fd 2>/dev/null | wc -l; \
        cat /proc/1/environ /proc/1/maps 2>/dev/null | wc -c; (exec -a left sleep 62) & exit 9";
    for users in [
        Users::Private {
            base: crate::case::BASE,
        },
        Users::Identity,
    ] {
        Case::sh(look)
            .with(|spec| spec.users = users)
            .command(|command| command.init = true)
            .gives(host, 9, "0\nlauncher\nhidden\n0\n0")?;
    }
    Case::sh("kill -9 1 2>/dev/null || echo refused")
        .command(|command| (command.init, command.user) = (true, (1000, 1000)))
        .gives(host, 0, "refused")?;
    // The same without a PID namespace: what is left behind goes all the same.
    for init in [false, true] {
        Case::sh("setsid sleep 62 & (setsid sleep 62 &) ; sleep 0.2; exit 4")
            .with(|spec| spec.shared = vec![Namespace::Pid])
            .command(|command| command.init = init)
            .gives(host, 4, "")?;
    }
    prints(host, "pgrep -af '^sleep 62'; echo none", "none")
}

/// The state and PID file lead to it, and the journal of a detached one says how to get in.
pub(crate) fn entering(host: &Host) -> Result<()> {
    Case::sh("touch /tmp/here; echo started; trap exit TERM; sleep 61 & wait")
        .command(|command| command.pid_file = Some("/run/trial.pid".into()))
        .write(host, "trial")?;
    let script = "systemd-run --quiet --collect --unit=skep-run-trial --service-type=exec -p Delegate=yes \
        -p RuntimeDirectory=skep/machine/trial /usr/libexec/skep/launcher run trial --consume; \
        for try in $(seq 100); do [ -e /run/trial.pid ] && break; sleep 0.05; done; sleep 0.2; \
        skep exec trial -- ls /tmp; skep exec trial -- sh -c 'readlink /proc/self/ns/mnt /proc/1/ns/mnt | uniq | wc -l'; \
        nsenter -a -t $(cat /run/trial.pid) ls /tmp; ls /run/skep/run; stat -c %a /run/skep/machine/trial/state.json; \
        systemctl stop skep-run-trial; ls /run/trial.pid /run/skep/machine/trial 2>/dev/null; \
        journalctl --sync; journalctl --no-pager -o cat -u skep-run-trial | grep -q 'trial is leader .*skep shell trial.*nsenter -a -t' && echo told";
    prints(host, script, "here\n1\nhere\n600\ntold")
}
