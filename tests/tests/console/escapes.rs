//! Whatever a guest says about itself, no terminal of the host is steered by it.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh},
    host::Host,
    wait::wait_until,
};

use super::{DETACH, attach, ensure_left};

const LIMIT: Duration = Duration::from_secs(10);

/// Titles, colours, questions, other screens, the clipboard, control characters of one byte and of two, characters that turn
/// text around, hide it or break the line, and what is no character at all. For printf.
const CORPUS: &str = r"a\033]0;title\007b\033[31;5mc\033[6nd\033[?1049he\033]52;c;ZXZpbA==\033\\f\033P1$r0m\033\\g\302\2332Jh\302\205i\2332Jj\342\200\256k\342\201\246l\342\200\213m\357\273\277n\330\234o\363\240\201\201p\bq\rr\013s\014t\001u\177v\377w\033";

fn is_harmless(c: char) -> bool {
    !c.is_control() && !"\u{202e}\u{2066}\u{200b}\u{feff}\u{61c}\u{e0041}".contains(c)
}

fn ensure_harmless(what: &str, text: &str) -> Result<()> {
    let text: String = text.split(['\n', '\t']).collect();
    let harmful = text.chars().find(|c| !is_harmless(*c));
    ensure!(harmful.is_none(), "{what} has {harmful:?}: {text:?}");
    Ok(())
}

/// An init that says so and waits until it may be ready.
const INIT: &str = r#"#!/usr/bin/perl
use Socket;
my $text = `cat /con-corpus`;
socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die;
sub tell_host { send($socket, $_[0], 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!" }
$SIG{TERM} = sub { print "going\n"; exit 0 };
until (-e "/run/go") { tell_host("STATUS=told $text"); select(undef, undef, undef, 0.2) }
tell_host("READY=1");
print "$text\nmarked the end\n";
sleep 1 while 1;
"#;

pub(super) fn everywhere(host: &Host) -> Result<()> {
    host.sh(&format!("printf '{CORPUS}' >/run/con-corpus"))?
        .ok()?;
    host.write("/run/con-init", INIT)?;
    host.exec(["chmod", "755", "/run/con-init"])?.ok()?;
    let text = "[Container]\nRoot=/var/lib/machines/debian-12\nEphemeral=yes\nInit=/usr/bin/perl\nParameters=/con-init\nNotifyReady=yes\n\
                BindReadOnly=/run/con-init:/con-init\nBindReadOnly=/run/con-corpus:/con-corpus\n";
    let guest = Guest::declare(host, "con-escapes", text)?;
    let judged = says(host, &guest);
    if judged.is_err() {
        println!("{}", guest.status()?);
    }
    let finished = guest.finish();
    host.exec(["rm", "/run/con-corpus", "/run/con-init"])?
        .ok()?;
    judged.and(finished)
}

fn says(host: &Host, guest: &Guest<'_>) -> Result<()> {
    host.exec(["systemctl", "start", "--no-block", &guest.unit()])?
        .ok()?;
    wait_until(LIMIT, "the guest's status", || {
        let status = guest.property("StatusText")?;
        Ok(status.contains("told").then_some(()))
    })?;
    looks(host, guest)?;
    sh(guest, "touch /run/go")?;
    wait_until(LIMIT, "the last line", || {
        Ok(guest.journal()?.contains("marked the end").then_some(()))
    })?;
    looks(host, guest)?;
    let mut terminal = attach(host, "--clean con-escapes")?;
    terminal.wait_for("marked the end")?;
    sh(
        guest,
        &format!("printf '{CORPUS}\nmarked again\n' >/dev/console"),
    )?;
    terminal.wait_for("marked again")?;
    let screen = terminal.screen().replace(['\r', '\u{8}'], "");
    ensure_harmless("skep console --clean", &screen)?;
    terminal.press(DETACH)?;
    ensure_left(terminal, 0, "detached")?;
    // Nothing was left out that a terminal would have shown.
    let journal = guest.journal()?;
    for part in ["bcde", "opq\nr", "stuv\u{fffd}w"] {
        ensure!(journal.contains(part), "no {part:?} in {journal:?}");
    }
    Ok(())
}

/// Everybody who tells something about the container.
fn looks(host: &Host, guest: &Guest<'_>) -> Result<()> {
    ensure_harmless("the journal", &guest.journal()?)?;
    ensure_harmless("StatusText", &guest.property("StatusText")?)?;
    for command in [
        "skep list",
        "skep list --json",
        "skep status con-escapes",
        "skep status --json con-escapes",
        "skep show con-escapes",
        "cat /run/skep/machine/con-escapes/state.json",
    ] {
        let said = host.sh(command)?.ok()?;
        ensure_harmless(command, &said)?;
    }
    let nothing = "skep exec con-escapes -- \"$(printf '/CORPUS')\" 2>&1 || :";
    let said = host.sh(&nothing.replace("CORPUS", CORPUS))?.ok()?;
    ensure_harmless("an error", &said)
}
