//! Network managers on the host, with udev beside them as on a real one.
//!
//! A test host has systemd-networkd and no udev; NetworkManager and udev run from the tree of a guest, with the rules and
//! settings that the package put on the host.

use anyhow::Result;
use skep_tests::host::Host;

/// Who looks after the links of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Nobody.
    Nothing,
    /// systemd-networkd.
    Networkd,
    /// NetworkManager.
    Nm,
}

/// Only rules about links: the machine has other devices, which are not ours to name.
const UDEV: &str = "
rules=/var/lib/machines/metal/usr/lib/udev/rules.d
mkdir -p /run/udev /run/rules
cp $rules/75-net-description.rules $rules/80-net-setup-link.rules $rules/85-nm-unmanaged.rules $rules/99-systemd.rules \
    /usr/lib/udev/rules.d/85-skep.rules /run/rules/
systemd-run --quiet --collect --unit=managers-udev --property=Type=notify --property=NotifyAccess=all \
    --property=RootDirectory=/var/lib/machines/metal --property=MountAPIVFS=yes --property='BindPaths=/run/udev /dev /sys' \
    --property='BindReadOnlyPaths=/run/rules:/usr/lib/udev/rules.d /usr/lib/systemd/network' /usr/lib/systemd/systemd-udevd
for link in /sys/class/net/*; do echo add >$link/uevent; done
for link in $(ls /sys/class/net); do
    number=$(cat /sys/class/net/$link/ifindex)
    for i in $(seq 50); do [ ! -e /run/udev/data/n$number ] || break; sleep 0.1; done
done
";

const NETWORKMANAGER: &str = "
cp /var/lib/machines/metal/usr/share/dbus-1/system.d/org.freedesktop.NetworkManager.conf /etc/dbus-1/system.d/managers.conf
busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
systemd-run --quiet --collect --unit=managers-nm --property=Type=dbus --property=BusName=org.freedesktop.NetworkManager \
    --property=RootDirectory=/var/lib/machines/metal --property=MountAPIVFS=yes --property='BindPaths=/run/udev /run/dbus' \
    --property='BindReadOnlyPaths=/usr/lib/NetworkManager/conf.d' /usr/sbin/NetworkManager --no-daemon
";

const END: &str = "
# Not all of them are there, here or with this systemd.
for unit in managers-nm managers-udev systemd-networkd-varlink.socket systemd-networkd-varlink-metrics.socket \
    systemd-networkd-resolve-hook.socket systemd-networkd.socket systemd-networkd; do
    systemctl stop $unit 2>/dev/null || true
done
rm -rf /run/udev /run/rules /etc/dbus-1/system.d/managers.conf
# What systemd-networkd leaves to the next one.
for family in ip ip6; do nft delete table $family io.systemd.nat 2>/dev/null || true; done
sysctl -q -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
";

/// Does `work` while the manager runs.
pub(crate) fn with(host: &Host, manager: Manager, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = match manager {
        Manager::Nothing => String::new(),
        Manager::Networkd => format!("{UDEV}systemctl start systemd-networkd"),
        Manager::Nm => format!("{UDEV}{NETWORKMANAGER}"),
    };
    let judged = host.sh(&start)?.ok().and_then(|_| work());
    host.sh(END)?.ok()?;
    judged
}

/// Restarts it.
pub(crate) fn restart(host: &Host, manager: Manager) -> Result<()> {
    let script = match manager {
        Manager::Nothing => "true",
        Manager::Networkd => "systemctl restart systemd-networkd",
        Manager::Nm => "systemctl restart managers-nm",
    };
    host.sh(script)?.ok().map(drop)
}
