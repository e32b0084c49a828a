//! A guest whose root watches for whatever enters, and tries to take hold of it.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::host::Host;

use super::{BUSYBOX, with_guest};

/// Follows the newest PIDs of its namespace. A process that still is the launcher must give nothing away: a success counts
/// when its program is (still) not one of the container's own.
const WATCHER: &str = r#"
use Fcntl; use Errno qw(EACCES EPERM);
my ($rounds, $hidden, %breach) = (0, 0);
$SIG{TERM} = sub { print "rounds $rounds hidden $hidden\n"; print "breach $_ $breach{$_}\n" for sort keys %breach; exit 0 };
$| = 1; print "watching\n";
my $self = $$;
sub stranger { my $exe = readlink("/proc/$_[0]/exe"); defined $exe && $exe =~ /memfd|launcher|skep/ }
while (1) {
    $rounds++;
    open(my $load, "<", "/proc/loadavg") or next; my $last = (split " ", <$load>)[4]; close $load;
    for my $pid ($last, $last + 1) {
        next if $pid == $self;
        my $exe = readlink("/proc/$pid/exe");
        if (!defined $exe) { $hidden++ if $! == EACCES || $! == EPERM; }
        elsif ($exe =~ /memfd|launcher|skep/) { $breach{"exe $exe"}++; }
        for my $what ("mem", "exe", "environ", "maps", "stack", "cwd", "root") {
            if ($what eq "cwd" || $what eq "root") {
                my $to = readlink("/proc/$pid/$what"); $breach{"$what"}++ if defined $to && stranger($pid); next;
            }
            if (sysopen(my $f, "/proc/$pid/$what", $what eq "mem" ? O_RDWR : O_RDONLY)) {
                $breach{$what}++ if stranger($pid); close $f;
            }
        }
        if (sysopen(my $f, "/proc/$pid/exe", O_WRONLY)) { $breach{"exe writable"}++ if stranger($pid); close $f; }
        if (opendir(my $d, "/proc/$pid/fd")) {
            for my $fd (readdir $d) { my $to = readlink("/proc/$pid/fd/$fd") or next;
                $breach{"fd $to"}++ if $to !~ m{^(pipe:|anon_inode:|/dev/|/proc|/bin|/usr|/lib|/etc|socket:|/$)} || ($to =~ /^socket:/ && stranger($pid)); }
            closedir $d;
        }
        # One that it may trace is the command already: let go of it, or nobody would hear of its end.
        if (!defined $exe && syscall(101, 0x4206, $pid, 0, 0) == 0) {
            $breach{ptrace}++ if stranger($pid);
            syscall(101, 0x4207, $pid, 0, 0); waitpid($pid, 0x40000000); syscall(101, 17, $pid, 0, 0);
        }
    }
}
"#;

pub(super) fn hostile_guest(host: &Host) -> Result<()> {
    for (name, lines) in [
        ("enter-hostile", ""),
        ("enter-hostile-id", "PrivateUsers=identity\n"),
    ] {
        let text = format!("[Container]\nRoot=/var/lib/machines/debian-12\nEphemeral=yes\n{lines}");
        with_guest(host, name, &text, |guest| {
            let sum = "sha256sum </usr/libexec/skep/launcher; stat -c '%Y %Z %i' /usr/libexec/skep/launcher";
            let before = host.sh(sum)?.ok()?;
            let mut watcher = host
                .command(["skep", "exec", name, "--", "perl", "-e", WATCHER])?
                .stdout(std::process::Stdio::piped())
                .spawn()?;
            sleep(Duration::from_millis(500));
            let judged = host.prints(&format!(
                    "for n in $(seq 200); do skep exec --env SECRET=x {name} -- /bin/true || echo $n; done; echo all"
                ),
                "all",
            );
            guest.exec(&["pkill", "-TERM", "perl"])?.ok()?;
            let mut text = String::new();
            let mut out = watcher.stdout.take().context("no pipe")?;
            std::io::Read::read_to_string(&mut out, &mut text)?;
            watcher.wait()?;
            judged?;
            println!("{text}");
            let seen = text
                .split_once("hidden ")
                .and_then(|(_, rest)| rest.lines().next()?.parse::<u32>().ok());
            ensure!(
                seen.is_some_and(|seen| seen > 0),
                "saw nobody enter: {text}"
            );
            ensure!(!text.contains("breach"), "{text}");
            ensure!(before == host.sh(sum)?.ok()?, "the launcher has changed");
            Ok(())
        })?;
    }
    Ok(())
}

/// A guest can make the entered program be the launcher itself; what it gets is a sealed copy.
pub(super) fn own_program(host: &Host) -> Result<()> {
    with_guest(host, "enter-own", BUSYBOX, |guest| {
        let sum = "sha256sum </usr/libexec/skep/launcher";
        let before = host.sh(sum)?.ok()?;
        let script = "ln -s /proc/self/exe /bin/own; printf '#!/proc/self/exe\\n' >/bin/other; chmod 755 /bin/other; \
             (while :; do for exe in /proc/[0-9]*/exe; do case $(readlink $exe) in *memfd*|*launcher*) \
             { echo broken >>$exe; } 2>/dev/null && echo broken >>/broken; { : >$exe; } 2>/dev/null && echo broken >>/broken;; esac; done; done) \
             >/dev/null 2>&1 &";
        guest.exec(&["sh", "-c", script])?.ok()?;
        for _ in 0..20 {
            for program in ["/bin/own", "/bin/other", "own"] {
                let done = guest.exec(&[program, "exec", "enter-own", "--", "true"])?;
                ensure!(done.status() != 0, "the launcher worked inside");
            }
        }
        let broken = guest.exec(&["test", "-e", "/broken"])?;
        ensure!(broken.status() == 1, "the copy was written to");
        ensure!(before == host.sh(sum)?.ok()?, "the launcher has changed");
        Ok(())
    })
}
