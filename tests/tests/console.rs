//! `skep console`: logging in, several at once, reboots, and nobody who holds anybody up.

#[path = "console/escapes.rs"]
mod escapes;
#[path = "console/held.rs"]
mod held;
#[path = "console/journal.rs"]
mod journal;
#[path = "console/login.rs"]
mod login;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use skep_tests::{
    host::Host,
    terminal::Terminal,
    trial::{self, Test},
};

/// Three times `^]`.
const DETACH: &str = "\x1d\x1d\x1d";

const DEBIAN: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n";

const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("console_login", login::debian),
        ("console_askfirst", login::busybox),
        ("console_machinectl", login::machinectl),
        ("console_holds_nobody", held::by_clients),
        ("console_frozen", held::by_freezing),
        ("console_outlives_journal", journal::stopped),
        ("console_escapes", escapes::everywhere),
    ];
    trial::main(trial::everywhere(tests))
}

/// A terminal that says at the end whether its settings are what they were.
fn attach(host: &Host, arguments: &str) -> Result<Terminal> {
    let script = format!(
        "before=$(stty -g); skep console {arguments}; status=$?; \
         [ \"$before\" = \"$(stty -g)\" ] && echo restored; exit $status"
    );
    let mut terminal = Terminal::open(host, &script)?;
    terminal.wait_for("attached to the console")?;
    Ok(terminal)
}

/// The end of one that was attached.
fn ensure_left(terminal: Terminal, status: i32, said: &str) -> Result<()> {
    let (got, screen) = terminal.finish()?;
    ensure!(got == status, "status {got}, not {status}\n{screen:?}");
    ensure!(screen.contains(said), "no {said:?}\n{screen:?}");
    let last = screen.trim_end().lines().last();
    ensure!(
        last == Some("restored"),
        "the terminal was not restored\n{screen:?}"
    );
    Ok(())
}

/// PIDs of those that are attached to a console.
fn attached(host: &Host, name: &str) -> Result<Vec<String>> {
    let pattern = format!("^/usr/libexec/skep/launcher console {name}( |$)");
    let pids = host.exec(["pgrep", "-f", &pattern])?.stdout();
    Ok(pids.lines().map(str::to_owned).collect())
}
