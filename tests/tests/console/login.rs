//! People log in.

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    terminal::Terminal,
};

use super::{DEBIAN, DETACH, attach, attached, ensure_left};

const PASSWORD: &str = "three-bees";

fn with_password<'a>(host: &'a Host, name: &str) -> Result<Guest<'a>> {
    let guest = started(host, name, DEBIAN)?;
    sh(&guest, &format!("echo root:{PASSWORD} | chpasswd"))?;
    Ok(guest)
}

fn log_in(terminal: &mut Terminal) -> Result<()> {
    terminal.wait_for("login: ")?;
    terminal.press("root\r")?;
    terminal.wait_for("Password: ")?;
    terminal.press(&format!("{PASSWORD}\r"))?;
    // What stands in the command is not what it prints.
    terminal.wait_for("# ")?;
    terminal.press("echo in$((40+2)); stty size\r")?;
    terminal.wait_for("in42\r\n33 99\r\n").map(drop)
}

/// A prompt of Debian's getty, several terminals, detaching, a reboot, the end.
pub(super) fn debian(host: &Host) -> Result<()> {
    let since = host.exec(["date", "+@%s"])?.ok()?;
    let guest = with_password(host, "con-login")?;
    let mut first = attach(host, "con-login")?;
    log_in(&mut first)?;
    first.press(DETACH)?;
    ensure_left(first, 0, "skep: detached from con-login")?;
    // The shell is still there.
    let mut first = attach(host, "con-login")?;
    first.wait_for("in42")?;
    first.press("\recho again$((1+1))\r")?;
    first.wait_for("again2\r\n")?;
    let writer = attached(host, "con-login")?;
    let [writer] = writer.as_slice() else {
        anyhow::bail!("attached are {writer:?}");
    };
    // The second one reads, the third one wants no more.
    let mut second = attach(host, "con-login")?;
    second.wait_for(&format!("read-only as long as process {writer} writes"))?;
    second.wait_for("again2")?;
    let mut third = attach(host, "--read-only con-login")?;
    third.wait_for("skep: read-only\r\n")?;
    second.press("echo nev$((1+1))er\r")?;
    first.press("echo once$((1+1))\r")?;
    for terminal in [&mut first, &mut second, &mut third] {
        let screen = terminal.wait_for("once2\r\n")?;
        ensure!(!screen.contains("nev"), "{screen:?}");
    }
    // A signal leaves the terminal as it was, and the next one follows.
    host.exec(["kill", "-TERM", writer])?.ok()?;
    ensure_left(first, 143, "once2")?;
    second.wait_for("you may write now")?;
    second.press("echo follow$((1+1))\r")?;
    third.wait_for("follow2\r\n")?;
    // Both survive a reboot, and the writer stays the writer.
    second.press("reboot\r")?;
    second.wait_for("con-login reboots")?;
    third.wait_for("con-login reboots")?;
    second.wait_for("login: ")?;
    third.wait_for("login: ")?;
    second.press("nobody-writes-this\r")?;
    third.wait_for("nobody-writes-this")?;
    journal(host, &guest, &since)?;
    guest.finish()?;
    ensure_left(second, 0, "skep: con-login has ended")?;
    ensure_left(third, 0, "skep: con-login has ended")?;
    let none = host.exec(["skep", "console", "con-login"])?;
    ensure!(
        none.status() == 1 && none.stderr().contains("systemctl start skep@con-login"),
        "{none:?}"
    );
    Ok(())
}

/// All that was on the console, each line with the container's name, once.
fn journal(host: &Host, guest: &Guest<'_>, since: &str) -> Result<()> {
    for matches in [
        &["-t", "con-login"][..],
        &["CONTAINER_NAME=con-login"],
        &["-u", "skep@con-login"],
    ] {
        let journal = ["journalctl", "--no-pager", "--output=cat", "--since", since].into_iter();
        let text = host.exec(journal.chain(matches.iter().copied()))?.ok()?;
        for line in ["in42", "again2", "once2", "follow2"] {
            let count = text.lines().filter(|said| *said == line).count();
            ensure!(count == 1, "{matches:?}: {line} {count} times\n{text}");
        }
    }
    let names = host.exec(["journalctl", "-F", "CONTAINER_NAME"])?.ok()?;
    ensure!(names.lines().any(|name| name == "con-login"), "{names}");
    ensure!(guest.property("NRestarts")? == "0");
    Ok(())
}

/// BusyBox asks before it starts its shell; and a pipe is copied as it is.
pub(super) fn busybox(host: &Host) -> Result<()> {
    let inittab = "::sysinit:/etc/init.d/rcS\nconsole::askfirst:-/bin/sh\n::restart:/sbin/init\n\
                   ::ctrlaltdel:/sbin/reboot\n::shutdown:/etc/init.d/rcK\n";
    host.write("/run/con-inittab", inittab)?;
    let text = format!(
        "{}BindReadOnly=/run/con-inittab:/etc/inittab\n",
        super::BUSYBOX
    );
    let guest = started(host, "con-ask", &text)?;
    let mut terminal = attach(host, "con-ask")?;
    terminal.wait_for("Please press Enter to activate this console.")?;
    terminal.press("\r")?;
    terminal.wait_for("# ")?;
    terminal.press("echo in$((40+2)); tty; stty size\r")?;
    let screen = terminal.wait_for("33 99\r\n")?;
    ensure!(
        screen.contains("in42\r\n/dev/console\r\n") || screen.contains("in42\r\n/dev/pts/0\r\n"),
        "{screen:?}"
    );
    terminal.press(DETACH)?;
    ensure_left(terminal, 0, "detached")?;
    // Escapes pass, unless they are not wanted.
    for (option, want) in [("", "\u{1b}[31mred\u{1b}[0m\r\n"), ("--clean", "red\r\n")] {
        let script = format!(
            "(sleep 1; echo \"printf '\\033[31m%s\\033[0m\\n' red\"; sleep 1) | \
             timeout 3 skep console {option} con-ask 2>/run/con-said | tail -n 2; cat /run/con-said; rm /run/con-said"
        );
        let screen = host.exec(["bash", "-c", &script])?;
        let screen = screen.stdout();
        ensure!(screen.contains(want), "{option}: {screen:?}");
        ensure!(
            option.is_empty() || !screen.contains('\u{1b}'),
            "{screen:?}"
        );
        ensure!(
            screen.ends_with("skep: attached to the console of con-ask"),
            "{screen:?}"
        );
    }
    signalled(host)?;
    // Who has nothing to write keeps nobody from writing, and goes when its reader does.
    let done = host.exec([
        "bash",
        "-c",
        "skep console con-ask </dev/null 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}",
    ])?;
    ensure!(done.ok()?.ends_with("\n141"), "not ended by its reader");
    guest.finish()?;
    host.exec(["rm", "/run/con-inittab"])?.ok().map(drop)
}

/// The terminal is left as it was, whatever signal ends it.
fn signalled(host: &Host) -> Result<()> {
    for (signal, number) in [
        ("USR1", 10),
        ("ALRM", 14),
        ("IO", 29),
        ("XCPU", 24),
        ("RTMIN+3", 37),
    ] {
        let terminal = attach(host, "con-ask")?;
        let attached = attached(host, "con-ask")?;
        let [process] = attached.as_slice() else {
            anyhow::bail!("attached are {attached:?}");
        };
        host.exec(["kill", &format!("-{signal}"), process])?.ok()?;
        ensure_left(terminal, 128 + number, "attached to the console")
            .with_context(|| signal.to_owned())?;
    }
    Ok(())
}

/// The tools of systemd open terminals of their own inside.
pub(super) fn machinectl(host: &Host) -> Result<()> {
    let guest = with_password(host, "con-machine")?;
    let mut shell = Terminal::open(host, "machinectl shell con-machine")?;
    shell.wait_for("# ")?;
    shell.press("echo in$((40+2)) $(hostname); tty\r")?;
    let screen = shell.wait_for("/dev/pts/")?;
    ensure!(screen.contains("in42 con-machine\r\n"), "{screen:?}");
    shell.press("exit\r")?;
    let (status, screen) = shell.finish()?;
    ensure!(status == 0, "{status}\n{screen:?}");
    let mut login = Terminal::open(host, "machinectl login con-machine")?;
    login.wait_for("login: ")?;
    login.press("root\r")?;
    login.wait_for("Password: ")?;
    login.press(&format!("{PASSWORD}\r"))?;
    login.wait_for("# ")?;
    login.press("echo in$((40+2)) $(hostname)\r")?;
    login.wait_for("in42 con-machine\r\n")?;
    login.press(DETACH)?;
    let (status, screen) = login.finish()?;
    ensure!(status == 0, "{status}\n{screen:?}");
    guest.finish().context("after machinectl")
}
