//! Where a container's tree comes from: disk images, volatile roots, overlays, templates.

#[path = "roots/damaged.rs"]
mod damaged;
#[path = "roots/images.rs"]
mod images;
#[path = "roots/layers.rs"]
mod layers;
#[path = "roots/lives.rs"]
mod lives;
#[path = "roots/template.rs"]
mod template;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::Host,
    trial::{self, Test},
    wait::{PATIENCE, wait_until},
};

/// Everything of these tests on a host: on a real file system, as trees are.
const PLACE: &str = "/var/lib/machines/.roots";

/// Makes the images that most tests use, of the busybox tree.
const IMAGES: &str = r"
mkdir -p /var/lib/machines/.roots && cd /var/lib/machines/.roots
tree=/var/lib/machines/busybox
mksquashfs $tree bb.squashfs -quiet -no-progress >/dev/null
mkfs.erofs bb.erofs $tree >/dev/null 2>&1
mke2fs -q -t ext4 -d $tree bb.raw 32M 2>/dev/null
tune2fs -e panic bb.raw >/dev/null
truncate -s 48M disk.img
printf 'label: gpt\nsize=2MiB,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nsize=32MiB,type=%s\n' $(roottype) | sfdisk -q disk.img
dd if=bb.raw of=disk.img bs=1M seek=3 conv=notrunc status=none
";

/// The partition type of this machine's root file systems.
const ROOT_TYPE: &str = "roottype() { case $(uname -m) in aarch64) echo B921B045-1DF0-41C3-AF44-4C6F280D3FAE ;; \
     *) echo 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 ;; esac; }";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("image_kinds", images::kinds),
        ("image_read_only_is_locked", images::read_only),
        ("image_debian_13_squashfs", images::debian),
        ("image_fleet", images::fleet),
        ("image_damaged", damaged::images),
        ("image_killed", lives::killed),
        ("image_rebooted", lives::rebooted),
        ("image_shared_and_locked", lives::locked),
        ("image_looked_at", lives::looked),
        ("overlay_keys", layers::overlays),
        ("overlay_wrong", layers::wrong),
        ("volatile_keys", layers::volatile),
        ("template_is_copied_once", template::once),
        ("template_interrupted", template::interrupted),
    ];
    trial::main(trial::everywhere(tests))
}

/// A start that must fail, with these words in its status.
fn refused(host: &Host, name: &str, text: &str, words: &[&str]) -> Result<()> {
    let guest = Guest::declare(host, name, text)?;
    let unit = guest.unit();
    let started = host.exec(["systemctl", "start", &unit])?.status();
    let status = guest.status()?;
    host.exec(["systemctl", "reset-failed", &unit])?;
    ensure!(started != 0, "started in spite of all:\n{status}");
    for word in words {
        ensure!(status.contains(word), "no {word:?} in\n{status}");
    }
    ensure!(!status.contains("panick"), "{status}");
    guest.finish()
}

/// Does `work` with what `script` makes in [`PLACE`], which is removed in any case.
fn with(host: &Host, script: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let make =
        format!("set -e; {ROOT_TYPE}; rm -rf {PLACE}; mkdir -p {PLACE}; cd {PLACE}; {script}");
    let judged = host.sh(&make)?.ok().and_then(|_| work());
    let cleaned = host.sh(&format!("rm -rf {PLACE}"))?.ok();
    judged?;
    cleaned.map(drop)
}

/// A shell function that prints the loop devices attached to files of this test, by device and inode: other hosts have
/// files of the same names.
const LOOPS: &str = "loops() { for file in /var/lib/machines/.roots/*; do \
     [ ! -f $file ] || losetup --noheadings --output NAME --associated $file; done; }";

/// How many there are.
fn loops(host: &Host) -> Result<usize> {
    let said = host.sh(&format!("{LOOPS}; loops | wc -l"))?.ok()?;
    Ok(said.parse()?)
}

/// Waits until no loop device is attached any more.
fn no_loops(host: &Host) -> Result<()> {
    wait_until(PATIENCE, "all loop devices to be free", || {
        Ok((loops(host)? == 0).then_some(()))
    })
}
