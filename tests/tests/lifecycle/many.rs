//! Many declarations at once: good ones, wrong ones, and one with everything in it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    host::Host,
    wait::{timed, wait_until},
};

use super::{BUSYBOX, clean, contains, generation, loaded, property};

const THOUSAND: usize = 1000;

/// A thousand units come with one call and one keeper, and go without a trace.
pub(crate) fn thousand(host: &Host) -> Result<()> {
    // Their apply is to be ours, and not that of the watch.
    host.sh("systemctl stop skep.path; systemctl stop skep-settle.timer skep-apply.service")?
        .ok()?;
    let judged = come_and_go(host);
    host.exec(["systemctl", "start", "skep.path"])?.ok()?;
    judged
}

fn come_and_go(host: &Host) -> Result<()> {
    let before = generation(host)?;
    host.sh(&format!(
        "i=0; while [ $i -lt {THOUSAND} ]; do
           printf '[Container]\\nRoot=/var/lib/machines/%s\\nBindReadOnly=-/etc/hosts\\n' $i >/etc/skep/life-$i.container
           i=$((i + 1))
         done"
    ))?
    .ok()?;
    let (done, first) = timed(|| host.exec(["skep", "apply"]));
    let said = done?.ok()?;
    ensure!(
        said.lines()
            .filter(|line| line.starts_with("create "))
            .count()
            == THOUSAND
    );
    let units = loaded(host, "skep@*.service")?.len();
    ensure!(units == THOUSAND, "{units} units");
    let keepers = loaded(host, "skep-declared-*.slice")?;
    ensure!(keepers.len() == 1, "{keepers:?}");
    let after = generation(host)?;
    // Nothing was declared before, so the count may have begun anew.
    ensure!(
        after <= before + 1,
        "generation {before}, then {after}: more than one call"
    );
    let (done, again) = timed(|| host.exec(["skep", "apply"]));
    contains(&done?.ok()?, &["nothing to do: 1000 units"])?;
    let specs = host.sh("ls /run/skep/spec | wc -l")?.ok()?;
    ensure!(specs == THOUSAND.to_string(), "{specs} spec files");
    host.sh("rm /etc/skep/life-*.container")?.ok()?;
    let (done, removed) = timed(|| host.exec(["skep", "apply"]));
    done?.ok()?;
    println!(
        "{THOUSAND} declarations: applied in {first:?}, again in {again:?}, removed in {removed:?}, generations {before} -> {after}"
    );
    ensure!(first < Duration::from_secs(20) && again < Duration::from_secs(5));
    wait_until(Duration::from_secs(10), "all units to be forgotten", || {
        let left = loaded(host, "skep@*.service")?.len() + loaded(host, "skep-declared*")?.len();
        Ok((left == 0).then_some(()))
    })?;
    let left = host.sh("ls /run/skep/spec")?.ok()?;
    ensure!(left.is_empty(), "spec files are left: {left}");
    Ok(())
}

/// Every key that the tables know is taken by the managers that know it.
pub(crate) fn every_property(host: &Host) -> Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let version = host
        .sh("systemctl --version | awk 'NR == 1 {print $2}'")?
        .ok()?;
    let every = fs::read_to_string(golden.join("13-every-property/etc/skep/every.container"))?;
    let newer = fs::read_to_string(golden.join("14-newer-properties/etc/skep/newer.container"))?;
    host.write("/etc/skep/life-every.container", every)?;
    let mut checks = vec![
        ("life-every", "Description", "Everything"),
        ("life-every", "TasksMax", "5000"),
        ("life-every", "MemoryMax", "1099511627776"),
        ("life-every", "CPUQuotaPerSecUSec", "2.500000s"),
        ("life-every", "RestartUSec", "250ms"),
        ("life-every", "OOMScoreAdjust", "10"),
        ("life-every", "LimitNOFILE", "524288"),
        ("life-every", "OnFailure", "failed@life-every.service"),
    ];
    if version.parse::<u32>()? >= 256 {
        host.write("/etc/skep/life-newer.container", newer)?;
        checks.extend([
            ("life-newer", "MemoryZSwapMax", "1073741824"),
            ("life-newer", "RestartSteps", "3"),
            ("life-newer", "RestartMode", "direct"),
            ("life-newer", "WantsMountsFor", "/var/lib"),
        ]);
    }
    host.exec(["skep", "apply"])?.ok()?;
    for reload in [false, true] {
        for (name, key, wanted) in &checks {
            let value = property(host, &format!("skep@{name}.service"), key)?;
            ensure!(
                value == *wanted,
                "systemd {version}, reloaded {reload}: {key} of {name} is {value:?}, not {wanted:?}"
            );
        }
        host.exec(["systemctl", "daemon-reload"])?.ok()?;
    }
    println!("systemd {version}: {} values looked at", checks.len());
    Ok(())
}

/// Lines that are wrong, each on line 2 of a declaration of its own.
#[rustfmt::skip]
const WRONG: &[(&str, &[&str])] = &[
    ("[Container]", &[
        "Root", "= /a", "Root=srv/www", "Root=/srv/../etc", "Root=/proc/1/root", "Root=/srv/%q", "root=/a",
        "BindReadonly=/a", "MemoryMax=1G", "After=a.service", "Image=docker.io/debian", "Volume=/a:/b", "Wibble=1",
        "Ephemeral=perhaps", "Init=sbin/init", "Init=/sbin/", "Parameters=\"a", "Parameters=\\q", "Parameters=\\x00",
        "Hostname=-web", "Hostname=a b", "MachineID=1234", "KillSignal=SIGFOO", "KillSignal=65", "NotifyReady=2",
        "Environment=LANG", "Environment=1A=x", "Environment=A=1 container=lxc", "Environment=LOAD=100%",
        "Bind=srv/www", "Bind=/a:/b:nonsense", "Network=maybe", "PrivateUsers=lots", "TemporaryFileSystem=tmp",
    ]),
    ("[Service]", &[
        "WantedBy=machines.target", "ExecStart=/bin/true", "Type=simple", "KillSignal=TERM", "PrivateTmp=yes",
        "ProtectSystem=strict", "NoNewPrivileges=yes", "WatchdogSec=10", "MemoryLimit=1G", "MemoryMax=2GB",
        "MemoryMax=150%", "MemoryMax=0", "CPUWeight=0", "CPUQuota=2", "TasksMax=-1", "AllowedCPUs=3-1",
        "DeviceAllow=/dev/fuse rx", "IPAddressAllow=10.0.0.0/33", "Restart=alwys", "TimeoutStartSec=-5",
        "ExecStartPre=true", "Slice=web.service", "LimitNOFILE=10:5", "SuccessExitStatus=256", "Nice=20",
    ]),
    ("[Unit]", &["ConditionPathExists=/a", "JobTimeoutSec=5", "RequiresMountsFor=\"/srv/a b\"", "Wibble=1"]),
    ("[Install]", &["Alias=web.service", "Also=db.service", "WantedBy=nothing"]),
];

/// Wrong declarations are loaded units that fail with the reason; the good ones beside them start.
pub(crate) fn wrong(host: &Host) -> Result<()> {
    let mut count = 0;
    for (section, lines) in WRONG {
        for line in *lines {
            let text = format!("{section}\n{line}\n");
            host.write(&format!("/etc/skep/life-wrong{count}.container"), text)?;
            count += 1;
        }
    }
    for junk in [
        &b"\x7fELF\x02\x01\x01\0\0\0"[..],
        b"[Container]\nRoot=/a\0b\n",
        b"[Container]\nRoot=/\xff\n",
        &[b'x'; 1_000_000],
    ] {
        host.write(&format!("/etc/skep/life-wrong{count}.container"), junk)?;
        count += 1;
    }
    ensure!(count >= 60, "{count} wrong declarations");
    // Paths that systemd would not read back at a reload order nothing, and do not harm the unit.
    host.sh("for name in 'a b' 'a%b' \"a'b\" 'a\"b'; do mkdir -p \"/run/life-odd/$name\"; done")?
        .ok()?;
    let odd = ["a b", "a%%b", "a'b", "a\"b"].map(|name| format!("Bind=/run/life-odd/{name}\n"));
    let odd = odd.concat();
    host.write("/etc/skep/life-good.container", format!("{BUSYBOX}{odd}"))?;
    let applied = host.exec(["skep", "apply"])?;
    ensure!(
        applied.status() == 1,
        "skep apply returned {}",
        applied.status()
    );
    let said = applied.stderr();
    for reload in [false, true] {
        for number in 0..count {
            let unit = format!("skep@life-wrong{number}.service");
            ensure!(
                property(host, &unit, "LoadState")? == "loaded",
                "{unit} is not loaded"
            );
        }
        let mounts = property(host, "skep@life-good.service", "RequiresMountsFor")?;
        ensure!(
            !mounts.contains(['%', '\'', '"']),
            "reloaded {reload}: {mounts}"
        );
        host.exec(["systemctl", "daemon-reload"])?.ok()?;
    }
    host.exec(["systemctl", "start", "skep@life-good"])?.ok()?;
    host.sh(&format!(
        "systemctl start --no-block $(seq -f skep@life-wrong%g.service 0 {})",
        count - 1
    ))?
    .ok()?;
    for number in 0..count {
        let unit = format!("skep@life-wrong{number}.service");
        wait_until(Duration::from_secs(20), "a wrong unit to fail", || {
            Ok((property(host, &unit, "ActiveState")? == "failed").then_some(()))
        })?;
        let status = host
            .exec([
                "systemctl",
                "status",
                "--no-pager",
                "--full",
                "--lines=20",
                &unit,
            ])?
            .stdout();
        contains(
            &status,
            &[&format!("/etc/skep/life-wrong{number}.container:")],
        )?;
        contains(
            &said,
            &[&format!("/etc/skep/life-wrong{number}.container:")],
        )?;
    }
    let odd = host
        .exec(["skep", "exec", "life-good", "--", "ls", "/run/life-odd"])?
        .ok()?;
    ensure!(odd.lines().count() == 4, "{odd}");
    host.exec(["systemctl", "stop", "skep@life-good"])?.ok()?;
    // Writing them one by one was a storm of edits.
    let timer = property(host, "skep-settle.timer", "Result")?;
    ensure!(timer == "success", "skep-settle.timer: {timer}");
    println!("{count} wrong declarations failed alone");
    clean(host)?;
    host.exec(["rm", "-r", "/run/life-odd"])?.ok().map(drop)
}
