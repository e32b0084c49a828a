//! Messages to the service manager that a guest makes up.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::Host,
    wait::{PATIENCE, timed, wait_until},
};

use super::DEBIAN;

/// Sends a message to `/run/host/notify` with eight descriptors: sendmsg(2) 46 with SCM_RIGHTS.
const FORGE: &str = r#"use Socket; use Fcntl; socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die; sysopen(my $null, "/dev/null", O_RDONLY) or die;
connect($s, pack_sockaddr_un("/run/host/notify")) or die "connect: $!";
sub forge { my ($text) = @_; my $iov = pack("P Q", $text, length $text);
    my $fds = pack("Q i i i8", 48, 1, 1, (fileno $null) x 8); my $message = pack("Q I x4 P Q P Q i x4", 0, 0, $iov, 1, $fds, 48, 0);
    syscall(46, fileno $s, $message, 0) >= 0 }
my @words = ("READY=1", "MAINPID=1", "FDSTORE=1", "FDNAME=x", "ERRNO=5", "BUSERROR=x", "WATCHDOG=trigger", "WATCHDOG_USEC=1",
    "NOTIFYACCESS=all", "STATUS=forged"); my $all = join "\n", @words;
"#;

/// As an init: says what it must not, then what it may.
const INIT: &str = r#"$SIG{TERM} = sub { exit 0 }; select undef, undef, undef, 0.05 until -e "/run/go";
shift @words; forge($_) for join("\n", @words[0 .. 7]), "MAINPID=2\0STATUS=hidden", "=" x 60000, "\xff\xfe=\n\n=";
send($s, $_, 0) for "", join("\n", @words[0 .. 7]), "x" x 60000, "READY=1\nMAINPID=2\nFDSTORE=1"; sleep 1 while 1;
"#;

/// As an init: changes its mind for two seconds, as fast as it can.
const FLIPPING: &str = r#"$SIG{TERM} = sub { exit 0 }; send($s, "READY=1", 0); select undef, undef, undef, 0.05 until -e "/run/go";
my $end = time + 3; while (time < $end) { for (1 .. 100) { send($s, $_, 0) for "STOPPING=1", "READY=1" } }
send($s, $_, 0) for "STOPPING=1", "STATUS=the last word"; open(my $done, ">", "/run/done"); sleep 1 while 1;
"#;

/// Only the init counts, and of its words only those that are meant for a supervisor.
pub(super) fn forged(host: &Host) -> Result<()> {
    host.write("/run/att-init", format!("{FORGE}{INIT}"))?;
    let judged = told(host);
    host.exec(["rm", "/run/att-init"])?.ok()?;
    judged?;
    host.write("/run/att-init", format!("{FORGE}{FLIPPING}"))?;
    let judged = flipped(host);
    host.exec(["rm", "/run/att-init"])?.ok()?;
    judged?;
    flooded(host)
}

/// A container whose init is the program.
fn with_init<'a>(host: &'a Host, name: &str) -> Result<Guest<'a>> {
    let text = format!(
        "{DEBIAN}Init=/usr/bin/perl\nParameters=/att-init\nNotifyReady=yes\nBindReadOnly=/run/att-init:/att-init\n"
    );
    Guest::declare(host, name, &text)
}

/// The host's systemd has time for others, and knows in the end how it is.
fn flipped(host: &Host) -> Result<()> {
    let guest = with_init(host, "att-flip")?;
    guest.systemctl("start")?;
    sh(&guest, "touch /run/go")?;
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    while sh(&guest, "test -e /run/done || echo not yet")? == "not yet" {
        let (text, took) = timed(|| guest.property("StatusText"));
        text?;
        (slowest, asked) = (slowest.max(took), asked + 1);
    }
    println!("asked {asked} times, which took {slowest:?} at most");
    ensure!(slowest < Duration::from_millis(500) && asked > 1);
    wait_until(PATIENCE, "the last word", || {
        let status = guest.property("StatusText")?;
        Ok((status == "Shutting down (from inside): the last word").then_some(()))
    })?;
    guest.finish()
}

fn told(host: &Host) -> Result<()> {
    let guest = with_init(host, "att-notify")?;
    host.exec(["systemctl", "start", "--no-block", &guest.unit()])?
        .ok()?;
    wait_until(Duration::from_secs(10), "the init", || {
        Ok(sh(&guest, "echo up").ok())
    })?;
    let properties = || -> Result<[String; 5]> {
        Ok([
            guest.property("MainPID")?,
            guest.property("NFileDescriptorStore")?,
            guest.property("NotifyAccess")?,
            guest.property("StatusErrno")?,
            guest.property("WatchdogUSec")?,
        ])
    };
    let before = properties()?;
    // Somebody else of the container says that it is ready, with the same words and more.
    let other = r#"for ($all, "STOPPING=1", "FDSTORE=1", "WATCHDOG=trigger") { forge($_) or die "send: $!"; send($s, $_, 0) or die } print "sent""#;
    prints(&guest, &format!("perl -e '{FORGE}{other}'"), "sent")?;
    std::thread::sleep(Duration::from_millis(300));
    let state = guest.property("ActiveState")?;
    ensure!(state == "activating", "a stranger made it {state}");
    let status = guest.property("StatusText")?;
    ensure!(!status.contains("forged"), "{status}");
    sh(&guest, "touch /run/go")?;
    wait_until(Duration::from_secs(10), "the init's own word", || {
        Ok((guest.property("ActiveState")? == "active").then_some(()))
    })?;
    wait_until(PATIENCE, "the init's status", || {
        Ok(guest
            .property("StatusText")?
            .starts_with("Running")
            .then_some(()))
    })?;
    ensure!(before == properties()?, "{before:?} is {:?}", properties()?);
    guest.finish()
}

/// A flood of messages with descriptors holds up nothing.
fn flooded(host: &Host) -> Result<()> {
    let guest = started(host, "att-flood", DEBIAN)?;
    let sender = format!("{FORGE}my $long = $all . \"x\" x 3000; forge($long) while 1");
    sh(
        &guest,
        &format!("for n in 1 2 3; do perl -e '{sender}' </dev/null >/dev/null 2>&1 & done"),
    )?;
    std::thread::sleep(Duration::from_secs(1));
    let launcher = guest.property("MainPID")?;
    let resident = host
        .sh(&format!(
            "grep VmRSS /proc/{launcher}/status | tr -dc 0-9; echo; ls /proc/{launcher}/fd | wc -l"
        ))?
        .ok()?;
    let (memory, files) = resident.split_once('\n').unwrap_or_default();
    ensure!(
        memory.parse::<u32>()? < 20_000 && files.parse::<u32>()? < 40,
        "kB and files of the supervisor: {resident}"
    );
    let (done, took) = timed(|| guest.exec(&["true"]));
    done?.ok()?;
    ensure!(took < Duration::from_secs(5), "entering took {took:?}");
    ensure!(!guest.property("StatusText")?.contains("forged"));
    let took = guest.systemctl("stop")?;
    ensure!(took < Duration::from_secs(20), "the stop took {took:?}");
    guest.finish()
}
