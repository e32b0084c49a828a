//! What is behind a host: a network namespace with an address and a name server.

use anyhow::Result;
use skep_tests::host::Host;

/// Of the name server, which every host of a network of containers can reach.
pub(crate) const SERVER: &str = "198.51.100.2";

/// What it answers to every question for an IPv4 address.
pub(crate) const ANSWER: &str = "192.0.2.53";

const UP: &str = "
ip netns add beyond
ip link add wan0 type veth peer name wan1 netns beyond
ip address add 198.51.100.1/24 dev wan0
ip link set wan0 up
ip -n beyond address add 198.51.100.2/24 dev wan1
ip -n beyond link set wan1 up
ip -n beyond link set lo up
ip route add default via 198.51.100.2
cp -a /etc/resolv.conf /run/resolv.kept 2>/dev/null || true
rm -f /etc/resolv.conf
echo 'nameserver 198.51.100.2' >/etc/resolv.conf
systemd-run --quiet --collect --unit=beyond ip netns exec beyond python3 /run/beyond.py
";

const DOWN: &str = "
systemctl stop beyond
ip netns delete beyond
umount /run/netns 2>/dev/null && rmdir /run/netns
ip link delete wan0 2>/dev/null || true
rm -f /run/beyond.py /etc/resolv.conf
[ ! -e /run/resolv.kept ] || mv /run/resolv.kept /etc/resolv.conf
";

/// One answer to each question; none of the asked kind unless it is A.
const PROGRAM: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("198.51.100.2", 53))
while True:
    q, sender = s.recvfrom(512)
    end = 12
    while q[end]:
        end += q[end] + 1
    found = q[end + 2] == 1
    head = q[:2] + b"\x81\x80\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0" + q[12:end + 5]
    s.sendto(head + (b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2\x35" if found else b""), sender)
"#;

/// Does `work` on a host with an internet.
pub(crate) fn with(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    host.write("/run/beyond.py", PROGRAM)?;
    let judged = host.sh(UP)?.ok().and_then(|_| work());
    let down = host.sh(DOWN)?.ok();
    judged.and(down.map(drop))
}
