//! Forty runs with differing options, each with its status and output.

use anyhow::{Result, bail};
use skep_tests::host::Host;

use super::{bash, leaving_nothing};

/// Options and command, as a shell reads them; status; standard output; a part of standard error.
type Run = (&'static str, i32, &'static str, &'static str);

const RUNS: [Run; 43] = [
    // G25: statuses.
    ("-- true", 0, "", ""),
    ("-- false", 1, "", ""),
    ("-- sh -c 'exit 42'", 42, "", ""),
    ("sh -c 'exit 255'", 255, "", ""),
    ("--init -- sh -c 'kill -9 $$'", 137, "", ""),
    ("--init -- sh -c 'kill -15 $$'", 143, "", ""),
    ("--init -- sh -c 'kill -11 $$'", 139, "", ""),
    ("-- no-such-program", 127, "", "no-such-program"),
    ("-- /none/program", 127, "", "/none/program"),
    ("--tmpfs /d -- /d", 126, "", "/d"),
    ("--expose $b/etc/hosts=/h -- /h", 126, "", "/h"),
    // G18: missing sources.
    (
        "--share /none=/n -- true",
        125,
        "",
        "--share: /none: No such file or directory",
    ),
    ("--expose /none -- true", 125, "", "write \"-\" before"),
    ("--share=-/none=/n -- ls /n", 1, "", "/n"),
    (
        "--closure /gnu/store/none -- true",
        125,
        "",
        "/gnu/store/none",
    ),
    // G23: ids.
    ("-- sh -c 'id -u; id -g'", 0, "0\n0", ""),
    ("--uid 33 --gid 44 -- sh -c 'id -u; id -g'", 0, "33\n44", ""),
    (
        "--uid 1000 -- sh -c 'id -g; grep CapEff /proc/self/status'",
        0,
        "1000\nCapEff:\t0000000000000000",
        "",
    ),
    ("--user 33:44 -- sh -c 'id -u; id -g'", 0, "33\n44", ""),
    ("--user 33 --uid 33 -- true", 2, "", "cannot be used with"),
    ("--user root -- true", 2, "", "expected UID or UID:GID"),
    ("--uid 70000 -- true", 2, "", "70000"),
    // Environment and place.
    (
        "--env A=1 --env 'B=two words' --env A=3 -- sh -c 'echo $A $B $SECRET $container'",
        0,
        "3 two words skep",
        "",
    ),
    ("--env SECRET -- sh -c 'echo $SECRET'", 0, "leak", ""),
    ("--chdir /bin -- pwd", 0, "/bin", ""),
    ("-- pwd", 0, "/", ""),
    ("--chdir /none -- pwd", 125, "", "/none"),
    ("--hostname box -- hostname", 0, "box", ""),
    ("--name one -- hostname", 0, "one", ""),
    // The tree.
    ("-- sh -c 'echo x >/x && cat /x'", 0, "x", ""),
    ("--read-only -- touch /x", 1, "", "Read-only file system"),
    (
        "--tmpfs /scratch:size=1M,mode=0700 -- sh -c 'stat -c %a /scratch; grep -c \" /scratch .*size=1024k\" /proc/self/mountinfo'",
        0,
        "700\n1",
        "",
    ),
    (
        "--root $b -- cat /etc/os-release",
        0,
        "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox\"",
        "",
    ),
    (
        "--root $b -- sh -c 'echo x >/gone && cat /gone'",
        0,
        "x",
        "",
    ),
    (
        "--root $b --read-only -- touch /gone",
        1,
        "",
        "Read-only file system",
    ),
    // G16: shares.
    (
        "--expose $b/etc=/e -- sh -c 'cmp /e/hosts /e/hosts && echo x >/e/x'",
        1,
        "",
        "Read-only file system",
    ),
    // G30: init.
    (
        "--init -- sh -c '[ $$ != 1 ] && tr \"\\0\" \" \" </proc/1/cmdline | grep -q . && echo two'",
        0,
        "two",
        "",
    ),
    ("-- sh -c 'echo $$'", 0, "1", ""),
    // G37: namespaces and network.
    (
        "--network -- sh -c 'cut -d: -f1 -s /proc/net/dev | xargs -n 1'",
        0,
        "NET",
        "",
    ),
    ("-- ls /sys/class/net", 0, "lo", ""),
    ("--namespaces -uts -- hostname", 0, "HOST", ""),
    // The unit.
    (
        "--property MemoryMx=1 -- true",
        125,
        "",
        "--property: MemoryMx=: unknown key in [Service]; did you mean MemoryMax=?",
    ),
    (
        "--property MemoryMax=lots -- true",
        125,
        "",
        "--property: MemoryMax=: ",
    ),
];

pub(super) fn forty_runs(host: &Host) -> Result<()> {
    let network = host.sh("cut -d: -f1 -s /proc/net/dev | xargs -n 1")?.ok()?;
    let name = host.sh("hostname")?.ok()?;
    leaving_nothing(host, || {
        let mut wrong = Vec::new();
        for (line, status, stdout, stderr) in RUNS {
            let want = stdout.replace("NET", &network).replace("HOST", &name);
            let done = bash(host, &format!("export SECRET=leak; r {line}"))?;
            if done.status() != status || done.stdout() != want || !done.stderr().contains(stderr) {
                wrong.push(format!(
                    "r {line}\n  status {} ({status}), output {:?} ({want:?}), error {:?} ({stderr:?})",
                    done.status(),
                    done.stdout(),
                    done.stderr()
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} runs:\n{}",
            wrong.len(),
            RUNS.len(),
            wrong.join("\n")
        )
    })
}
