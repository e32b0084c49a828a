//! Directories of the host that a container can change.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{prints, sh, started},
    host::Host,
};

use super::{BUSYBOX, DEBIAN, PLACE};

/// Runs of the container whose mount points are moved.
const ROUNDS: u32 = 30;

/// Exchanges a directory and a link, renameat2(2) with RENAME_EXCHANGE, as fast as it goes.
const SWAP: &str = r#"$SIG{TERM} = sub { exit 0 }; my ($a, $b) = ("/shared/sub", "/shared/link"); my $n = 0;
while (1) { syscall(316, -100, $a, -100, $b, 2) == 0 or die "exchange: $!"; unless ($n++) { open my $f, ">", "/shared/swaps" } }"#;

/// One container exchanges a directory of a shared one for a link that leads out, while others mount below it.
pub(super) fn mount_points_race(host: &Host) -> Result<()> {
    for target in ["/etc", "../../../../../../../../../../etc"] {
        host.between(&format!(
                "mkdir -p {PLACE}/shared/sub {PLACE}/data; echo data >{PLACE}/data/file; ln -s {target} {PLACE}/shared/link"
            ),
            &format!("rm -rf {PLACE} /etc/att-deep /etc/att-file"),
            || raced(host),
        )?;
    }
    Ok(())
}

fn raced(host: &Host) -> Result<()> {
    let text = format!("{DEBIAN}Bind={PLACE}/shared:/shared\n");
    let guest = started(host, "att-racer", &text)?;
    sh(
        &guest,
        &format!(
            "perl -e '{SWAP}' </dev/null >/dev/null 2>&1 & until [ -e /shared/swaps ]; do sleep 0.05; done"
        ),
    )?;
    let mounts = "cut -d' ' -f5- /proc/1/mountinfo | grep -c att";
    let script = format!(
        "for n in $(seq {ROUNDS}); do skep run --quiet --root /var/lib/machines/busybox \
         --share {PLACE}/shared=/mnt --expose {PLACE}/data=/mnt/sub/att-deep --expose {PLACE}/data/file=/mnt/sub/att-file -- \
         sh -c 'grep -c /att-deep /proc/self/mountinfo' 2>/dev/null || echo refused; done | sort | uniq -c; \
         ls -d /etc/att-* 2>/dev/null; {mounts}"
    );
    let said = host
        .exec(["timeout", "120", "bash", "-c", &script])?
        .stdout();
    println!("{said}");
    // Where they are mounted depends on the moment. Each time it was in the container.
    ensure!(!said.contains("/etc/att"), "{said}");
    ensure!(
        said.lines().any(|line| line.ends_with(" 1")),
        "none has run: {said}"
    );
    ensure!(said.ends_with("\n0"), "mounts on the host: {said}");
    let left = host
        .sh(&format!("cat {PLACE}/data/file; ls {PLACE}/data"))?
        .ok()?;
    ensure!(left == "data\nfile", "{left}");
    guest.exec(&["pkill", "-TERM", "perl"])?.ok()?;
    guest.finish()
}

/// What a guest leaves in a shared directory, and where it gets to from there.
pub(super) fn directories(host: &Host) -> Result<()> {
    host.between(&format!(
            "mkdir -p {PLACE}/shared/inner/deep {PLACE}/outside; echo secret >{PLACE}/secret; echo secret >{PLACE}/outside/secret; \
             mknod {PLACE}/shared/node c 1 5"
        ),
        &format!("rm -rf {PLACE}"),
        || shared(host),
    )
}

fn shared(host: &Host) -> Result<()> {
    let text = format!("{DEBIAN}Bind={PLACE}/shared:/shared\n");
    let guest = started(host, "att-shared", &text)?;
    // A set-user-ID program and a device node are of no use; in its own layer the first works.
    sh(
        &guest,
        "for place in /shared /var/tmp; do cp /usr/bin/id $place/id && chmod 4755 $place/id; done",
    )?;
    host.prints(
        "for place in /shared /var/tmp; do skep exec --user 1000 att-shared -- $place/id -u; done",
        "1000\n0",
    )?;
    let node = format!("head -c 1 {PLACE}/shared/node | wc -c");
    host.prints(&node, "1")?;
    prints(&guest, "head -c 1 /shared/node 2>/dev/null | wc -c", "0")?;
    // Others cannot reach the program on the host.
    host.prints(&format!(
            "stat -c '%u %a' {PLACE}/shared/id; setpriv --reuid 65534 --regid 65534 --clear-groups -- sh -c '{PLACE}/shared/id -u' 2>/dev/null || echo refused"
        ),
        "0 4755\nrefused",
    )?;
    // Neither direction of mounts.
    sh(
        &guest,
        "mount -t tmpfs att-mine /shared/inner && touch /shared/inner/mine",
    )?;
    host.prints(
        &format!("grep -c att-mine /proc/1/mountinfo; ls {PLACE}/shared/inner"),
        "0\ndeep",
    )?;
    sh(&guest, "umount /shared/inner")?;
    // A process whose directory is moved out of the share on the host does not get above it.
    let climb = "cd /shared/inner/deep && touch /shared/ready && until [ -e /shared/moved ]; do sleep 0.05; done; \
                 for up in .. ../.. ../../..; do cat $up/secret 2>/dev/null; done; echo end";
    host.prints(&format!(
            "(skep exec att-shared -- sh -c '{climb}') & until [ -e {PLACE}/shared/ready ]; do sleep 0.05; done; \
             mv {PLACE}/shared/inner/deep {PLACE}/outside/deep; touch {PLACE}/shared/moved; wait; \
             cd {PLACE}/outside/deep; cat ../secret"
        ),
        "end\nsecret",
    )?;
    guest.finish()?;
    // A container without the directory does not see it.
    let other = started(host, "att-alone", BUSYBOX)?;
    prints(&other, "ls -d /shared 2>/dev/null; echo end", "end")?;
    other.finish()
}
