//! Neither those who are attached nor a frozen guest hold anybody up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    wait::{timed, wait_until},
};

use super::{BUSYBOX, DETACH, attach, attached, ensure_left};

const LIMIT: Duration = Duration::from_secs(5);

/// How long the journal may take for 32 MiB on a busy machine.
const BUSY: Duration = Duration::from_secs(60);

/// Kilobytes that only the supervisor has.
fn private(host: &Host, guest: &Guest<'_>) -> Result<u32> {
    let pid = guest.property("MainPID")?;
    let rollup = host.sh(&format!("cat /proc/{pid}/smaps_rollup"))?.ok()?;
    let mut lines = rollup.lines();
    let line = lines.find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("Private_Dirty")?.parse()?)
}

/// Sixteen are attached and do not read while the guest writes; the seventeenth is turned away.
pub(super) fn by_clients(host: &Host) -> Result<()> {
    let guest = started(host, "con-held", BUSYBOX)?;
    let before = private(host, &guest)?;
    let crowd = "for n in $(seq 16); do skep console con-held </dev/null >/run/con-held.$n 2>&1 & done; wait";
    let mut crowd = host.command(["bash", "-c", crowd])?.spawn()?;
    let pids = wait_until(LIMIT, "sixteen that are attached", || {
        let said = host.sh("cat /run/con-held.* 2>/dev/null | grep -c 'busybox service' || :")?;
        let pids = attached(host, "con-held")?;
        Ok((said.ok()? == "16" && pids.len() == 16).then_some(pids))
    })?;
    let more = host.exec(["skep", "console", "con-held"])?;
    ensure!(
        more.status() == 1 && more.stderr().contains("16 are attached already"),
        "{more:?}"
    );
    let kill = |signal: &str| {
        let mut all = vec!["kill", signal];
        all.extend(pids.iter().map(String::as_str));
        host.exec(all)?.ok().map(drop)
    };
    kill("-STOP")?;
    let script = "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 33554432 >/dev/console; echo marked the end >/dev/console";
    let (done, time) = timed(|| sh(&guest, script));
    done?;
    println!("32 MiB in {time:?}");
    ensure!(time < Duration::from_secs(20), "the guest waited {time:?}");
    let mut after = before;
    // Not before the journal has taken all of it.
    wait_until(BUSY, "the supervisor to forget what it has told", || {
        after = private(host, &guest)?;
        Ok((after < before + 128).then_some(()))
    })
    .with_context(|| format!("{before} kB, then {after} kB"))?;
    println!("private: {before} kB, then {after} kB");
    kill("-CONT")?;
    wait_until(LIMIT, "all to have caught up", || {
        // What comes before a client has caught up is skipped, too.
        sh(&guest, "echo marked later >/dev/console")?;
        let said = host
            .sh("grep -l 'marked later' /run/con-held.* | wc -l; grep -l 'bytes were skipped here' /run/con-held.* | wc -l")?;
        Ok((said.ok()? == "16\n16").then_some(()))
    })?;
    // A stop waits for none of them either.
    kill("-STOP")?;
    let time = guest.systemctl("stop")?;
    ensure!(time < LIMIT, "the stop took {time:?}");
    kill("-CONT")?;
    wait_until(LIMIT, "the end of all", || Ok(crowd.try_wait()?.map(drop)))?;
    host.sh("rm /run/con-held.*")?.ok()?;
    guest.systemctl("start")?;
    others(host)?;
    guest.finish()
}

/// Only root comes near it.
fn others(host: &Host) -> Result<()> {
    let modes = host
        .sh("stat -c %a:%u /run/skep/machine/con-held /run/skep/machine/con-held/console")?
        .ok()?;
    ensure!(modes == "700:0\n600:0", "{modes}");
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups skep console con-held";
    let done = host.sh(nobody)?;
    ensure!(
        done.status() == 1 && done.stderr().contains("only root may"),
        "{done:?}"
    );
    Ok(())
}

/// A frozen unit does not answer, and can be left.
pub(super) fn by_freezing(host: &Host) -> Result<()> {
    let guest = started(host, "con-frozen", BUSYBOX)?;
    let mut writer = attach(host, "con-frozen")?;
    writer.wait_for("busybox service runs")?;
    guest.systemctl("freeze")?;
    let judged = (|| -> Result<()> {
        // More than all buffers take.
        for _ in 0..64 {
            writer.press(&"x".repeat(8192))?;
        }
        let mut other = attach(host, "con-frozen")?;
        other.wait_for("no answer yet")?;
        other.press(DETACH)?;
        ensure_left(other, 0, "detached")?;
        writer.press(DETACH)?;
        ensure_left(writer, 0, "detached")
    })();
    guest.systemctl("thaw")?;
    judged?;
    let mut writer = attach(host, "con-frozen")?;
    sh(&guest, "echo marked $((40+2)) >/dev/console")?;
    writer.wait_for("marked 42")?;
    // Nobody reads what is typed here.
    writer.press(&"y\r".repeat(8192))?;
    sh(&guest, "echo marked $((40+3)) >/dev/console")?;
    writer.wait_for("marked 43")?;
    guest.finish()?;
    ensure_left(writer, 0, "con-frozen has ended")
}
