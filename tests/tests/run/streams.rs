//! What goes through: bytes, terminals, closed ends.

use anyhow::Result;
use skep_tests::host::Host;

use super::{leaving_nothing, prints};

pub(super) fn gigabyte(host: &Host) -> Result<()> {
    // A keyed stream instead of a file: the same gigabyte can be made again.
    let source =
        "openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 1G";
    let plain = "head -c 1G /dev/zero | tr '\\0' 'k'";
    leaving_nothing(host, || {
        prints(
            host,
            &format!(
                "command -v openssl >/dev/null && make() {{ {source}; }} || make() {{ {plain}; }}; \
                 want=$(make | md5sum); begin=$(date +%s%N); got=$(make | r -- cat | md5sum); \
                 echo 1 GiB through a run: $(( ($(date +%s%N) - begin) / 1000000 )) ms >&2; [ \"$got\" = \"$want\" ] && echo same"
            ),
            "same",
        )
    })
}

pub(super) fn odd_ones(host: &Host) -> Result<()> {
    leaving_nothing(host, || {
        for (script, want) in [
            ("r -- cat <&-; echo $?", "0"),
            ("r -- cat </dev/null; echo $?", "0"),
            ("r -- true >&- 2>&-; echo $?", "0"),
            (
                "r -- echo out 2>/dev/null; r -- sh -c 'echo err >&2' 2>&1 >/dev/null",
                "out\nerr",
            ),
            (
                "r --init -- yes | head -n 1; echo ${PIPESTATUS[0]}",
                "y\n141",
            ),
            ("yes | r -- head -n 1; echo ${PIPESTATUS[1]}", "y\n0"),
            (
                "(sleep 2) | timeout 20 bash -c 'skep run --expose /var/lib/machines/busybox/bin=/bin -- true'; echo ${PIPESTATUS[1]}",
                "0",
            ),
            (
                "echo in | r -- sh -c 'read x; echo $x; exit 7'; echo $?",
                "in\n7",
            ),
            // What goes on in the background ends with the command.
            (
                "r -- sh -c 'sleep 77 & echo out'; pgrep -fc '^sleep 77'",
                "out\n0",
            ),
            // Only one of the two is a terminal: pipes.
            (
                "r -- tty </dev/null; r --pty -- true 2>&1 </dev/null; echo $?",
                "not a tty\n--pty: standard input and output are not a terminal\n125",
            ),
        ] {
            prints(host, script, want)?;
        }
        Ok(())
    })
}

pub(super) fn terminal(host: &Host) -> Result<()> {
    let run = "skep run --expose /var/lib/machines/busybox/bin=/bin --expose /var/lib/machines/busybox/usr/bin=/usr/bin";
    let script = |inner: &str| format!("script -qec {} /dev/null < <(sleep 2)", quoted(inner));
    leaving_nothing(host, || {
        prints(
            host,
            &format!(
                "{} | tr -d '\\r' | grep -o '^/dev/[a-z]*'",
                script(&format!("{run} -- tty"))
            ),
            "/dev",
        )
        .or_else(|_| {
            prints(
                host,
                &format!(
                    "{} | tr -d '\\r' | sed 's/[0-9]*$//'",
                    script(&format!("{run} -- tty"))
                ),
                "/dev/pts/",
            )
        })?;
        prints(
            host,
            &script(&format!("stty rows 33 cols 77; {run} -- stty size")),
            "33 77",
        )?;
        prints(
            host,
            &script(&format!(
                "stty -a >/run/a; {run} -- true; stty -a >/run/b; {run} -- /none 2>/dev/null; stty -a | diff /run/a - && diff /run/a /run/b && echo restored; rm /run/a /run/b"
            ))
            .replace("< <(sleep 2)", "</dev/null 2>&1 | sed 's/^^@//' | grep -o restored"),
            "restored",
        )?;
        // TERM comes along, pipes when asked for.
        prints(
            host,
            &script(&format!(
                "export TERM=vt220; {run} -- sh -c 'echo $TERM'; {run} --pipe -- tty"
            )),
            "vt220\nnot a tty",
        )?;
        // Ctrl-C at the terminal.
        let inner = quoted(&format!("{run} -- sleep 60; echo status $?"));
        prints(
            host,
            &format!(
                "(sleep 2; printf '\\003'; sleep 2) | script -qec {inner} /dev/null | grep -o 'status.*'"
            ),
            "status 130",
        )?;
        let trap = quoted("trap \"echo INT; exit 7\" INT; echo ready; while :; do sleep 0.1; done");
        let inner = quoted(&format!("{run} -- sh -c {trap}; echo status $?"));
        prints(
            host,
            &format!(
                "(sleep 2; printf '\\003'; sleep 2) | script -qec {inner} /dev/null | grep -v '^ready' | sed 's/^^C//'"
            ),
            "INT\nstatus 7",
        )
    })
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
