//! What cannot be launched fails at once, says why and what to do, and leaves nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::timed};

const TREE: &str = "Root=/var/lib/machines/busybox\n";

/// What is wrong, the `[Container]` section, and what the status must say.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        "bind",
        "Root=/var/lib/machines/refused-ids\nBind=/nowhere:/mnt\n",
        &["Bind=/nowhere", "ENOENT", "create it"],
    ),
    ("overlay", "Root=/\n", &["idmap"]),
    (
        "no-init",
        "Root=/var/lib/machines/refused-empty\n",
        &["/var/lib/machines/refused-empty", "Init="],
    ),
    (
        "no-root",
        "Root=/var/lib/machines/refused-missing\n",
        &["/var/lib/machines/refused-missing"],
    ),
    (
        "foreign",
        "Root=/var/lib/machines/refused-foreign\n",
        &["/sbin/init", "ENOEXEC", "architecture"],
    ),
    ("busy", TREE, &["in use", "fuser"]),
    (
        "ids",
        "Root=/var/lib/machines/refused-ids\nPrivateUsers=196608000\n",
        &["196608000", "refused-holder"],
    ),
];

pub(super) fn table(host: &Host) -> Result<()> {
    host.sh(
        "cd /var/lib/machines; mkdir -p refused-empty/etc refused-foreign/sbin refused-foreign/etc; cp -a busybox refused-ids; \
         head -c 4096 /dev/zero >refused-foreign/sbin/init; chmod +x refused-foreign/sbin/init",
    )?
    .ok()?;
    let holder = format!("[Container]\n{TREE}PrivateUsers=196608000\n");
    let holder = Guest::declare(host, "refused-holder", &holder)?;
    holder.systemctl("start")?;
    let mut wrong = Vec::new();
    for (name, text, words) in CASES {
        if let Err(error) = refused(host, name, text, words) {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    holder.finish()?;
    host.sh("rm -rf /var/lib/machines/refused-*")?.ok()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn refused(host: &Host, name: &str, text: &str, words: &[&str]) -> Result<()> {
    let text = format!("[Container]\n{text}");
    let good = "[Container]\nRoot=/var/lib/machines/refused-ids\n";
    let guest = Guest::declare(host, &format!("refused-{name}"), good).context("declare")?;
    host.write(&guest.declaration(), text)?;
    // Its status is 1 for what is refused before the launch already.
    host.exec(["skep", "apply"])?;
    let unit = guest.unit();
    let (done, time) = timed(|| host.exec(["systemctl", "start", &unit]));
    let (done, status) = (done?, guest.status()?);
    host.exec(["systemctl", "reset-failed", &unit])?;
    let missing: Vec<_> = words
        .iter()
        .filter(|word| !status.contains(**word))
        .collect();
    let reason = status
        .lines()
        .find(|line| line.contains("skep: "))
        .unwrap_or_default();
    println!("{name}: {time:?}: {reason}");
    ensure!(done.status() != 0, "it started");
    ensure!(status.contains("Status: \""), "no status text:\n{status}");
    ensure!(
        missing.is_empty(),
        "the status does not say {missing:?}:\n{status}"
    );
    ensure!(time < Duration::from_secs(1), "it took {time:?}");
    guest.finish()
}
