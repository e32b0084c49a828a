//! Checks C27-C38: the directory `/run/host`.

use anyhow::Result;
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    interface::Sheet,
};

use super::{DEBIAN, settled};

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-host", DEBIAN)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C29",
        "a socket that root may write to",
        "stat -c '%F %U' /run/host/notify",
        "socket root",
    );
    let release = host.sh("sha256sum </etc/os-release")?.ok()?;
    sheet.inside(
        &guest,
        "C30",
        "the host's own, read-only",
        "sha256sum </run/host/os-release; { echo x >>/run/host/os-release; } 2>/dev/null && echo written; echo end",
        &format!("{release}\nend"),
    );
    sheet.inside(
        &guest,
        "C31",
        "as $container, with a newline",
        "cat /run/host/container-manager; wc -l </run/host/container-manager",
        "skep\n1",
    );
    sheet.inside(
        &guest,
        "C32",
        "as $container_uuid, with a newline",
        "tr '\\000' '\\n' </proc/1/environ | sed -n 's/^container_uuid=//p' | tr -d - | cmp - /run/host/container-uuid && echo same",
        "same",
    );
    exports(host, &guest, sheet)?;
    sheet.differs(
        "C27",
        "machinectl bind refuses containers with private users, and no other tool knows this way: use Bind=",
    );
    sheet.inside(
        &guest,
        "C28",
        "one of each kind, without permissions and device",
        "cd /run/host/inaccessible; stat -c '%n %F %a %t:%T' reg dir fifo sock chr blk",
        "reg regular empty file 0 0:0\ndir directory 0 0:0\nfifo fifo 0 0:0\nsock socket 0 0:0\n\
         chr character special file 0 0:0\nblk block special file 0 0:0",
    );
    sheet.inside(
        &guest,
        "C28",
        "a service that hides a path starts",
        "systemd-run --quiet --wait --pipe --property='InaccessiblePaths=/etc/hosts /etc/apt /dev/null' \
         sh -c '{ cat /etc/hosts || ls /etc/apt; } 2>/dev/null || echo hidden'",
        "hidden",
    );
    sheet.differs(
        "C36",
        "users of the host are not shared: make the user in the container",
    );
    sheet.differs("C37", "as C36: bind a home with Bind=");
    sheet.inside(
        &guest,
        "C38",
        "nothing can be made, removed or remounted",
        "cd /run/host; for name in x container-manager; do { echo x >$name; } 2>/dev/null && echo $name; done; \
         rm -f container-uuid 2>/dev/null; mkdir y 2>/dev/null && echo y; \
         mount -o remount,bind,rw /run/host 2>/dev/null && echo remounted; umount /run/host 2>/dev/null && echo gone; \
         ls -d root 2>/dev/null; ls container-uuid",
        "container-uuid",
    );
    guest.finish()
}

/// Answers each connection to a socket, for half a minute.
const SERVE: &str = "systemd-run --quiet perl -MSocket -e 'alarm 30; for my $name (\"ssh\", \"plain\") { next if fork; \
     socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un(\"/run/host/unix-export/$name\")) or die; listen($s, 5); \
     while (accept(my $c, $s)) { syswrite($c, \"served $name\"); close($c) } } wait; wait'; \
     while [ ! -S /run/host/unix-export/ssh ] || [ ! -S /run/host/unix-export/plain ]; do sleep 0.05; done; \
     ln -s /etc/passwd /run/host/unix-export/link; ln -s /etc /run/host/unix-export/way; echo made";

/// Connects to the socket `$1`.
const CONNECT: &str = "python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); print(s.recv(99).decode())' ";

/// As ssh does by way of its proxy: a descriptor comes over its standard output.
const PROXY: &str = "python3 -c 'import socket, subprocess, sys
a, b = socket.socketpair()
subprocess.run([\"/usr/lib/systemd/systemd-ssh-proxy\", \"unix\" + sys.argv[1], \"22\"], stdout=b, check=True)
_, fds, _, _ = socket.recv_fds(a, 1, 1)
s = socket.socket(fileno=fds[0])
s.settimeout(5)
print(s.recv(99).decode())' ";

fn exports(host: &Host, guest: &Guest<'_>, sheet: &mut Sheet) -> Result<()> {
    let place = "/run/skep/machine/ci-host/unix-export";
    sheet.inside(
        guest,
        "C34",
        "the container may make sockets",
        SERVE,
        "made",
    );
    sheet.outside(
        host,
        "C34",
        "the host connects to them",
        &format!("{CONNECT} {place}/plain"),
        "served plain",
    );
    sheet.outside(
        host,
        "C34",
        "and changes nothing and follows no link there",
        &format!(
            "cd {place}; touch x 2>/dev/null && echo made; rm -f plain 2>/dev/null || :; cat link 2>/dev/null || :; ls way/ 2>/dev/null || :; ls"
        ),
        "link\nplain\nssh\nway",
    );
    sheet.inside(
        guest,
        "C34",
        "it is small",
        "head -c 5000000 /dev/zero >/run/host/unix-export/big 2>/dev/null || echo full; rm /run/host/unix-export/big; \
         for n in $(seq 70); do touch /run/host/unix-export/n$n; done 2>/dev/null; ls /run/host/unix-export | wc -l; rm -f /run/host/unix-export/n*",
        "full\n63",
    );
    sheet.outside(
        host,
        "C34",
        "nothing is mounted on the host for it",
        "grep -c unix-export /proc/1/mountinfo || :",
        "0",
    );
    let proxy = host
        .sh("test -x /usr/lib/systemd/systemd-ssh-proxy")?
        .status()
        == 0;
    let connect = if proxy { PROXY } else { CONNECT };
    sheet.outside(
        host,
        "C35",
        if proxy {
            "systemd-ssh-proxy connects to it"
        } else {
            "it can be connected to"
        },
        &format!("{connect} {place}/ssh"),
        "served ssh",
    );
    Ok(())
}
