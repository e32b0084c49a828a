//! Stops shortly after the start, when systemd-nspawn@ hangs; and quick starts, stops and restarts in a row.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{BUSYBOX, DEBIAN, ensure_state};

/// Time from the request of a start to that of the stop.
const DELAYS: [u32; 6] = [0, 10, 50, 100, 200, 500];

/// How often each.
const TIMES: u32 = 20;

/// Longest stop.
const LIMIT: u32 = 5000;

/// `$1` unit, `$2` delay in ms, `$3` how often: one line `DELAY TIME ACTIVE RESULT` each.
const SERIES: &str = r#"series() {
    for turn in $(seq "$3"); do
        systemctl start --no-block "$1"
        sleep "$(printf '0.%03d' "$2")"
        begin=$(date +%s%N)
        systemctl stop "$1"
        end=$(date +%s%N)
        echo "$2 $(((end - begin) / 1000000)) $(systemctl show -P ActiveState "$1") $(systemctl show -P Result "$1")"
    done
}
"#;

pub(super) fn debian(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "early-debian", DEBIAN)?;
    measure(host, &calls(&guest, &DELAYS, TIMES), DELAYS.len(), TIMES)?;
    works(&guest)?;
    guest.finish()?;
    let text = DEBIAN.replace("debian-12", "debian-sid");
    let guest = Guest::declare(host, "early-sid", &text)?;
    measure(host, &calls(&guest, &DELAYS, 4), DELAYS.len(), 4)?;
    works(&guest)?;
    guest.finish()
}

fn calls(guest: &Guest<'_>, delays: &[u32], times: u32) -> String {
    let call = |delay| format!("series {} {delay} {times}\n", guest.unit());
    delays.iter().map(call).collect()
}

/// BusyBox sleeps for two seconds in its shutdown, so each delay has a container of its own, all at once.
pub(super) fn busybox(host: &Host) -> Result<()> {
    let text = format!("{BUSYBOX}Ephemeral=yes\n");
    let mut guests = Vec::new();
    for delay in DELAYS {
        guests.push(Guest::declare(host, &format!("early-{delay}"), &text)?);
    }
    let script: String = guests
        .iter()
        .zip(DELAYS)
        .map(|(guest, delay)| format!("series {} {delay} {TIMES} &\n", guest.unit()))
        .collect();
    measure(host, &format!("{script}wait\n"), DELAYS.len(), TIMES)?;
    guests.iter().try_for_each(works)?;
    // Each looks at the whole host when it finishes.
    let stops = guests.iter().map(Guest::unit);
    host.exec(
        ["systemctl".to_owned(), "stop".to_owned()]
            .into_iter()
            .chain(stops),
    )?
    .ok()?;
    guests.into_iter().rev().try_for_each(Guest::finish)
}

fn works(guest: &Guest<'_>) -> Result<()> {
    println!("the next start took {:?}", guest.systemctl("start")?);
    ensure_state(guest, "active", "success")
}

/// Runs series, prints a table of their times, and fails with the first bad stop.
fn measure(host: &Host, script: &str, delays: usize, times: u32) -> Result<()> {
    let lines = host.sh(&format!("{SERIES}{script}"))?.ok()?;
    let mut all = BTreeMap::<u32, Vec<u32>>::new();
    let mut bad = Vec::new();
    for line in lines.lines() {
        let mut fields = line.split(' ');
        let mut number = || {
            fields
                .next()
                .context("short line")?
                .parse::<u32>()
                .context("number")
        };
        let (delay, time) = (number()?, number()?);
        all.entry(delay).or_default().push(time);
        if time > LIMIT || fields.collect::<Vec<_>>() != ["inactive", "success"] {
            bad.push(line);
        }
    }
    println!("delay ms   stops   min   median   max ms");
    for (delay, stops) in &mut all {
        stops.sort_unstable();
        let (min, max) = (stops[0], stops[stops.len() - 1]);
        let median = stops[stops.len() / 2];
        println!(
            "{delay:>8} {:>7} {min:>5} {median:>8} {max:>8}",
            stops.len()
        );
        ensure!(u32::try_from(stops.len()) == Ok(times), "stops are missing");
    }
    ensure!(all.len() == delays, "series are missing:\n{lines}");
    ensure!(
        bad.is_empty(),
        "bad stops (delay, ms, state, result):\n{}",
        bad.join("\n")
    );
    Ok(())
}

pub(super) fn storm(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "storm", DEBIAN)?;
    let unit = guest.unit();
    host.sh(&format!(
        "for turn in $(seq 10); do systemctl restart --no-block {unit}; sleep 0.05; done"
    ))?
    .ok()?;
    works(&guest)?;
    for _ in 0..5 {
        guest.systemctl("restart")?;
    }
    guest.is_running()?;
    host.sh(&format!(
        "for turn in $(seq 10); do systemctl start --no-block {unit}; systemctl stop --no-block {unit}; done; systemctl start {unit}"
    ))?
    .ok()?;
    ensure_state(&guest, "active", "success")?;
    guest.finish()
}
