//! Device nodes: those that are there, and making others.

use nix::libc::{S_IFBLK, S_IFCHR};

use super::Probe;
use crate::attempt::Attempt::{Node, Open};

pub(super) const PROBES: &[Probe] = &[
    ("node-memory", Node(S_IFCHR, 1, 1)),
    ("node-kernel-memory", Node(S_IFCHR, 1, 2)),
    ("node-ports", Node(S_IFCHR, 1, 4)),
    ("node-kernel-log", Node(S_IFCHR, 1, 11)),
    ("node-null", Node(S_IFCHR, 1, 3)),
    ("node-virtual-terminal", Node(S_IFCHR, 4, 0)),
    ("node-tun", Node(S_IFCHR, 10, 200)),
    ("node-fuse", Node(S_IFCHR, 10, 229)),
    ("node-loop", Node(S_IFBLK, 7, 0)),
    ("node-scsi-disk", Node(S_IFBLK, 8, 0)),
    ("node-virtual-disk", Node(S_IFBLK, 254, 0)),
    ("open-memory", Open("/dev/mem")),
    ("open-ports", Open("/dev/port")),
    ("open-loop-control", Open("/dev/loop-control")),
    ("open-loop", Open("/dev/loop0")),
    ("open-fuse", Open("/dev/fuse")),
    ("open-tun", Open("/dev/net/tun")),
    ("open-kvm", Open("/dev/kvm")),
    ("open-virtual-terminal", Open("/dev/tty0")),
    ("open-mapper", Open("/dev/mapper/control")),
    ("open-snapshot", Open("/dev/snapshot")),
    ("open-user-faults", Open("/dev/userfaultfd")),
    ("open-btrfs-control", Open("/dev/btrfs-control")),
];
