//! The services that do not fit into a container.

use skep_spec::{ContainerSpec, Network};

use super::{Effect, Entry};

/// When a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In every container.
    Always,
    /// Where the network is the host's.
    HostNetwork,
    /// Where there is no link but loopback.
    LoopbackOnly,
    /// Where all links were configured before the container's first process runs.
    Configured,
}

/// What the container's network namespace holds, as far as its services go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The host's links.
    Others,
    /// Loopback.
    Loopback,
    /// Links that need nothing more.
    Configured,
    /// Links that the container configures.
    Own,
}

impl Reach {
    /// Of this container.
    pub(super) fn of(spec: &ContainerSpec) -> Reach {
        let links = &spec.net.links;
        match spec.network {
            Network::Host => Reach::Others,
            Network::Joined => Reach::Configured,
            Network::Private if links.is_empty() => Reach::Loopback,
            Network::Private if links.iter().all(|link| !link.addresses.is_empty()) => {
                Reach::Configured
            }
            Network::Private => Reach::Own,
        }
    }
}

/// Some services and what is wrong with them.
#[derive(Debug)]
struct Rule {
    /// Names of services, of units when they have another suffix. One `*` stands for anything.
    names: &'static [&'static str],
    scope: Scope,
    effect: Effect,
    reason: &'static str,
}

const fn masked(reason: &'static str, names: &'static [&'static str]) -> Rule {
    rule(Scope::Always, Effect::Masked, reason, names)
}

const fn rule(
    scope: Scope,
    effect: Effect,
    reason: &'static str,
    names: &'static [&'static str],
) -> Rule {
    Rule {
        names,
        scope,
        effect,
        reason,
    }
}

/// Whatever starts the services.
const COMMON: &[Rule] = &[
    masked(
        "the clock is the host's",
        &[
            "hwclock",
            "hwclock-*",
            "hwclockfirst",
            "chrony",
            "chronyd",
            "chrony-wait",
            "chrony-dnssrv@*",
            "ntp",
            "ntpd",
            "ntpsec",
            "ntpsec-*",
            "ntpdate",
            "openntpd",
            "sntp",
            "busybox-ntpd",
            "adjtimex",
            "fake-hwclock*",
        ],
    ),
    masked(
        "there is no virtual console",
        &[
            "console-setup",
            "console-font*",
            "consolefont",
            "keyboard-setup",
            "kbd",
            "keymaps",
            "keymap",
            "loadkmap",
            "numlock",
            "save-keymaps",
            "save-termencoding",
            "termencoding",
            "gpm",
            "plymouth-*",
            "plymouth",
        ],
    ),
    masked(
        "the container has no boot loader",
        &[
            "grub-common",
            "grub-initrd-fallback",
            "grub2-*",
            "grub-boot-*",
            "systemd-boot-update",
            "systemd-boot-random-seed",
            "systemd-bless-boot",
            "lilo",
            "secureboot-db",
        ],
    ),
    masked(
        "the kernel and its modules are the host's",
        &[
            "kdump",
            "kdump-tools",
            "kdump-tools-dump",
            "kexec",
            "kexec-load",
            "kexec-tools",
            "dkms",
            "dkms_autoinstaller",
            "module-init-tools",
            "crash-*",
            "ksm",
            "ksmtuned",
            "zfs-load-module",
            "virtualbox",
            "vboxdrv",
            "vboxadd*",
            "irqbalance",
            "numad",
            "tuned",
        ],
    ),
    masked(
        "the hardware and its firmware are the host's",
        &[
            "fwupd",
            "fwupd-*",
            "fwupd-refresh.timer",
            "microcode",
            "microcode_ctl",
            "intel-microcode",
            "amd64-microcode",
            "thermald",
            "mcelog",
            "mcelogd",
            "rasdaemon",
            "ras-mc-ctl",
            "acpid",
            "acpid.socket",
            "acpid.path",
            "apmd",
            "tlp",
            "power-profiles-daemon",
            "laptop-mode",
            "cpufrequtils",
            "cpupower",
            "loadcpufreq",
            "hddtemp",
            "hdparm",
            "lm-sensors",
            "lm_sensors",
            "fancontrol",
            "ipmievd",
            "openipmi",
            "ipmi",
            "ModemManager",
            "modemmanager",
            "bluetooth",
            "bolt",
            "alsa-restore",
            "alsa-state",
            "alsa-utils",
            "alsasound",
            "pcscd.socket",
            "brightness",
            "usbmuxd",
            "usb_modeswitch*",
            "sysfsutils",
            "i2c",
        ],
    ),
    masked(
        "the disks are the host's",
        &[
            "smartd",
            "smartmontools",
            "mdadm",
            "mdadm-*",
            "mdmonitor",
            "mdmonitor-*",
            "mdmonitor-*.timer",
            "mdcheck_*",
            "mdcheck_*.timer",
            "mdadm-raid",
            "lvm2",
            "lvm",
            "lvm2-*",
            "lvm2-*.socket",
            "lvm-monitoring",
            "lvm2-monitor",
            "dm-event",
            "dm-event.socket",
            "dmeventd",
            "device-mapper",
            "blk-availability",
            "multipathd",
            "multipathd.socket",
            "multipath-tools",
            "multipath-tools-boot",
            "multipath",
            "open-iscsi",
            "iscsi",
            "iscsid",
            "iscsid.socket",
            "iscsi-*",
            "nvmf-*",
            "nvmefc-*",
            "cryptdisks",
            "cryptdisks-early",
            "dmcrypt",
            "zfs-import*",
            "zfs-zed",
            "zfs-mount",
            "zfs-share",
            "btrfs-*.timer",
            "e2scrub_reap",
            "e2scrub_all.timer",
            "fstrim.timer",
            "udisks2",
            "bcache",
        ],
    ),
    masked(
        "swap is the host's",
        &[
            "swap",
            "swapfile",
            "dphys-swapfile",
            "zram",
            "zram-*",
            "zramswap",
            "zram-init",
            "swapspace",
            "systemd-zram-setup@*",
            "rpi-zram-writeback*",
            "mkswap",
        ],
    ),
    masked(
        "it belongs to a virtual machine",
        &[
            "qemu-guest-agent",
            "open-vm-tools",
            "vmtoolsd",
            "vgauthd",
            "vgauth",
            "hv-*",
            "hypervkvpd",
            "hypervvssd",
            "hyperv-daemons*",
            "xe-daemon",
            "xe-linux-distribution",
            "spice-vdagentd",
            "spice-vdagentd.socket",
            "walinuxagent",
        ],
    ),
    masked("the audit log is the host's", &["auditd", "audit-rules"]),
    rule(
        Scope::HostNetwork,
        Effect::StandIn,
        "the network is the host's",
        &[
            "networking",
            "network",
            "netif",
            "net.*",
            "dhcpcd",
            "dhcpcd@*",
            "dhclient",
            "dhclient@*",
            "udhcpc",
            "ifup@*",
            "ifplugd",
            "ifupdown-wait-online",
            "*-wait-online",
            "systemd-networkd-wait-online@*",
            "staticroute",
            "netplan-*",
            "wickedd*",
            "wicked",
        ],
    ),
    rule(
        Scope::HostNetwork,
        Effect::Masked,
        "the network is the host's",
        &[
            "NetworkManager",
            "network-manager",
            "NetworkManager-dispatcher",
            "connman",
            "connmand",
            "connman-vpn",
            "wicd",
            "wpa_supplicant",
            "wpa_supplicant@*",
            "wpa_supplicant-*",
            "wpa-supplicant",
            "iwd",
            "iwd@*",
            "hostapd",
            "systemd-networkd",
            "systemd-networkd.socket",
            "systemd-networkd-*.socket",
            "systemd-networkd-persistent-storage",
            "wg-quick",
            "wg-quick@*",
            "wg-quick.target",
        ],
    ),
    rule(
        Scope::HostNetwork,
        Effect::Masked,
        "names are looked up as on the host",
        &[
            "systemd-resolved",
            "systemd-resolved-*.socket",
            "resolvconf",
            "resolvconf-*",
            "nscd",
            "unscd",
            "nscd.socket",
        ],
    ),
    rule(
        Scope::HostNetwork,
        Effect::Masked,
        "the packet filter is the host's",
        &[
            "nftables",
            "firewalld",
            "ufw",
            "netfilter-persistent",
            "iptables",
            "ip6tables",
            "iptables-persistent",
            "ferm",
            "shorewall",
            "shorewall6",
            "ipset",
            "ebtables",
            "arptables",
        ],
    ),
    rule(
        Scope::LoopbackOnly,
        Effect::StandIn,
        "loopback is up and there is no other link",
        CONFIGURING,
    ),
    rule(
        Scope::Configured,
        Effect::StandIn,
        "the links are configured already",
        CONFIGURING,
    ),
];

/// What configures links or waits until others have.
const CONFIGURING: &[&str] = &[
    "networking",
    "network",
    "net.*",
    "dhcpcd",
    "dhcpcd@*",
    "dhclient",
    "dhclient@*",
    "udhcpc",
    "ifup@*",
    "ifplugd",
    "*-wait-online",
    "systemd-networkd-wait-online@*",
    "staticroute",
];

/// Where systemd starts the services. What its own conditions leave out of a container is not listed.
const UNITS: &[Rule] = &[
    masked("there is no virtual console", &["getty@tty*"]),
    masked("there is no serial line", &["serial-getty@*"]),
];

/// Where scripts start them.
const SCRIPTS: &[Rule] = &[
    masked(
        "the container's devices are all there",
        &[
            "udev",
            "eudev",
            "udev-finish",
            "udev-mtab",
            "udev-trigger",
            "udev-settle",
            "udev-postmount",
            "mdev",
            "hwdrivers",
            "devfs",
            "dev",
            "static-dev",
            "kmod-static-nodes",
            "mountdevsubfs",
            "makedev",
            "hald",
        ],
    ),
    masked(
        "the kernel and its modules are the host's",
        &[
            "kmod",
            "modules",
            "modules-load",
            "modloop",
            "bootlogs",
            "dmesg",
            "klogd",
        ],
    ),
    masked("the clock is the host's", &["swclock", "osclock"]),
    masked("there is no virtual console", &["agetty.tty*"]),
    masked(
        "its mounts are made before the init runs",
        &[
            "mountkernfs",
            "mount-configfs",
            "sysfs",
            "procfs",
            "cgroups",
            "cgroupfs-mount",
            "checkroot",
            "root",
            "mtab",
        ],
    ),
    masked(
        "the root is not the container's to check or to unmount",
        &[
            "checkfs",
            "fsck",
            "umountfs",
            "umountroot",
            "mount-ro",
            "bootchart",
        ],
    ),
];

/// What is wrong with a unit.
pub(super) fn unit(name: &str, network: Reach) -> Option<Entry> {
    find(&[COMMON, UNITS], name, super::service(name), network)
}

/// What is wrong with a script in `/etc/init.d`.
pub(super) fn script(name: &str, network: Reach) -> Option<Entry> {
    find(&[COMMON, SCRIPTS], name, super::service(name), network)
}

fn find(tables: &[&[Rule]], name: &str, service: &str, network: Reach) -> Option<Entry> {
    let rules = tables.iter().copied().flatten();
    let rule = rules
        .filter(|rule| rule.scope.holds(network))
        .find(|rule| rule.names.iter().any(|pattern| matches(pattern, service)))?;
    Some(Entry {
        name: name.to_owned(),
        effect: rule.effect,
        reason: rule.reason.to_owned(),
    })
}

impl Scope {
    fn holds(self, network: Reach) -> bool {
        match self {
            Scope::Always => true,
            Scope::HostNetwork => network == Reach::Others,
            Scope::LoopbackOnly => network == Reach::Loopback,
            Scope::Configured => network == Reach::Configured,
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_services_of_any_init() {
        for (name, network, effect) in [
            ("hwclock.service", Reach::Loopback, Some(Effect::Masked)),
            ("networking.service", Reach::Loopback, Some(Effect::StandIn)),
            ("NetworkManager.service", Reach::Loopback, None),
            (
                "NetworkManager.service",
                Reach::Others,
                Some(Effect::Masked),
            ),
            (
                "NetworkManager-wait-online.service",
                Reach::Loopback,
                Some(Effect::StandIn),
            ),
            (
                "serial-getty@ttyS0.service",
                Reach::Others,
                Some(Effect::Masked),
            ),
            ("getty@.service", Reach::Others, None),
            ("lvm2-lvmpolld.socket", Reach::Others, Some(Effect::Masked)),
            ("ssh.service", Reach::Others, None),
            ("smartd.timer", Reach::Others, None),
        ] {
            let got = unit(name, network).map(|entry| entry.effect);
            assert_eq!(got, effect, "{name} {network:?}");
        }
        assert!(script("hwclock.sh", Reach::Loopback).is_some());
        assert!(script("net.eth0", Reach::Others).is_some());
        assert!(script("cron", Reach::Others).is_none());
    }
}
