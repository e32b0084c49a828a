//! A program as `Init=`, as first process and under skep's own init.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, started},
    host::Host,
};

use super::{ends, leader};

/// Longest stop of a program that ends at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A declaration of a shell with a script. In it a `$` is doubled for the words and a `%` for the specifiers.
fn shell(script: &str, more: &str) -> String {
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n\
         Init=/bin/sh\nParameters=-c '{script}'\n{more}"
    )
}

/// Status 0 is an end, any other a failure, either way and whatever its state when it ends.
pub(super) fn are_services(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "prog", &shell("exit 0", ""))?;
    for two in ["no", "yes"] {
        for (script, active, result, text) in [
            ("sleep 0.3", "inactive", "success", "Powered off"),
            (
                "sleep 0.3; exit 3",
                "failed",
                "exit-code",
                "the init exited with status 3",
            ),
        ] {
            guest.redeclare(&shell(script, &format!("ProcessTwo={two}\n")))?;
            guest.systemctl("start")?;
            ends(&guest, active, result, text)?;
        }
        // Killed from the host's side, whichever process it is.
        guest.redeclare(&shell("exec sleep 1000", &format!("ProcessTwo={two}\n")))?;
        guest.systemctl("start")?;
        // The kernel keeps from a first process every other signal that it does not handle.
        host.sh("pkill -KILL -x -f \"sleep 1000\"")?.ok()?;
        let text = match two {
            "no" => "the init was killed by SIGKILL",
            _ => "the init exited with status 137",
        };
        ends(&guest, "failed", "exit-code", text)?;
    }
    host.exec(["systemctl", "reset-failed", &guest.unit()])?;
    guest.redeclare(&shell("exit 0", ""))?;
    guest.finish()
}

/// Signals are passed on, orphans reaped; the init can be neither looked into nor steered, and who enters may do what the
/// program may.
pub(super) fn as_second(host: &Host) -> Result<()> {
    let script =
        "trap \"echo hup >/tmp/hup; exit 0\" HUP; (sleep 0.2 &); while :; do sleep 0.05; done";
    let more = "ProcessTwo=yes\nKillSignal=SIGHUP\nContainerManager=oci\n";
    for users in ["pick", "identity", "no"] {
        let text = shell(script, &format!("{more}PrivateUsers={users}\n"));
        let guest = started(host, "second", &text)?;
        std::thread::sleep(Duration::from_millis(500));
        prints(
            &guest,
            "ps -eo ppid,stat | grep -c '^ *1 Z'; cat /run/host/container-manager; id -u; \
             pid=$(pgrep -o -x sh); echo $pid; ps -o ppid= -p $pid | tr -d ' '; \
             tr '\\0' '\\n' </proc/$pid/environ | grep ^container=; \
             diff /proc/$pid/status /proc/self/status | grep Cap; true",
            "0\noci\n0\n2\n1\ncontainer=oci",
        )?;
        // Without a user namespace root is root; what it reaches is then a sealed copy.
        if users != "no" {
            prints(
                &guest,
                "cat /proc/1/environ 2>&1 | grep -c denied; readlink /proc/1/fd/0; readlink /proc/1/exe; true",
                "1",
            )?;
        }
        let status = guest.status()?;
        ensure!(status.contains(", skep, leader"), "{status}");
        let denied = guest.exec(&["kill", "-KILL", "1"])?;
        ensure!(denied.status() == 0 && !leader(&guest)?.is_empty());
        let stop = guest.systemctl("stop")?;
        println!("{users}: stopped in {stop:?}");
        ensure!(stop < AT_ONCE, "{stop:?}\n{}", guest.status()?);
        guest.finish()?;
    }
    Ok(())
}

/// A shell blocks all signals while it starts a program, and what comes then is none that it would hear.
pub(super) fn start_others(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "starts", &shell("while :; do /bin/true; done", ""))?;
    for delay in [100, 300, 500, 800, 1100, 1300] {
        guest.systemctl("start")?;
        std::thread::sleep(Duration::from_millis(delay));
        let stop = guest.systemctl("stop")?;
        println!("stopped after {delay} ms in {stop:?}");
        ensure!(stop < AT_ONCE, "{stop:?}\n{}", guest.journal()?);
    }
    guest.finish()
}
