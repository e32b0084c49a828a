//! A guest that changes its addresses all the time, and one that has thousands of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    wait::wait_until,
};

use super::{BUSYBOX, json};

/// How long the addresses change.
const SPAN: Duration = Duration::from_secs(5);

/// Addresses that are shown at most.
const SHOWN: usize = 16;

/// Longest status of a unit with so many of them.
const TEXT: usize = 512;

/// Hundredths of a second that the supervisor has worked, and kilobytes that only it has.
fn used(host: &Host, guest: &Guest<'_>) -> Result<(u64, u64)> {
    let pid = guest.property("MainPID")?;
    let said = host
        .sh(&format!(
            "cut -d' ' -f14,15 /proc/{pid}/stat; awk '/^Private_Dirty/ {{ print $2 }}' /proc/{pid}/smaps_rollup"
        ))?
        .ok()?;
    let numbers: Vec<u64> = said
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    match numbers[..] {
        [user, system, memory] => Ok((user + system, memory)),
        _ => Err(anyhow::anyhow!("not three numbers: {said}")),
    }
}

/// Neither costs the host more than a look each second, and no list grows.
pub(super) fn bounded(host: &Host) -> Result<()> {
    let guest = started(host, "status-flood", BUSYBOX)?;
    let leader = json(host, "status-flood")?["leader"]
        .as_u64()
        .context("no leader")?;
    let batch = format!("nsenter -n -t {leader} ip -force -batch");
    let (before, memory) = used(host, &guest)?;
    let begun = Instant::now();
    let seconds = SPAN.as_secs();
    let changes = host
        .sh(&format!(
            "for n in $(seq 500); do echo addr add 10.1.2.3/32 dev lo; echo addr del 10.1.2.3/32 dev lo; done >/run/flood; \
             rounds=0; end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do {batch} /run/flood; rounds=$((rounds + 1)); done; \
             echo $((rounds * 1000))"
        ))?
        .ok()?;
    let (after, grown) = used(host, &guest)?;
    let took = begun.elapsed();
    println!(
        "{changes} changes in {took:?}: {}0 ms, {memory} kB, then {grown} kB",
        after - before
    );
    ensure!(
        after - before <= 25 && grown < memory + 128,
        "{after} - {before}, {memory} kB, then {grown} kB"
    );

    host.sh(&format!(
        "for a in $(seq 16); do for b in $(seq 250); do echo addr add 10.2.$a.$b/32 dev lo; done; done >/run/flood; {batch} /run/flood; rm /run/flood"
    ))?
    .ok()?;
    let known = wait_until(Duration::from_secs(10), "the addresses", || {
        let known = json(host, "status-flood")?;
        let found = known["addresses"].as_array().map_or(0, Vec::len);
        Ok((found >= SHOWN).then_some(known))
    })?;
    let found = known["addresses"].as_array().map_or(0, Vec::len);
    let text = guest.property("StatusText")?;
    ensure!(
        found == SHOWN && text.len() < TEXT && text.contains("10.2."),
        "{found}, {text}"
    );
    // What they cost when they stay.
    let (before, _) = used(host, &guest)?;
    std::thread::sleep(Duration::from_secs(3));
    let (after, grown) = used(host, &guest)?;
    println!(
        "with 4000: {text}: {}0 ms in 3 s, {grown} kB",
        after - before
    );
    ensure!(
        after - before <= 10 && grown < memory + 128,
        "{after} - {before}, {memory} kB, then {grown} kB"
    );
    guest.finish()
}
