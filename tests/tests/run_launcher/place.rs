//! What a command sees.

use anyhow::Result;
use skep_spec::{Access, Namespace, Network, Users};
use skep_tests::host::Host;

use crate::case::{BASE, Case, prints};

/// Each of the 128 subsets: the right namespaces are new, the others are the host's, the status arrives.
pub(crate) fn subsets(host: &Host) -> Result<()> {
    const NAMES: [&str; 7] = ["mnt", "pid", "ipc", "uts", "cgroup", "net", "user"];
    let mut script = String::from(
        "host=$(for n in mnt pid ipc uts cgroup net user; do readlink /proc/self/ns/$n; done)\n",
    );
    for subset in 0..128_u32 {
        let own = |name: &str| {
            NAMES
                .iter()
                .position(|known| *known == name)
                .is_some_and(|bit| subset & 1 << bit != 0)
        };
        let kinds = [
            ("mnt", Namespace::Mount),
            ("pid", Namespace::Pid),
            ("ipc", Namespace::Ipc),
            ("uts", Namespace::Uts),
            ("cgroup", Namespace::Cgroup),
        ];
        // Without a PID namespace of its own a command with a root of its own has no /proc at all.
        let blind = own("mnt") && !own("pid");
        let look = "for n in mnt pid ipc uts cgroup net user; do readlink /proc/self/ns/$n; done";
        let case = Case::sh(if blind { "[ ! -e /proc/self ]" } else { look }).with(|spec| {
            spec.shared = kinds
                .into_iter()
                .filter(|(name, _)| !own(name))
                .map(|(_, kind)| kind)
                .collect();
            if !own("mnt") {
                spec.binds.clear();
            }
            if !own("net") {
                spec.network = Network::Host;
            }
            if !own("user") {
                spec.users = Users::Host;
            }
        });
        let name = format!("trial-{subset}");
        script.push_str(&case.writes(&name)?);
        let want: String = NAMES
            .map(|name| if own(name) { 'n' } else { 's' })
            .into_iter()
            .collect();
        // A line of the host's is there as it is when it is shared.
        script.push_str(&format!(
            "out=$(in_cgroup {name} </dev/null) || echo {name}: status $? $out\n"
        ));
        if !blind {
            script.push_str(&format!(
                "got=$(paste <(echo \"$host\") <(echo \"$out\") | while read a b; do \
                 case $b in \"$a\") printf s;; '') printf '?';; *) printf n;; esac; done)\n\
                 [ \"$got\" = {want} ] || echo \"{name}: $got, not {want}\"\n"
            ));
        }
    }
    script.push_str("echo done");
    // What is shared by all: the same as the caller's, which is in the host's.
    // Longer than an argument may be.
    host.write("/run/trials", &script)?;
    prints(host, ". /run/trials; rm /run/trials", "done")
}

pub(crate) fn root(host: &Host) -> Result<()> {
    let fresh = "stat -c '%a %u' /; find / -xdev -mindepth 1 -maxdepth 1 -printf '%f\\n' | sort | tr '\\n' ' '; \
        ls -A /etc /tmp /dev/shm; cat /etc/hosts; touch /x; mount | grep -c ' / '";
    let listing = "755 0\nbin dev etc lib lib64 proc sbin sys tmp usr /dev/shm:\n\n/etc:\nhosts\n\n/tmp:\n\
        127.0.0.1 localhost\n::1 localhost\n1";
    Case::sh(fresh).gives(host, 0, listing)?;
    let frozen = "for p in /x /etc/x /usr/x; do touch $p 2>/dev/null && echo $p; done; \
        touch /tmp/x /dev/shm/x && mount -o remount,rw / 2>/dev/null || echo read-only";
    Case::sh(frozen)
        .with(|spec| spec.root.access = Access::ReadOnly)
        .gives(host, 0, "read-only")?;
    // A tree instead: it is not changed by a command that only reads it, and has no trace of the host's.
    let tree = "cat /etc/os-release | grep -c ^VERSION_CODENAME=bookworm; ls /run/host 2>/dev/null; touch /x 2>/dev/null || echo kept";
    for (access, want) in [(Access::ReadOnly, "1\nkept"), (Access::Ephemeral, "1")] {
        Case::sh(tree)
            .with(|spec| {
                spec.root.path = Some("/var/lib/machines/debian-12".into());
                spec.root.access = access;
                spec.binds.clear();
            })
            .gives(host, 0, want)?;
    }
    prints(
        host,
        "ls /var/lib/machines/debian-12/x 2>/dev/null; echo same",
        "same",
    )
}

pub(crate) fn api(host: &Host) -> Result<()> {
    let options = "for m in /proc /sys /sys/fs/cgroup /dev/pts /dev/shm /dev/mqueue /tmp; do \
        grep -E \"^[^ ]+ $m \" /proc/mounts | cut -d' ' -f2-4 | cut -d, -f1-4; done";
    let want = "/proc proc rw,nosuid,nodev,noexec\n/sys sysfs ro,nosuid,nodev,noexec\n\
        /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec\n/dev/pts devpts rw,nosuid,noexec,relatime\n\
        /dev/shm tmpfs rw,nosuid,nodev,relatime\n/dev/mqueue mqueue rw,nosuid,nodev,noexec\n\
        /tmp tmpfs rw,nosuid,nodev,relatime";
    Case::sh(options).gives(host, 0, want)?;
    let nodes = "cd /dev; ls -A | tr '\\n' ' '; stat -c %a shm mqueue /tmp | tr '\\n' ' '; \
        grep -o 'mode=620,ptmxmode=666' /proc/mounts; readlink ptmx fd stdin stdout stderr; \
        head -c 3 zero | od -An -tx1; echo x >null; echo x >full || echo full; head -c 9 urandom | wc -c; \
        ls /sys/class/net; ls pts";
    let want = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \
        1777 1777 1777 mode=620,ptmxmode=666\npts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n \
        00 00 00\nfull\n9\nlo\nptmx";
    Case::sh(nodes).gives(host, 0, want)?;
    // Each part only with its namespace; with the host's network, its name files for reading.
    let names = host.sh("sha256sum </etc/hosts")?.ok()?;
    let parts = "grep -cE ' (/proc|/sys|/sys/fs/cgroup|/dev/mqueue) ' /proc/mounts; ls -A /sys 2>/dev/null; \
        sha256sum </etc/hosts; echo x 2>/dev/null >>/etc/hosts || echo read-only; grep -E '^[^ ]+ /proc ' /proc/mounts | cut -d' ' -f3";
    Case::sh(parts)
        .with(|spec| {
            spec.network = Network::Host;
            spec.shared = vec![Namespace::Ipc, Namespace::Cgroup];
        })
        .gives(host, 0, &format!("1\n{names}\nread-only\nproc"))
}

pub(crate) fn users(host: &Host) -> Result<()> {
    let map = format!("0 {BASE} 65536");
    let look = "id -u; id -g; id -G; sed 's/  */ /g; s/^ //' /proc/self/uid_map /proc/self/gid_map | sort -u; \
        grep CapEff /proc/self/status | grep -c 0000000000000000; echo again >/dev/stdout; echo $HOME";
    Case::sh(look)
        .command(|command| command.user = (1000, 33))
        .gives(host, 0, &format!("1000\n33\n33\n{map}\n1\nagain\n/"))?;
    Case::sh(look)
        .command(|command| command.user = (65535, 65535))
        .gives(host, 0, &format!("65535\n65535\n65535\n{map}\n1\nagain\n/"))?;
    Case::sh(look).gives(host, 0, &format!("0\n0\n0\n{map}\n0\nagain\n/root"))?;
    Case::sh("sed 's/  */ /g; s/^ //' /proc/self/uid_map; id -u")
        .with(|spec| spec.users = Users::Identity)
        .gives(host, 0, "0 0 65536\n0")
}

pub(crate) fn clean(host: &Host) -> Result<()> {
    let look = "env | grep -vE '^(PWD|SHLVL|_)=' | sort; echo $$; ls /proc/self/fd | tr '\\n' ' '; umask; pwd; \
        grep -E 'Sig(Blk|Ign)' /proc/$$/status | grep -vc 0000000000000000; ls /proc/self/task | wc -l; cat /proc/keys | wc -l";
    let want = "HOME=/root\nLOGNAME=root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
        TMPDIR=/tmp\nUSER=root\ncontainer=skep\n1\n0 1 2 3 0022\n/";
    let done = Case::sh(look).run(host)?;
    let text = done.stdout();
    anyhow::ensure!(text.starts_with(want), "{text}\n{}", done.stderr());
    let variables = |name: &str, value: &str| skep_spec::Variable {
        name: name.into(),
        value: value.into(),
    };
    Case::sh("echo $PATH $X; pwd")
        .with(|spec| {
            spec.environment = vec![
                variables("X", "1"),
                variables("X", "a b"),
                variables("PATH", "/bin:/usr/bin"),
            ];
        })
        .command(|command| command.directory = Some("/usr/share".into()))
        .gives(host, 0, "/bin:/usr/bin a b\n/usr/share")
}

/// Nothing that was mounted for it can be undone from inside.
pub(crate) fn locked(host: &Host) -> Result<()> {
    let undo = "for m in /proc/sys /proc/kallsyms /sys /usr /dev/null; do umount $m 2>/dev/null && echo umount $m; done; \
        for m in /proc/sys /sys /usr; do mount -o remount,bind,rw $m 2>/dev/null && echo remount $m; done; \
        cat /proc/kallsyms | wc -c; echo 1 2>/dev/null >/proc/sys/kernel/panic; echo $?; \
        mkdir /tmp/m && mount -t tmpfs x /tmp/m && echo own";
    Case::sh(undo).gives(host, 0, "0\n1\nown")
}
