//! The Debian package on hosts that run: upgrade, removal, purge and installation, with containers up.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use skep_tests::{
    command::{capture, program},
    host::{Host, Os, Wanted},
    trial,
    wait::{PATIENCE, wait_until},
};

const RUNNING: &str = "skep@runs.service";
const DECLARATION: &str = "/etc/skep/runs.container";

/// Everything that a package may leave, apart from what dpkg, systemd and its journal remember of any package and unit.
const TRACES: &str = "
find / -xdev \\( -path /proc -o -path /sys -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/machines \
  -o -path /var/cache -o -path /etc/skep \\) -prune -o -iname '*skep*' -print
find /run /sys/fs/cgroup -iname '*skep*' -not -path '/run/log/*' -not -path '/run/systemd/units/*'
systemctl list-units --all --plain --no-legend '*skep*'
systemctl list-unit-files --no-legend '*skep*' || true
";

fn main() -> ExitCode {
    let life = |os| trial::promised(format!("package::{os}"), move || on_host(os));
    let mut trials: Vec<Trial> = Os::DEBIAN.into_iter().map(life).collect();
    trials.push(trial::promised("package::needrestart".into(), needrestart));
    trial::main(trials)
}

fn package() -> Result<PathBuf> {
    env::var_os("SKEP_TEST_PACKAGE")
        .map(PathBuf::from)
        .context("SKEP_TEST_PACKAGE is not set: run `cargo xtask test`")
}

/// A host of its own: what happens to the package here would happen to all other tests.
fn on_host(os: Os) -> Result<()> {
    let host = Host::up(Wanted {
        os,
        name: Some(format!("package-{os}-{}", std::process::id())),
        guests: vec!["busybox".into()],
        image: false,
        package: Some(package()?),
        owned: true,
    })?;
    let judged = life(&host);
    let down = host.down();
    judged.and(down)
}

fn life(host: &Host) -> Result<()> {
    fs::copy(package()?, host.machines().join("same.deb"))?;
    next_version(&package()?, &host.machines().join("next.deb"))?;
    let text = "[Container]\nRoot=/var/lib/machines/busybox\n";
    host.write(DECLARATION, text)?;
    host.write("/etc/skep/idle.container", text.replace("busybox", "gone"))?;
    host.sh("skep apply; systemctl start skep@runs; ! systemctl start skep@idle")?
        .ok()?;
    upgrade(host).context("upgrade")?;
    removal(host).context("removal")?;
    purge(host).context("purge")?;
    install(host).context("installation on a running host")?;
    purge_while_running(host).context("purge with a container running")
}

/// The same package with another version and another launcher.
fn next_version(package: &Path, next: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join("tree");
    capture(
        program("dpkg-deb", ["--raw-extract"])
            .arg(package)
            .arg(&tree),
    )?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .context("Version:")?;
    fs::write(&control, text.replace(version, "Version: 99.0-1"))?;
    // What follows the image in an ELF file is ignored.
    let launcher = tree.join("usr/libexec/skep/launcher");
    fs::OpenOptions::new()
        .append(true)
        .open(launcher)?
        .write_all(b"next version\n")?;
    capture(
        program("dpkg-deb", ["--root-owner-group", "-Znone", "--build"])
            .arg(&tree)
            .arg(next),
    )?;
    Ok(())
}

/// Main process, leader, and since when the unit is active.
fn identity(host: &Host) -> Result<String> {
    let unit =
        "systemctl show --property=MainPID,ActiveState,ActiveEnterTimestampMonotonic,NRestarts";
    let leader = "grep -o '\"leader\":[0-9]*' /run/skep/machine/runs/state.json";
    host.sh(&format!("{unit} {RUNNING}; {leader}"))?.ok()
}

fn upgrade(host: &Host) -> Result<()> {
    let before = identity(host)?;
    ensure!(before.contains("ActiveState=active"), "{before}");
    host.sh("dpkg --install /var/lib/machines/next.deb")?.ok()?;
    let version = host
        .sh("dpkg-query --show --showformat='${Version}' skep")?
        .ok()?;
    ensure!(version == "99.0-1", "version {version} is installed");
    let after = identity(host)?;
    ensure!(
        after == before,
        "before the upgrade:\n{before}\nafter it:\n{after}"
    );
    let said = host
        .exec(["skep", "exec", "runs", "--", "echo", "hello"])?
        .ok()?;
    ensure!(said == "hello", "skep exec printed {said:?}");
    host.sh("systemctl is-active skep.service skep.path; skep check; skep list")?
        .ok()?;
    // The other way round, and then the new launcher's first start.
    host.sh("dpkg --install /var/lib/machines/same.deb 2>&1")?
        .ok()?;
    ensure!(
        identity(host)? == before,
        "the downgrade touched the container"
    );
    host.sh(&format!(
        "dpkg --install /var/lib/machines/next.deb; systemctl restart {RUNNING}"
    ))?
    .ok()?;
    ensure!(identity(host)? != before, "the container was not restarted");
    Ok(())
}

fn removal(host: &Host) -> Result<()> {
    let before = identity(host)?;
    let said = host.sh("dpkg --remove skep")?.ok()?;
    ensure!(
        said.contains("systemctl stop skep@runs.service"),
        "removal does not say what runs:\n{said}"
    );
    ensure!(
        !said.contains("idle"),
        "removal names what does not run:\n{said}"
    );
    ensure!(
        identity(host)? == before,
        "the removal touched the container"
    );
    // Until a purge the units stay enabled: targets want them, and find none.
    let list = "systemctl list-units --all --plain --no-legend '*skep*' | awk '$2 != \"not-found\" { print $1 }'";
    let units = host.sh(list)?.ok()?;
    ensure!(units == RUNNING, "loaded are {units:?}");
    host.sh(&format!("systemctl stop {RUNNING}"))?
        .ok()
        .map(drop)
}

fn purge(host: &Host) -> Result<()> {
    host.sh("dpkg --purge skep")?.ok()?;
    let left = host.sh(TRACES)?.ok()?;
    ensure!(left.is_empty(), "left behind:\n{left}");
    host.sh(&format!("test -s {DECLARATION}"))
        .and_then(|done| done.ok())
        .context(DECLARATION)
        .map(drop)
}

fn install(host: &Host) -> Result<()> {
    host.sh("dpkg --install /var/lib/machines/same.deb")?.ok()?;
    host.sh(
        "systemctl is-active skep.service skep.path; systemctl is-enabled skep.service skep.path; test -s /usr/lib/sysctl.d/60-skep.conf",
    )?
    .ok()?;
    host.sh(&format!(
        "systemctl start {RUNNING}; skep exec runs -- true"
    ))?
    .ok()
    .map(drop)
}

/// Removal at once with everything, right after an edit and so with an apply under way.
fn purge_while_running(host: &Host) -> Result<()> {
    let before = identity(host)?;
    host.sh("rm /etc/skep/idle.container; dpkg --purge skep")?
        .ok()?;
    let after = identity(host)?;
    ensure!(
        after == before,
        "before the purge:\n{before}\nafter it:\n{after}"
    );
    host.sh(&format!("systemctl stop {RUNNING}; rm -r /run/skep"))?
        .ok()?;
    let mut left = String::new();
    let gone = wait_until(PATIENCE, "all traces to go", || {
        left = host.sh(TRACES)?.ok()?;
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| format!("left behind:\n{left}"))
}

/// needrestart reads its snippets as Perl into %nrconf; the keys of override_rc are patterns of units.
fn needrestart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    capture(
        program("dpkg-deb", ["--extract"])
            .arg(package()?)
            .arg(directory.path()),
    )?;
    let snippet = directory.path().join("etc/needrestart/conf.d/skep.conf");
    let script = "our %nrconf; defined(do $ARGV[0]) or die $@ || $!; my $rules = $nrconf{override_rc}; \
        for my $unit (@ARGV[1..$#ARGV]) { my @hits = grep { $unit =~ /$_/ } keys %$rules; \
        print $unit, ' ', (@hits ? $rules->{$hits[0]} : 'none'), qq(\\n) }";
    let units = [
        "skep@x.service",
        "skep@a.b-c_d.service",
        "skep.service",
        "xskep@x.service",
    ];
    let mut command = program("perl", ["-Mstrict", "-we", script]);
    let said = capture(command.arg(&snippet).args(units))?;
    let expected =
        "skep@x.service 0\nskep@a.b-c_d.service 0\nskep.service none\nxskep@x.service none\n";
    if said != expected {
        bail!("needrestart would see:\n{said}");
    }
    Ok(())
}
