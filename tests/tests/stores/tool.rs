//! The tool that lists a closure: missing, failing, and stopped while it works.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::{prints, refused, with_store};

const PLAIN: &str = include_str!("plain.sh");

/// A directory that comes first in the unit's `PATH`.
const TOOL: &str = "/usr/local/sbin/guix";

pub(super) fn answers(host: &Host) -> Result<()> {
    let judged = with_store(host, PLAIN, |store| {
        let text = format!("[Container]\nSystem={}\nClosure=yes\n", store.path("one")?);
        let tool = |body: &str| {
            host.write(TOOL, format!("#!/bin/sh\n{body}\n"))?;
            host.exec(["chmod", "755", TOOL])?.ok()
        };
        if host.exec(["sh", "-c", "command -v guix"])?.status() != 0 {
            refused(host, "tool", &text, &["run guix: ENOENT", "Closure=FILE"])?;
        }
        tool("echo 'guix gc: error: no daemon\u{1b}[31m' >&2; exit 1")?;
        refused(
            host,
            "tool",
            &text,
            &["guix gc --requisites", "failed: guix gc: error: no daemon"],
        )?;
        tool("yes /gnu/store/a-b")?;
        refused(host, "tool", &text, &["too long an answer of guix gc"])?;
        tool(
            "env -u PWD | sort >/var/lib/machines/.stores/env; echo $3; echo $3 | sed s/2-system/1-tools/",
        )?;
        let guest = Guest::declare(host, "tool", &text)?;
        guest.systemctl("start")?;
        prints(
            &guest,
            store,
            "ls /gnu/store",
            &store.items(&["tools", "one"])?,
        )?;
        let given = host
            .sh("cut -d= -f1 /var/lib/machines/.stores/env | grep -v -e _ -e SHLVL | tr '\\n' ' '")?
            .ok()?;
        ensure!(given == "HOME PATH", "the tool has {given}");
        guest.systemctl("stop")?;
        // A stop while it works ends both at once.
        tool("exec sleep 1234")?;
        let unit = guest.unit();
        host.exec(["systemctl", "start", "--no-block", &unit])?
            .ok()?;
        wait_until(PATIENCE, "the tool", || {
            Ok((host.exec(["pgrep", "-f", "sleep 1234"])?.status() == 0).then_some(()))
        })?;
        let time = guest.systemctl("stop")?;
        ensure!(time < Duration::from_secs(2), "stopped after {time:?}");
        ensure!(
            host.exec(["pgrep", "-f", "sleep 1234"])?.status() != 0,
            "the tool lives on"
        );
        guest.finish()
    });
    host.exec(["rm", "-f", TOOL])?.ok()?;
    judged
}
