//! Templates and instances.

use anyhow::{Result, ensure};
use skep_tests::{host::Host, wait::timed};

use super::{WORK, fails, sh, skep};

const TEMPLATE: &str = "/etc/skep/manage@.container";

/// Twenty instances of one tree, each with its own name, ids and data.
pub(super) fn twenty(host: &Host) -> Result<()> {
    let text = format!(
        "[Unit]\nDescription=Number %i of %p\n[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\nEnvironment=NUMBER=%i\n\
         TemporaryFileSystem=/scratch /scratch/a/b\nBind={WORK}/data/%i:/srv:create\n[Install]\nInstances={}\n",
        (1..=20)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let text = text.replace(
        "TemporaryFileSystem=/scratch /scratch/a/b",
        "TemporaryFileSystem=/scratch\nTemporaryFileSystem=/scratch/a/b",
    );
    host.write(TEMPLATE, text)?;
    skep(host, "apply")?.ok()?;
    let units = (1..=20)
        .map(|number| format!("skep@manage@{number}.service"))
        .collect::<Vec<_>>()
        .join(" ");
    let (done, time) = timed(|| sh(host, &format!("systemctl start {units}")));
    done?;
    let mut bases = Vec::new();
    for number in 1..=20 {
        let name = format!("manage@{number}");
        let script = "hostname; tr '\\0' '\\n' </proc/1/environ | grep ^NUMBER; echo own >/srv/file; echo own >/etc/mine; \
                      awk '{ print $2 }' /proc/self/uid_map; grep -c ' /scratch/a/b ' /proc/self/mountinfo";
        let said = host
            .exec(["skep", "exec", &name, "--", "sh", "-c", script])?
            .ok()?;
        let lines: Vec<&str> = said.lines().collect();
        ensure!(
            lines.first() == Some(&format!("manage-{number}").as_str())
                && lines.get(1) == Some(&format!("NUMBER={number}").as_str())
                && lines.get(3) == Some(&"1"),
            "{name}: {said}"
        );
        bases.push(lines.get(2).copied().unwrap_or_default().to_owned());
    }
    bases.sort();
    bases.dedup();
    ensure!(bases.len() == 20, "{} ranges", bases.len());
    let description = sh(host, "systemctl show --value -p Description skep@manage@7")?;
    ensure!(description == "Number 7 of manage", "{description}");
    // What an ephemeral tree took is gone with it; what a share took stays, owned by the host's root.
    let (done, stop) = timed(|| sh(host, &format!("systemctl stop {units}")));
    done?;
    let kept = sh(
        host,
        &format!(
            "stat -c '%u:%g %a' {WORK}/data/20 {WORK}/data {WORK}/data/20/file; ls {WORK}/data | wc -l; ls -A /var/lib/machines/busybox/etc/mine 2>/dev/null || true"
        ),
    )?;
    ensure!(kept == "0:0 755\n0:0 755\n0:0 644\n20", "{kept}");
    println!("20 instances of one tree: started in {time:?}, stopped in {stop:?}");
    sh(host, &format!("rm {TEMPLATE}")).map(drop)
}

/// Links, drop-ins of both kinds, drop-ins of systemd, enabling, wrong use.
pub(super) fn come_and_go(host: &Host) -> Result<()> {
    let text =
        "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n[Service]\nTasksMax=100\n";
    host.write(TEMPLATE, text)?;
    skep(host, "apply")?.ok()?;
    ensure!(!skep(host, "list")?.ok()?.contains("manage@"));
    skep(host, "enable manage@blue-1.x")?.ok()?;
    let link = sh(host, "readlink /etc/skep/manage@blue-1.x.container")?;
    ensure!(link == "manage@.container", "{link}");
    let memory = |size: &str| format!("[Service]\nMemoryMax={size}\n");
    sh(
        host,
        "mkdir -p /etc/skep/manage@.container.d /etc/skep/manage@blue-1.x.container.d /run/systemd/system/skep@.service.d '/run/systemd/system/skep@manage@blue-1.x.service.d'",
    )?;
    host.write("/etc/skep/manage@.container.d/10.conf", memory("3G"))?;
    host.write(
        "/etc/skep/manage@.container.d/20.conf",
        "[Service]\nTasksMax=200\n",
    )?;
    host.write(
        "/etc/skep/manage@blue-1.x.container.d/10.conf",
        memory("2G"),
    )?;
    host.write(
        "/run/systemd/system/skep@.service.d/40-manage.conf",
        "[Service]\nOOMScoreAdjust=7\n",
    )?;
    host.write(
        "/run/systemd/system/skep@manage@blue-1.x.service.d/50-manage.conf",
        "[Service]\nNice=3\n",
    )?;
    // systemd looks for directories of drop-ins when it reloads.
    sh(host, "systemctl daemon-reload")?;
    let judged = looked_at(host);
    sh(
        host,
        "rm -r /run/systemd/system/skep@.service.d '/run/systemd/system/skep@manage@blue-1.x.service.d'; systemctl daemon-reload",
    )?;
    judged?;
    // The tree of an instance, and the instance with it; one alone goes, the others stay.
    host.write("/etc/skep/manage-t@.container", "[Container]\n")?;
    skep(
        host,
        "create manage-t@1 --from /var/lib/machines/busybox --declare",
    )?
    .ok()?;
    sh(
        host,
        "test \"$(readlink /etc/skep/manage-t@1.container)\" = manage-t@.container && systemctl start skep@manage-t@1 && systemctl stop skep@manage-t@1",
    )?;
    skep(host, "remove manage-t@1 --yes --declaration")?.ok()?;
    sh(
        host,
        "test ! -e /etc/skep/manage-t@1.container && test ! -e /var/lib/machines/manage-t@1 && rm /etc/skep/manage-t@.container",
    )?;
    fails(host, "start manage@", 2, "is a template")?;
    fails(host, "start manage@none", 1, "manage@none")?;
    // Several writers of one tree are told so, and do not start.
    host.write(
        "/etc/skep/manage-w@.container",
        "[Container]\nRoot=/var/lib/machines/busybox\n[Install]\nInstances=1 2\n",
    )?;
    let checked = skep(host, "check")?;
    let said = checked.stdout();
    ensure!(
        checked.status() == 1 && said.matches("instances cannot all write one tree").count() == 1,
        "{said}"
    );
    sh(host, "rm -r /etc/skep/manage*; skep apply").map(drop)
}

fn looked_at(host: &Host) -> Result<()> {
    let name = "manage@blue-1.x";
    skep(host, &format!("start {name}"))?.ok()?;
    let unit = format!("skep@{name}.service");
    let shown = sh(
        host,
        &format!(
            "systemctl show -p MemoryMax -p TasksMax -p OOMScoreAdjust -p Nice -p ActiveState -p Documentation {unit}"
        ),
    )?;
    for wanted in [
        "MemoryMax=2147483648",
        "TasksMax=200",
        "OOMScoreAdjust=7",
        "Nice=3",
        "ActiveState=active",
        "Documentation=file:/etc/skep/manage@.container",
    ] {
        ensure!(shown.contains(wanted), "{wanted} is not in\n{shown}");
    }
    for (arguments, words) in [
        (
            format!("cat --origin {name}"),
            "MemoryMax=2G  # /etc/skep/manage@blue-1.x.container.d/10.conf:2",
        ),
        (format!("show {name}"), "hostname manage-blue-1.x"),
        (format!("status {name}"), "manage@.container"),
        ("list".to_owned(), name),
        ("check".to_owned(), "no errors"),
        (format!("stop {unit}"), ""),
        (format!("restart {name}"), ""),
        (format!("disable {name}"), "no longer starts at boot"),
        (format!("stop {name}"), ""),
    ] {
        let said = skep(host, &arguments)?.ok()?;
        ensure!(said.contains(words), "skep {arguments}: {said}");
    }
    Ok(())
}
