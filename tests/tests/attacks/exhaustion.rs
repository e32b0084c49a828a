//! What a container can take of what all share.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::{Host, Os},
};

use super::DEBIAN;

/// inotify_init1(2) 294 until there is no more, and tells so while it holds them.
const WATCHES: &str = r#"my $n = 0; $n++ while syscall(294, 0) >= 0; my $why = 0 + $!; open my $f, ">", "/run/taken"; print $f "$n $why\n"; close $f; sleep 1 until -e "/run/enough""#;

/// Cgroups as deep as may be, with the longest names.
const DEEP: &str = r#"chdir "/sys/fs/cgroup" or die; my $name = "d" x 250; my $n = 0;
while ($n < 400 and mkdir $name and chdir $name) { $n++ } print $n < 400 ? "ends" : "no end""#;

pub(super) fn bounded(host: &Host) -> Result<()> {
    // The kernel counts by user for the whole machine, which other hosts share: a range that none of them uses.
    let position = Os::DEBIAN.iter().position(|os| *os == host.os());
    let base = 1_800_011_776 + 65_536 * position.unwrap_or_default();
    let greedy = format!("{DEBIAN}PrivateUsers={base}\n");
    let guest = started(host, "att-greedy", &greedy)?;
    // File systems in memory: /dev is the smallest.
    prints(
        &guest,
        "dd if=/dev/zero of=/dev/fill bs=1M count=16 2>/dev/null || echo full; stat -c %s /dev/fill; rm /dev/fill",
        "full\n4194304",
    )?;
    prints(
        &guest,
        "for place in /dev /run /dev/shm; do findmnt -no OPTIONS $place | grep -c nr_inodes; done",
        "1\n1\n1",
    )?;
    // Terminals, where as many files may be open.
    let terminals = r#"my @all; while (@all < 1100 and open my $f, "+<", "/dev/ptmx") { push @all, $f } print @all < 1100 ? "ends" : "no end""#;
    prints(
        &guest,
        &format!("ulimit -n $(ulimit -Hn); perl -e '{terminals}'"),
        "ends",
    )?;
    ensure!(guest.property("TasksMax")? == "16384");
    processes(&guest)?;
    watches(host, &guest)?;
    cgroups(host, guest)
}

/// The limit of the unit is the container's.
fn processes(guest: &Guest<'_>) -> Result<()> {
    let unit = guest.property("ControlGroup")?;
    let controlled = sh(guest, "cat /sys/fs/cgroup/cgroup.controllers")?;
    if !controlled.split(' ').any(|name| name == "pids") {
        println!("not shown: this machine has no pids controller for {unit}");
        return Ok(());
    }
    prints(
        guest,
        r#"perl -e 'my $n = 0; while ($n < 20000) { my $p = fork; last unless defined $p; sleep 100 unless $p; $n++ } print $n < 16384 ? "ends" : "no end"; kill 9, -$$'"#,
        "ends",
    )
}

/// The kernel counts them for the user who made the user namespace: were it root, all would share one number.
fn watches(host: &Host, guest: &Guest<'_>) -> Result<()> {
    let other = started(host, "att-other", &DEBIAN.replace("-12", "-13"))?;
    sh(
        guest,
        &format!(
            "perl -e '{WATCHES}' </dev/null >/dev/null 2>&1 & until [ -s /run/taken ]; do sleep 0.02; done"
        ),
    )?;
    let one = "perl -e 'print syscall(294, 0) >= 0 ? \"there is one\" : \"none: $!\"'";
    let (of_host, of_other, own) = (host.sh(one), sh(&other, one), sh(guest, one));
    let taken = sh(guest, "cat /run/taken; touch /run/enough")?;
    println!("taken, and why no more: {taken}");
    let (of_host, of_other) = (of_host?.ok()?, of_other?);
    ensure!(own?.starts_with("none"), "no control: it has no end");
    ensure!(
        [&*of_host, &*of_other] == ["there is one"; 2],
        "the host: {of_host}, another container: {of_other}"
    );
    other.finish()
}

/// Deeper than a path is long, nobody could remove them.
fn cgroups(host: &Host, guest: Guest<'_>) -> Result<()> {
    prints(&guest, &format!("perl -e '{DEEP}'"), "ends")?;
    let many = r#"chdir "/sys/fs/cgroup" or die; my $n = 0; $n++ while $n < 5000 and mkdir "w$n"; print $n < 5000 ? "ends" : "no end"; rmdir "w$_" for 0 .. $n"#;
    prints(&guest, &format!("perl -e '{many}'"), "ends")?;
    let place = format!(
        "test ! -e $(findmnt -no TARGET -t cgroup2 | head -1){} || echo left",
        guest.property("ControlGroup")?
    );
    guest.finish()?;
    let left = host.sh(&place)?.ok()?;
    ensure!(left.is_empty(), "cgroups are left: {place}");
    Ok(())
}
