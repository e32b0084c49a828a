//! Stops shortly after the start and after the boot.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::prints, host::Host};

use super::{ROWS, Row, serves, with_all};

/// Time from the request of a start to that of the stop.
const DELAYS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(500),
];

/// Longest stop.
const LIMIT: Duration = Duration::from_secs(5);

/// How many at once: their times count.
const ABREAST: usize = 2;

pub(super) fn all(host: &Host, rows: &[Row]) -> Result<()> {
    rows.chunks(ABREAST).try_for_each(|rows| {
        with_all(host, rows, "stop", |guest, row| {
            let mut times = Vec::new();
            for delay in DELAYS {
                let unit = guest.unit();
                host.exec(["systemctl", "start", "--no-block", &unit])?
                    .ok()?;
                std::thread::sleep(delay);
                times.push(guest.systemctl("stop")?);
            }
            guest.systemctl("start")?;
            serves(guest, row, None)?;
            times.push(guest.systemctl("stop")?);
            println!("{}: stopped in {times:.2?}", row.kind);
            ensure!(
                times.iter().all(|time| *time < LIMIT),
                "stopped in {times:.2?}\n{}",
                guest.journal()?
            );
            let result = guest.property("Result")?;
            ensure!(result == "success", "{result}\n{}", guest.status()?);
            Ok(())
        })
    })
}

/// What runit's own program prints when a stop runs it is not told to the host's journal.
pub(super) fn mute(host: &Host) -> Result<()> {
    const LOUD: &str = "mv /sbin/runit-init /sbin/runit-real; \
        printf '#!/bin/sh\\nprintf \"\\\\033[31mforged\\\\n\" | tee /dev/stderr\\nexec /sbin/runit-real \"$@\"\\n' >/sbin/runit-init; \
        chmod 755 /sbin/runit-init; grep -c forged /sbin/runit-init";
    let runit: Vec<Row> = ROWS
        .iter()
        .filter(|row| row.kind == "runit")
        .copied()
        .collect();
    with_all(host, &runit, "mute", |guest, row| {
        guest.systemctl("start")?;
        serves(guest, row, None)?;
        prints(guest, LOUD, "1")?;
        let took = guest.systemctl("stop")?;
        ensure!(took < LIMIT, "stopped in {took:?}\n{}", guest.journal()?);
        let journal = guest.journal()?;
        ensure!(!journal.contains("forged"), "{journal}");
        Ok(())
    })
}
