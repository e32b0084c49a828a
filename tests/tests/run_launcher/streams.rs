//! Standard input, output and error of a command.

use anyhow::Result;
use skep_spec::{Namespace, Streams};
use skep_tests::host::Host;

use crate::case::{Case, UNIT, prints};

pub(crate) fn pipes(host: &Host) -> Result<()> {
    Case::new(&["cat"]).write(host, "trial-cat")?;
    Case::sh("cat >&2").write(host, "trial-error")?;
    Case::new(&["yes"]).write(host, "trial-yes")?;
    Case::new(&["head", "-n", "1"]).write(host, "trial-head")?;
    Case::sh("echo x; exec >&-; sleep 1; echo late >&2").write(host, "trial-closes")?;
    Case::sh("head -c 3000000 /dev/zero; (setsid sleep 61 &)").write(host, "trial-last")?;
    Case::sh("ls -l /proc/self/fd | grep -c pipe").write(host, "trial-kind")?;
    let run = "in_cgroup trial";
    for (script, want) in [
        (
            format!(
                "head -c 64M /dev/urandom >/run/trial-in; sum=$(sha256sum </run/trial-in); \
                 [ \"$({run}-cat </run/trial-in | sha256sum)\" = \"$sum\" ] && echo file; \
                 [ \"$(cat /run/trial-in | {run}-cat | sha256sum)\" = \"$sum\" ] && echo pipe; \
                 {run}-cat </run/trial-in >/run/trial-out; cmp /run/trial-in /run/trial-out && echo to file; \
                 [ \"$({run}-error </run/trial-in 2>&1 >/dev/null | sha256sum)\" = \"$sum\" ] && echo error; \
                 rm /run/trial-in /run/trial-out"
            ),
            "file\npipe\nto file\nerror",
        ),
        (format!("{run}-cat <&-; echo $?"), "0"),
        (format!("{run}-cat </dev/null; echo $?"), "0"),
        (format!("echo x | {run}-cat >/dev/full; echo $?"), "0"),
        (format!("echo x | {run}-cat >&-; echo $?"), "0"),
        (format!("echo x | {run}-cat 2>&-; echo $?"), "x\n0"),
        // As PID 1 it takes the error, not the signal.
        (
            format!("{run}-yes 2>/dev/null </dev/null | head -n 1; echo ${{PIPESTATUS[0]}}"),
            "y\n1",
        ),
        (
            format!("yes | {run}-head; echo ${{PIPESTATUS[*]}}"),
            "y\n141 0",
        ),
        // The end of the output is seen when it comes, not when the command ends.
        (
            "group=/sys/fs/cgroup/trial; mkdir $group; \
             bash -c 'echo $$ >$1/cgroup.procs; exec /usr/libexec/skep/launcher run trial-closes' - $group \
             </dev/null 2>/run/trial-late | { cat; cat /run/trial-late; echo end; }; \
             cat /run/trial-late; rm /run/trial-late; rmdir $group/supervisor $group"
                .to_owned(),
            "x\nend\nlate",
        ),
        (
            format!(
                "for i in $(seq 20); do {run}-last </dev/null | (sleep 0.02; wc -c); done | sort | uniq -c | xargs"
            ),
            "20 3000000",
        ),
        (format!("{run}-kind </dev/null"), "3"),
        // A reader that takes nothing does not keep the launcher from a signal.
        (
            format!(
                "{run}-yes </dev/null 2>/dev/null > >(sleep 3) & sleep 0.5; pkill -TERM -f '^/usr/libexec/skep/launcher run trial-yes' --oldest; \
                sleep 0.3; pkill -TERM -f '^/usr/libexec/skep/launcher run trial-yes' --oldest; wait $!; echo $?"
            ),
            "143",
        ),
    ] {
        prints(host, &script, want)?;
    }
    Ok(())
}

/// A gibibyte through the command arrives unharmed; prints how long it took beside cat(1).
pub(crate) fn gigabyte(host: &Host) -> Result<()> {
    Case::new(&["cat"]).write(host, "trial-cat")?;
    let script = "time_of() { local t=$(date +%s%N); [ $(\"$@\") = 1073741824 ] || echo lost; took=$((($(date +%s%N) - t) / 1000000)); }
        peer() { head -c 1G /dev/zero | cat | cat | wc -c; }
        ours() { head -c 1G /dev/zero | in_cgroup trial-cat | wc -c; }
        time_of peer; peer=$took; time_of ours; echo \"ours $took ms, cat $peer ms\" >&2
        [ $took -lt $((peer * 6 + 1000)) ] && echo fast";
    prints(host, script, "fast")
}

pub(crate) fn terminal(host: &Host) -> Result<()> {
    let typescript = |inner: &str| {
        format!(
            "export -f in_cgroup; SHELL=/bin/bash script -qec {} /dev/null < <(sleep 1)",
            quoted(inner)
        )
    };
    for (name, shared) in [
        ("own", vec![]),
        ("host", vec![Namespace::Mount]),
        ("pid", vec![Namespace::Pid]),
    ] {
        let case = |script: &str| {
            Case::sh(script)
                .with(|spec| {
                    spec.shared = shared.clone();
                    if shared.contains(&Namespace::Mount) {
                        spec.binds.clear();
                    }
                })
                .command(|command| command.streams = Streams::Terminal)
        };
        for init in [false, true] {
            case("stty size; echo x >/dev/tty; test -t 0 -a -t 1 -a -t 2 && echo terminal; exit 6")
                .command(|command| command.init = init)
                .write(host, "trial")?;
            let inner = "stty rows 33 cols 77; stty -a >/run/trial-a; bash -c \"in_cgroup trial\"; echo $?; \
                stty -a | diff /run/trial-a - && echo restored; rm /run/trial-a";
            prints(host, &typescript(inner), "33 77\nx\nterminal\n6\nrestored")?;
        }
        case("trap 'stty size; exit' WINCH; trap 'echo INT; exit 7' INT; while :; do sleep 0.1; done")
            .write(host, "trial")?;
        let inner = "bash -c \"in_cgroup trial\"; echo status $?";
        let script = format!(
            "export -f in_cgroup; (sleep 1; printf '\\003'; sleep 1) | SHELL=/bin/bash script -qec {} /dev/null | sed 's/^^C//'",
            quoted(inner)
        );
        prints(host, &script, "INT\nstatus 7").map_err(|error| error.context(name))?;
    }
    console(host)
}

/// `/dev/console` is the same terminal, also in a unit, and belongs to the user.
fn console(host: &Host) -> Result<()> {
    Case::sh("tty; readlink /dev/console; stat -Lc %u /dev/console; echo again >/dev/console; echo $TERM")
        .command(|command| (command.streams, command.user) = (Streams::Terminal, (1000, 1000)))
        .write(host, "trial")?;
    let unit = UNIT.replace("--pipe", "--pty");
    // Newer ones set the title of the terminal.
    let script = format!(
        "script -qec {} /dev/null < <(sleep 1) | head -4 | sed -E 's/\\x1b(\\[[0-9;]*[a-z]|\\][^\\x1b]*\\x1b\\\\)//g'",
        quoted(&unit)
    );
    prints(host, &script, "/dev/pts/0\npts/0\n1000\nagain")
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
