//! The same tools on a container of ours and on one of systemd-nspawn@.service, of the same tree, on the same host. What
//! works with one and not with the other is printed with its reason; a difference that nobody has declared is an error.

use anyhow::{Context, Result, bail, ensure};
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
};

use super::checks::{Check, ENDING, RUNNING};
use super::registered;

/// Our machine and the other.
const OURS: &str = "beside-skep";
const THEIRS: &str = "beside-nspawn";

/// With whose machine something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Works {
    Both,
    Ours,
    Theirs,
    Neither,
    /// With ours always, with the other's now and then.
    Unsurely,
}

/// What does not work with both: on which hosts, with whose it does, and why.
struct Difference {
    check: &'static str,
    hosts: &'static [Os],
    works: Works,
    reason: &'static str,
}

/// All of them.
const DIFFERENCES: &[Difference] = &[
    Difference {
        check: "machinectl start",
        hosts: &Os::DEBIAN,
        works: Works::Theirs,
        reason: "bound to systemd-nspawn@.service: that one starts with the tree; use systemctl or skep start",
    },
    Difference {
        check: "systemctl --user -M",
        hosts: &Os::DEBIAN,
        works: Works::Neither,
        reason: "the tree has no bus for users",
    },
    Difference {
        check: "systemd-run -M --pty",
        hosts: &[Os::Bookworm],
        works: Works::Neither,
        reason: "systemd-run 252 looks for the container's terminal among the host's",
    },
    Difference {
        check: "ps: machine",
        hosts: &[Os::Sid],
        works: Works::Neither,
        reason: "machined 258 and later writes no link for a leader in a cgroup below its unit's",
    },
    Difference {
        check: "machinectl reboot",
        hosts: &[Os::Bookworm],
        works: Works::Unsurely,
        reason: "systemd-nspawn 252 does not always come back",
    },
    Difference {
        check: "systemctl -M reboot",
        hosts: &[Os::Bookworm],
        works: Works::Unsurely,
        reason: "systemd-nspawn 252 does not always come back",
    },
    Difference {
        check: "machinectl bind",
        hosts: &Os::DEBIAN,
        works: Works::Neither,
        reason: "machined refuses private users; use Bind=",
    },
];

/// Runs a program on a terminal and waits for a line in what it writes.
const PTY: &str = r#"
import os, re, select, signal, sys, time
pid, terminal = os.forkpty()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said, end = b"", time.monotonic() + 10
wanted = re.compile(sys.argv[1].encode(), re.M)
while not wanted.search(said) and time.monotonic() < end:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            some = os.read(terminal, 4096)
        except OSError:
            break
        said += some
        if not some:
            break
found = wanted.search(said)
os.kill(pid, signal.SIGHUP)
os.close(terminal)
os.waitpid(pid, 0)
sys.stdout.write(said.decode(errors="replace"))
sys.exit(0 if found else 1)
"#;

/// How often a check is made once more with the other's machine: its reboots and its starts fail now and then, and it is
/// not what is tested here.
const RETRIES: usize = 2;

/// What all scripts may use.
const FUNCTIONS: &str = r#"
known() { machinectl show --value --property=$1 $m; }
wait_for() { for turn in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; echo "waited in vain: $*"; return 1; }
state() { systemctl show -P ActiveState $u; }
active() { [ $(state) = active ]; }
gone() { [ $(state) = inactive ] && ! machinectl show $m; }
ended() { wait_for gone; }
running() { [ "$(systemctl -M $m is-system-running)" = running ]; }
up() { wait_for running; }
changed() { now=$(known Leader) && [ "$now" ] && [ "$now" != $1 ]; }
another() { wait_for changed $1; }
again() { systemctl start $u && up; }
"#;

/// The results of a check on ours and theirs; `Err` says what was printed.
type Pair = (
    &'static str,
    std::result::Result<(), String>,
    std::result::Result<(), String>,
);

pub(super) fn nspawn(host: &Host) -> Result<()> {
    host.scratch_guest("debian-13", OURS)?;
    let judged = host
        .scratch_guest("debian-13", THEIRS)
        .and_then(|()| both(host));
    // The other's unit may have been started on our tree, which is one of the differences.
    let cleaned = host.sh(&format!(
        "rm -rf /run/beside; systemctl stop systemd-nspawn@{THEIRS} systemd-nspawn@{OURS}; \
         systemctl reset-failed systemd-nspawn@{THEIRS} systemd-nspawn@{OURS} 2>/dev/null || :"
    ));
    host.remove_guest(OURS)?;
    host.remove_guest(THEIRS)?;
    judged?;
    cleaned.map(drop)
}

fn both(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, OURS, "[Container]\n")?;
    host.sh("mkdir -p /run/beside")?.ok()?;
    host.write("/run/beside/pty.py", PTY)?;
    host.exec([
        "systemctl",
        "start",
        &guest.unit(),
        &format!("systemd-nspawn@{THEIRS}"),
    ])?
    .ok()?;
    for machine in [OURS, THEIRS] {
        registered(host, machine)?;
        // An address that both have, without anything that assigns one.
        host.sh(&format!(
            "{FUNCTIONS} m={machine}; up && nsenter -n -t $(known Leader) ip address add 10.99.0.1/32 dev lo"
        ))?
        .ok()?;
    }
    let mut pairs = Vec::new();
    for check in RUNNING.iter().chain(ENDING) {
        pairs.push(on_both(host, &guest, check)?);
    }
    judge(host.os(), &pairs)?;
    host.sh(&format!("systemctl stop systemd-nspawn@{THEIRS}"))?
        .ok()?;
    guest.finish()
}

/// Both at the same time: most of it is waiting.
fn on_both(host: &Host, guest: &Guest<'_>, (name, script): &'static Check) -> Result<Pair> {
    let on = |machine: &str, unit: &str| {
        let script = format!(
            "m={machine}; u={unit}; tree=/var/lib/machines/{machine}; tmp=/run/beside/{machine}; pty=/run/beside/pty.py; \
             mkdir -p $tmp; {FUNCTIONS}{script}"
        );
        let done = host.exec(["timeout", "45", "sh", "-c", &script])?;
        let said = format!("{}\n{}", done.stdout(), done.stderr());
        Ok::<_, anyhow::Error>(match done.status() {
            0 => Ok(()),
            status => Err(format!("{said}\nexit status {status}")),
        })
    };
    let unit = guest.unit();
    let theirs = format!("systemd-nspawn@{THEIRS}.service");
    let with_theirs = || -> Result<std::result::Result<(), String>> {
        let mut result = on(THEIRS, &theirs)?;
        let works = declared(name, host.os()).map(|known| known.works);
        for _ in 0..RETRIES {
            if result.is_ok() || works.is_some_and(|works| works != Works::Unsurely) {
                break;
            }
            println!("{name}: once more with {THEIRS}: {result:?}");
            // A stop of one that has only begun to boot would hang. If this fails, so does the check.
            let _ = host.sh(&format!(
                "u={theirs} m={THEIRS}; {FUNCTIONS}systemctl kill --signal=KILL $u || :; systemctl stop $u || :; systemctl reset-failed $u || :; \
                 umount --lazy /run/systemd/nspawn/unix-export/$m 2>/dev/null || :; again"
            ));
            if works.is_some() {
                break;
            }
            result = on(THEIRS, &theirs)?;
        }
        Ok(result)
    };
    std::thread::scope(|scope| {
        let theirs = scope.spawn(with_theirs);
        let ours = on(OURS, &unit);
        match theirs.join() {
            Ok(theirs) => Ok((*name, ours?, theirs?)),
            Err(_) => bail!("{name}: panicked"),
        }
    })
    .with_context(|| (*name).to_owned())
}

fn declared(name: &str, os: Os) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|one| one.check == name && one.hosts.contains(&os))
}

fn judge(os: Os, pairs: &[Pair]) -> Result<()> {
    let mut wrong = Vec::new();
    println!("{:<44} skep  nspawn", format!("on {os}"));
    for (name, ours, theirs) in pairs {
        let word = |result: &std::result::Result<(), String>| match result {
            Ok(()) => "ok",
            Err(_) => "no",
        };
        let known = declared(name, os);
        let works = match (ours, theirs) {
            (Ok(()), Ok(())) => Works::Both,
            (Ok(()), Err(_)) => Works::Ours,
            (Err(_), Ok(())) => Works::Theirs,
            (Err(_), Err(_)) => Works::Neither,
        };
        let expected = known.map_or(Works::Both, |known| known.works);
        let unsure = expected == Works::Unsurely && [Works::Both, Works::Ours].contains(&works);
        let reason = known.map_or("", |known| known.reason);
        println!("{name:<44} {:<5} {:<5} {reason}", word(ours), word(theirs));
        if works != expected && !unsure {
            let said = [ours, theirs].map(|result| result.as_ref().err().map_or("", |said| said));
            wrong.push(format!(
                "{name}: works with {works:?}, declared is {expected:?}\nours says: {}\ntheirs says: {}",
                said[0], said[1]
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
