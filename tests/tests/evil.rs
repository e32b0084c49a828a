//! An init that attacks: the same probes on the host, under systemd-nspawn and under skep, as one table.

#[path = "evil/golden.rs"]
mod golden;
#[path = "evil/table.rs"]
mod table;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use skep_tests::{
    artifact,
    guest::Guest,
    host::{Host, Os},
    trial,
    wait::wait_until,
};

use self::table::{Report, Table};

/// The tree of the attacking guest, on the host.
const TREE: &str = "/var/lib/machines/evil";

/// A tree with nothing but the payload and nodes that must not work, and what it aims at.
const BEFORE: &str = r#"
cd /var/lib/machines/evil
mkdir -p proc sys dev run tmp etc usr/bin mnt
printf 'ID=evil\n' >etc/os-release
mknod node-loop-control c 10 237
touch /run/skep-evil
ip link add skep-evil type bridge
systemd-run --quiet --unit=skep-evil-target /var/lib/machines/evil/sbin/init target
for wait in 1 2 3 4 5 6 7 8 9 10; do
    pid=$(systemctl show --value --property MainPID skep-evil-target.service)
    [ "$(cat /proc/$pid/comm)" != skep-target ] || break
    sleep 0.1
done
echo $pid
"#;

const AFTER: &str = "systemctl stop skep-evil-target.service; ipcrm -M 0x736b6570; ip link delete skep-evil; \
     rm -rf /run/skep-evil /run/skep-evil.json";

fn main() -> ExitCode {
    let trials = trial::on_each(&Os::DEBIAN, "evil_init", evil_init);
    trial::main(trials)
}

fn evil_init(host: &Host) -> Result<()> {
    let tree = host.machines().join("evil");
    fs::create_dir_all(tree.join("sbin"))?;
    fs::copy(artifact::payload()?, tree.join("sbin/init"))?;
    let judged = host
        .sh(BEFORE)?
        .ok()
        .and_then(|target| compared(host, &tree, target.trim()));
    let cleaned = host.sh(AFTER)?.ok();
    let removed = host.remove_guest("evil");
    judged?;
    cleaned.and(removed)
}

fn compared(host: &Host, tree: &Path, target: &str) -> Result<()> {
    let result = tree.join("result.json");
    let finished = || -> Result<Report> {
        let text = fs::read_to_string(&result).context("the payload left no report")?;
        fs::remove_file(&result)?;
        Report::parse(&text)
    };
    host.sh(&format!(
        "unshare --mount --uts --propagation private {TREE}/sbin/init probe {TREE}/result.json {target} out"
    ))?
    .ok()?;
    let control = finished().context("on the host")?;
    host.sh(&format!(
        "systemd-nspawn --quiet --directory {TREE} -U --private-users-ownership=map --private-network \
         --register=no --console=pipe /sbin/init probe /result.json {target} in </dev/null"
    ))?
    .ok()?;
    let nspawn = finished().context("under systemd-nspawn")?;
    let ours = |name: &str, lines: &str| -> Result<Report> {
        let text = format!(
            "[Container]\nRoot={TREE}\nInit=/sbin/init\nParameters=probe /result.json {target} in\n{lines}"
        );
        let guest = Guest::declare(host, name, &text)?;
        guest.systemctl("start")?;
        wait_until(Duration::from_secs(60), "the probes", || {
            Ok(result.exists().then_some(()))
        })?;
        guest.finish()?;
        finished()
    };
    let default = ours("evil-default", "").context("under skep")?;
    let strict = ours("evil-strict", "Profile=strict\n").context("under skep, strict")?;
    let table = Table {
        control,
        nspawn,
        default,
        strict,
    };
    println!("{table}");
    table.judge()
}
