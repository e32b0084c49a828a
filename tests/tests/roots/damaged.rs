//! Images that are damaged, foreign or hostile: an error that says what is wrong, and nothing left.

use anyhow::Result;
use skep_tests::host::Host;

use super::{IMAGES, PLACE, no_loops, refused, with};

/// A disk with one entry made absurd, and check sums that are right all the same.
const ABSURD: &str = r#"
import struct, sys, zlib
disk = bytearray(open("disk.img", "rb").read())
def seal():
    struct.pack_into("<I", disk, 512 + 88, zlib.crc32(disk[1024:1024 + 128 * 128]))
    struct.pack_into("<I", disk, 512 + 16, 0)
    struct.pack_into("<I", disk, 512 + 16, zlib.crc32(disk[512:512 + 92]))
def save(name):
    seal()
    open(name, "wb").write(disk)
whole = bytes(disk)
struct.pack_into("<QQ", disk, 1024 + 128 + 32, 6144, 2**63); save("far.img")
disk[:] = whole; struct.pack_into("<QQ", disk, 1024 + 128 + 32, 2**64 - 1, 2**64 - 1); save("wrap.img")
disk[:] = whole; struct.pack_into("<QQ", disk, 1024 + 128 + 32, 7000, 6000); save("back.img")
disk[:] = whole; struct.pack_into("<I", disk, 512 + 80, 2**32 - 1); save("many.img")
disk[:] = whole; struct.pack_into("<I", disk, 512 + 84, 0); save("thin.img")
disk[:] = whole; struct.pack_into("<Q", disk, 512 + 72, 2**62); save("entries.img")
disk[:] = whole; disk[1024 + 128] ^= 255; save("other.img")
disk[:] = whole; disk[1024 + 140] ^= 1; open("sum.img", "wb").write(disk)
disk[:] = whole; struct.pack_into("<QQ", disk, 1024 + 128 + 32, 6144, 6144); save("tiny.img")
"#;

pub(super) fn images(host: &Host) -> Result<()> {
    let make = format!(
        "{IMAGES}
         printf '%s' '{}' >absurd.py; python3 absurd.py
         size=$(stat -c %s bb.squashfs); head -c $((size / 2)) bb.squashfs >half.squashfs
         head -c 8M bb.raw >half.raw; head -c 1M bb.erofs >half.erofs; head -c 16M disk.img >half.img
         truncate -s 0 empty.raw; truncate -s 4M zeros.raw; head -c 4M /dev/urandom >noise.raw
         {{ head -c 2048 bb.raw; head -c 1M /dev/zero; }} >cut.raw
         cp bb.raw holes.raw; dd if=/dev/zero of=holes.raw bs=4096 seek=1 count=400 conv=notrunc status=none
         cp bb.squashfs holes.squashfs; dd if=/dev/urandom of=holes.squashfs bs=1024 seek=$((size / 1024 - 20)) count=20 conv=notrunc status=none
         tar -C /etc -cf tar.raw hostname; gzip -c tar.raw >gzip.raw; printf 'QFI\\373' >qcow.img; head -c 1M /dev/zero >>qcow.img
         printf 'LUKS\\272\\276' >luks.img; head -c 1M /dev/zero >>luks.img
         mkdir void; mke2fs -q -t ext4 -d void void.raw 8M 2>/dev/null; mkfifo pipe.raw",
        ABSURD.replace('\'', "'\\''")
    );
    with(host, &make, || {
        for (file, words) in [
            ("half.squashfs", &["truncated image", "squashfs has"][..]),
            (
                "half.raw",
                &[
                    "truncated image",
                    "ext4 has 33554432 bytes, the image only 8388608",
                ],
            ),
            ("half.erofs", &["truncated image", "erofs has"]),
            ("half.img", &["outside the disk"]),
            ("cut.raw", &["truncated image"]),
            ("empty.raw", &["it is empty"]),
            ("zeros.raw", &["full of zeros"]),
            (
                "noise.raw",
                &["no file system in image", "an image holds ext4"],
            ),
            ("holes.raw", &["mount ext4 of image", "damaged"]),
            ("holes.squashfs", &["mount squashfs of image", "damaged"]),
            ("tar.raw", &["a tar archive", "unpack"]),
            ("gzip.raw", &["compressed by gzip"]),
            ("qcow.img", &["qemu-img convert"]),
            ("luks.img", &["encrypted"]),
            ("void.raw", &["no init in"]),
            (
                "pipe.raw",
                &["no tree", "a directory, a disk image or a block device"],
            ),
            ("far.img", &["partition 2 lies outside the disk"]),
            ("wrap.img", &["partition 2 lies outside the disk"]),
            ("back.img", &["partition 2 lies outside the disk"]),
            ("many.img", &["4294967295 entries"]),
            ("thin.img", &["0 bytes each"]),
            ("entries.img", &["outside the disk"]),
            (
                "other.img",
                &[
                    "no partition is a root file system",
                    "1: EFI system (2 MiB)",
                ],
            ),
            ("sum.img", &["check sum of its entries is wrong"]),
            ("tiny.img", &["image"]),
        ] {
            let text = format!("[Container]\nRoot={PLACE}/{file}\nReadOnly=yes\n");
            refused(host, "damaged", &text, words).map_err(|err| err.context(file.to_owned()))?;
        }
        no_loops(host)
    })
}
