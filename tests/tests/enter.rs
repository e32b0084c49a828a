//! `skep exec` and `skep shell`: what comes out, where the command lands, and what a hostile guest gets to see.

#[path = "enter/attack.rs"]
mod attack;

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    terminal::Terminal,
    trial::{self, Test},
};

const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("statuses", statuses),
        ("streams", streams),
        ("terminal", terminal),
        ("background", background),
        ("place", place),
        ("options", options),
        ("hostile_guest", attack::hostile_guest),
        ("own_program", attack::own_program),
    ];
    trial::main(trial::everywhere(tests))
}

/// Runs the container while `work` runs scripts on the host that enter it.
fn with_guest(
    host: &Host,
    name: &str,
    text: &str,
    work: impl FnOnce(&Guest<'_>) -> Result<()>,
) -> Result<()> {
    let guest = Guest::declare(host, name, text)?;
    guest.systemctl("start")?;
    work(&guest)?;
    guest.finish()
}

fn statuses(host: &Host) -> Result<()> {
    host.prints(
        "skep exec enter-status -- true; echo $?; skep exec no-such-one -- true; echo $?",
        "125\n125",
    )?;
    with_guest(host, "enter-status", BUSYBOX, |_| {
        host.prints("for n in $(seq 0 255); do skep exec enter-status -- sh -c \"exit $n\"; s=$?; [ $s = $n ] || echo $n: $s; done; echo all",
            "all",
        )?;
        // Without those that are ignored, stop or continue, and SIGQUIT, which this shell ignores.
        host.prints("for n in 1 2 $(seq 4 16) 24 25 26 27 29 30 31 $(seq 34 64); do skep exec enter-status -- sh -c \"kill -$n \\$\\$; sleep 9\"; \
             s=$?; [ $s = $((128 + n)) ] || echo $n: $s; done; echo all",
            "all",
        )?;
        host.prints("for c in /etc/hosts /etc /none none /etc/hosts/none ''; do skep exec enter-status -- \"$c\" 2>/dev/null; echo $?; done",
            "126\n126\n127\n127\n127\n127",
        )?;
        // Many at once: whichever process inside is the faster one.
        host.prints("for round in 1 2 3; do for n in $(seq 40); do (skep exec enter-status -- /etc/hosts 2>/dev/null; echo $?) & done; wait; \
             done | sort | uniq -c | tr -s ' '",
            "120 126",
        )
    })
}

fn streams(host: &Host) -> Result<()> {
    host.sh("head -c 64M /dev/urandom >/run/enter-in")?.ok()?;
    let judged = with_guest(host, "enter-streams", BUSYBOX, |_| streams_of(host));
    host.sh("rm /run/enter-in")?.ok()?;
    judged
}

fn streams_of(host: &Host) -> Result<()> {
    let enter = "skep exec enter-streams --";
    let same = format!(
        "sum=$(sha256sum </run/enter-in); \
         [ \"$({enter} cat </run/enter-in | sha256sum)\" = \"$sum\" ] && echo file; \
         [ \"$(cat /run/enter-in | {enter} cat | sha256sum)\" = \"$sum\" ] && echo pipe; \
         [ \"$({enter} sh -c 'cat >&2' </run/enter-in 2>&1 >/dev/null | sha256sum)\" = \"$sum\" ] && echo error; \
         [ \"$({enter} sha256sum </run/enter-in)\" = \"$sum\" ] && echo in"
    );
    host.prints(&same, "file\npipe\nerror\nin")?;
    for (script, want) in [
        // Closed, empty and early-closed streams.
        (format!("{enter} cat <&-; echo $?"), "0"),
        (format!("{enter} cat </dev/null; echo $?"), "0"),
        (format!("{enter} echo x >&- 2>/dev/null; echo $?"), "0"),
        (
            format!("{enter} yes | head -n 1; echo ${{PIPESTATUS[0]}}"),
            "y\n141",
        ),
        (
            format!("yes | {enter} head -n 1; echo ${{PIPESTATUS[1]}}"),
            "y\n0",
        ),
        (
            format!("sleep 20 | timeout 5 {enter} true; echo ${{PIPESTATUS[1]}}"),
            "0",
        ),
        // What goes on in the background keeps its ends of the pipes, and keeps nobody waiting.
        (
            format!("timeout 5 {enter} sh -c 'sleep 30 & echo out'; echo $?"),
            "out\n0",
        ),
        (
            format!(
                "timeout 5 {enter} sh -c 'yes & sleep 0.2' | tail -c 2; echo ${{PIPESTATUS[0]}}"
            ),
            "y\n0",
        ),
        (
            format!(
                "timeout 5 {enter} sh -c 'head -c 60000 /dev/zero; sleep 30 & exit 3' | wc -c; echo ${{PIPESTATUS[0]}}"
            ),
            "60000\n3",
        ),
        // A signal to the caller is one for the command.
        (
            format!(
                "{enter} sh -c 'trap \"echo heard; exit 9\" TERM; while :; do sleep 0.1; done' & sleep 0.5; kill $!; wait $!; echo $?"
            ),
            "heard\n9",
        ),
        // As much while the command writes without end.
        (
            format!(
                "for n in $(seq 20); do {enter} yes >/dev/null & sleep 0.2; kill $!; wait $! 2>/dev/null; echo $?; done | uniq"
            ),
            "143",
        ),
        (
            format!(
                "{enter} sleep 77 & sleep 0.3; kill -KILL $!; wait $! 2>/dev/null; sleep 0.3; {enter} pgrep -f 'sleep 77' | grep -c ."
            ),
            "0",
        ),
    ] {
        let script = script.replace("sleep 20 | timeout", "(sleep 2) | timeout");
        host.prints(&script, want)?;
    }
    host.prints(&format!("{enter} killall sleep yes 2>/dev/null; echo"), "")
}

fn terminal(host: &Host) -> Result<()> {
    for (tree, name) in [("busybox", "enter-tty"), ("debian-12", "enter-tty-debian")] {
        let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\nEphemeral=yes\n");
        with_guest(host, name, &text, |_| terminal_of(host, name))?;
    }
    Ok(())
}

fn terminal_of(host: &Host, name: &str) -> Result<()> {
    let enter = format!("skep exec {name} --");
    let script = |inner: &str| format!("script -qec {} /dev/null < <(sleep 1)", quoted(inner));
    host.prints(
        &format!(
            "{} | tr -d '\\r' | sed 's/[0-9]*$/N/'",
            script(&format!("{enter} tty"))
        ),
        "/dev/pts/N",
    )?;
    host.prints(
        &script(&format!("stty rows 33 cols 77; {enter} stty size")),
        "33 77",
    )?;
    // Its own session and controlling terminal, and the caller's settings afterwards. At the end of its input an older
    // script(1) types a NUL, which the terminal echoes.
    host.prints(&script(&format!("{enter} sh -c 'echo x >/dev/tty'; stty -a >/tmp/a; {enter} true; stty -a >/tmp/b; {enter} /none; stty -a | diff /tmp/a - && diff /tmp/a /tmp/b && echo restored"))
            .replace("/dev/null < <(sleep 1)", "/dev/null </dev/null 2>&1 | sed 's/^^@//' | grep -v /none"),
        "x\nrestored",
    )?;
    let trap = quoted("trap \"echo INT; exit 7\" INT; echo ready; while :; do sleep 0.1; done");
    let inner = quoted(&format!("{enter} sh -c {trap}; echo status $?"));
    host.prints(&format!(
            "(sleep 1; printf '\\003'; sleep 1) | script -qec {inner} /dev/null | grep -v '^ready' | sed 's/^^C//'"
        ),
        "INT\nstatus 7",
    )?;
    // Only one of the two is a terminal: pipes.
    host.prints(&script(&format!("{enter} tty | cat")), "not a tty")
}

/// Job control stops nobody whom the container waits for at its end: with pipes, and with a terminal.
fn background(host: &Host) -> Result<()> {
    with_guest(host, "enter-back", BUSYBOX, |guest| {
        let mut shell = Terminal::open(host, "PS1='ready$ ' bash --norc -i")?;
        shell.wait_for("ready$ ")?;
        for streams in [">/dev/null ", ""] {
            shell.press(&format!("skep exec enter-back -- sleep 1000 {streams}&\r"))?;
            shell.wait_for("ready$ ")?;
        }
        std::thread::sleep(Duration::from_secs(1));
        // There is something to read for both.
        shell.press("jobs; echo on$((1+1))ly\r")?;
        let screen = shell.wait_for("on2ly\r\n")?;
        ensure!(
            screen.matches("Running").count() == 2 && !screen.contains("Stopped"),
            "{screen:?}"
        );
        let took = guest.systemctl("stop")?;
        ensure!(took < Duration::from_secs(5), "the stop took {took:?}");
        let result = guest.property("Result")?;
        ensure!(result == "success", "{result}\n{}", guest.status()?);
        shell.press("exit\r")?;
        shell.finish().map(drop)
    })
}

/// Where the command lands: the same place as the init, whatever the container shares with the host.
fn place(host: &Host) -> Result<()> {
    for (lines, tree) in [
        ("", "busybox"),
        ("", "debian-12"),
        ("PrivateUsers=no\n", "busybox"),
        ("PrivateUsers=identity\nNetwork=host\n", "busybox"),
        ("PrivateUsers=no\nNetwork=host\n", "debian-12"),
    ] {
        let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\nEphemeral=yes\n{lines}");
        with_guest(host, "enter-place", &text, |guest| {
            let script = "for ns in user mnt pid net ipc uts cgroup; do \
                 [ \"$(readlink /proc/self/ns/$ns)\" = \"$(readlink /proc/1/ns/$ns)\" ] || echo other $ns; done; \
                 [ \"$(grep ^0 /proc/self/cgroup)\" = \"$(grep ^0 /proc/1/cgroup)\" ] || cat /proc/self/cgroup; \
                 [ \"$(grep CapBnd /proc/self/status)\" = \"$(grep CapBnd /proc/1/status)\" ] || echo other bounding set; \
                 [ \"$(awk '/CapBnd/ { print $2 }' /proc/self/status)\" = \"$(awk '/CapEff/ { print $2 }' /proc/self/status)\" ] || echo other effective; \
                 [ \"$(awk '/CapInh/ { print $2 }' /proc/self/status)\" = 0000000000000000 ] || echo inheritable; \
                 grep -E '^(SigBlk|SigIgn)' /proc/self/status | tr -d '\\t' | sed 's/SigIgn:0000000[01]80000000/SigIgn:0/; s/SigIgn:0*$/SigIgn:0/'; umask; ls -A /proc/self/fd | wc -l";
            let got = guest.exec(&["sh", "-c", script])?.ok()?;
            ensure!(
                got == "SigBlk:0000000000000000\nSigIgn:0\n0022\n4",
                "{lines:?} {tree}: {got}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn options(host: &Host) -> Result<()> {
    with_guest(host, "enter-options", BUSYBOX, |_| {
        let enter = "export SECRET=leak; skep exec enter-options";
        for (script, want) in [
            (
                "--user 33:44 -- sh -c 'id -u; id -g; id -G; grep CapEff /proc/self/status'",
                "33\n44\n44\nCapEff:\t0000000000000000",
            ),
            ("--user 65534 -- id -u", "65534"),
            ("--chdir /etc -- pwd", "/etc"),
            ("-- pwd", "/"),
            (
                "--env A=1 --env 'B=two words' --env A=3 -- sh -c 'echo $A $B $SECRET $container $HOME'",
                "3 two words skep /root",
            ),
            ("--env PATH=/none -- ls; echo $?", "127"),
            ("--chdir /none -- pwd; echo $?", "125"),
            ("--user root -- id 2>/dev/null; echo $?", "2"),
            ("--user 65536 -- id 2>/dev/null; echo $?", "2"),
            ("-- sh -c 'echo $#' sh a 'b c' -- -x", "4"),
        ] {
            host.prints(&format!("{enter} {script}"), want)?;
        }
        host.prints(
            "printf 'pwd; echo $0; exit 5\\n' | skep shell enter-options; echo $?",
            "/root\n-sh\n5",
        )?;
        host.prints("script -qec 'skep shell enter-options' /dev/null <<<'stty size >/dev/null && echo t$((40 + 2))y; exit' | grep -o '^t42y'; skep shell none; echo $?",
            "t42y\n125",
        )
    })
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
