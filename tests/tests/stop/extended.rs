//! A guest that needs longer than its unit gives it, and says so in time.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

/// An init that takes three seconds to boot and to stop, and asks for more time every half second.
const INIT: &str = r#"use Socket;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
connect($socket, sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!;
sub slowly { for (1 .. 6) { send($socket, "EXTEND_TIMEOUT_USEC=1500000\nSTATUS=slowly", 0); select(undef, undef, undef, 0.5); } }
my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
slowly();
send($socket, "READY=1", 0);
select(undef, undef, undef, 0.2) while !$stop;
slowly();
"#;

pub(super) fn by_the_guest(host: &Host) -> Result<()> {
    const PROGRAM: &str = "/run/extend-init";
    host.write(PROGRAM, INIT)?;
    let judged = extended(
        host,
        &format!(
            "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nBindReadOnly={PROGRAM}:/opt/init.pl\n\
             Init=/usr/bin/perl\nParameters=/opt/init.pl\n\
             KillSignal=SIGTERM\nNotifyReady=yes\n[Service]\nTimeoutStartSec=1500ms\nTimeoutStopSec=1500ms\n"
        ),
    );
    host.exec(["rm", PROGRAM])?.ok()?;
    judged
}

fn extended(host: &Host, text: &str) -> Result<()> {
    let guest = Guest::declare(host, "extended", text)?;
    let times = [guest.systemctl("start")?, guest.systemctl("stop")?];
    for time in times {
        let range = Duration::from_secs(3)..Duration::from_secs(8);
        ensure!(range.contains(&time), "took {times:?}");
    }
    // A stop that timed out would say so here.
    let result = guest.property("Result")?;
    ensure!(result == "success", "{result}\n{}", guest.status()?);
    println!("start and stop took {times:?} with a limit of 1.5 s each");
    guest.finish()
}
