//! Stops shortly after the start and after the boot.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{Row, serves, with_all};

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
