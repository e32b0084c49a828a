//! The files by which names are looked up.

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::{prints, sh, started, with_copy};

/// The host's files, kept and put back.
const KEEP: &str = "mkdir -p /run/kept && cd /etc && for f in resolv.conf hosts nsswitch.conf services; do \
    if [ -e $f ] || [ -h $f ]; then cp -a $f /run/kept/; fi; done";
const RESTORE: &str = "cd /etc && rm -f resolv.conf hosts nsswitch.conf services resolv.conf.new && cp -a /run/kept/. /etc/ && rm -rf /run/kept /run/elsewhere";

fn with_hosts_files(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    host.sh(KEEP)?.ok()?;
    let judged = work();
    host.sh(RESTORE)?.ok()?;
    judged
}

/// Fails unless the guest's file soon reads as `want`.
fn becomes(guest: &Guest<'_>, path: &str, want: &str) -> Result<()> {
    let mut last = String::new();
    wait_until(PATIENCE, "the file to follow", || {
        last = guest.exec(&["cat", path])?.stdout();
        Ok((last == want).then_some(()))
    })
    .with_context(|| format!("{path} is {last:?}, not {want:?}"))
}

pub(super) fn follow(host: &Host) -> Result<()> {
    with_copy(host, "busybox", "names", || {
        with_hosts_files(host, || follow_with(host))
    })
}

fn follow_with(host: &Host) -> Result<()> {
    host.sh("cd /etc && rm -f resolv.conf services; printf 'nameserver 192.0.2.1\\n' >resolv.conf; printf '127.0.0.1 localhost first\\n' >hosts")?
        .ok()?;
    host.sh("printf '10.9.8.7 guest\\n' >/var/lib/machines/names/etc/hosts")?
        .ok()?;
    let guest = started(host, "names", "[Container]\nNetwork=host\n")?;
    // Hidden, and the host's shown, from the first instruction on.
    prints(
        &guest,
        "cat /etc/resolv.conf /etc/hosts; cat /etc/services",
        "nameserver 192.0.2.1\n127.0.0.1 localhost first",
    )?;
    // Rewritten, replaced, longer, shorter, linked to elsewhere, changed there, removed, made.
    host.sh("printf 'nameserver 192.0.2.2\\nsearch a\\n' >/etc/resolv.conf")?
        .ok()?;
    becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.2\nsearch a")?;
    host.sh("cd /etc && printf 'nameserver 192.0.2.3\\n' >resolv.conf.new && mv resolv.conf.new resolv.conf")?.ok()?;
    becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.3")?;
    host.sh("mkdir -p /run/elsewhere && echo 'nameserver 192.0.2.4' >/run/elsewhere/stub && ln -sf ../run/elsewhere/stub /etc/resolv.conf")?.ok()?;
    becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.4")?;
    host.sh("cd /run/elsewhere && echo 'nameserver 192.0.2.5' >new && mv new stub")?
        .ok()?;
    becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.5")?;
    host.sh("rm -r /run/elsewhere")?.ok()?;
    becomes(&guest, "/etc/resolv.conf", "")?;
    host.sh("mkdir /run/elsewhere && echo 'nameserver 192.0.2.6' >/run/elsewhere/stub")?
        .ok()?;
    becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.6")?;
    host.sh("printf 'skep 4711/tcp\\n' >/etc/services")?.ok()?;
    becomes(&guest, "/etc/services", "skep 4711/tcp")?;
    host.sh("rm /etc/hosts")?.ok()?;
    becomes(
        &guest,
        "/etc/hosts",
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback",
    )?;
    // Not the container's to change.
    prints(
        &guest,
        "{ echo x >/etc/resolv.conf; } 2>/dev/null || echo refused; umount /etc/resolv.conf 2>/dev/null || echo locked; \
         mount -o remount,bind,rw /etc/resolv.conf 2>/dev/null || echo kept",
        "refused\nlocked\nkept",
    )?;
    torn(host, &guest)?;
    guest.finish()?;
    // Of the tree nothing but empty mount points is new, and nothing is changed.
    let tree = host.sh("cd /var/lib/machines/names/etc && cat hosts && stat -c %s resolv.conf services nsswitch.conf && rm resolv.conf services nsswitch.conf")?;
    println!("{}", tree.stdout());
    let guest = started(host, "names", "[Container]\nNetwork=host\nAdapt=no\n")?;
    prints(
        &guest,
        "cat /etc/hosts; ls /etc/resolv.conf 2>/dev/null; true",
        "10.9.8.7 guest",
    )?;
    guest.finish()
}

/// A reader never sees half of one file and half of another.
fn torn(host: &Host, guest: &Guest<'_>) -> Result<()> {
    host.sh("printf '127.0.0.1 aaaaaaaa\\n' >/etc/hosts")?
        .ok()?;
    becomes(guest, "/etc/hosts", "127.0.0.1 aaaaaaaa")?;
    sh(
        guest,
        "(i=0; while [ $i -lt 400 ]; do cat /etc/hosts; i=$((i+1)); done >/run/seen) >/dev/null 2>&1 &",
    )?;
    host.sh(
        "i=0; while [ $i -lt 200 ]; do c=$((i%2)); printf '127.0.0.1 %s\\n' $(printf \"%08d\" 0 | tr 0 $(printf 'ab' | cut -c$((c+1)))) >/etc/hosts.new; \
         mv /etc/hosts.new /etc/hosts; i=$((i+1)); done",
    )?
    .ok()?;
    let odd = sh(
        guest,
        "sleep 1; grep -v -E '^127.0.0.1 (aaaaaaaa|bbbbbbbb)$' /run/seen | sort | uniq -c; true",
    )?;
    ensure!(odd.is_empty(), "{odd}");
    Ok(())
}

/// What the guest has there may be a link, to somewhere or nowhere, and stays one.
pub(super) fn links(host: &Host) -> Result<()> {
    with_copy(host, "debian-12", "names-links", || {
        let etc = "/var/lib/machines/names-links/etc";
        host.sh(&format!(
            "cd {etc} && rm -f resolv.conf hosts && ln -s ../run/systemd/resolve/stub-resolv.conf resolv.conf && ln -s /none/hosts hosts"
        ))?
        .ok()?;
        with_hosts_files(host, || {
            host.sh(
                "echo 'nameserver 192.0.2.9' >/etc/resolv.conf; echo '192.0.2.8 far' >>/etc/hosts",
            )?
            .ok()?;
            let guest = started(host, "names-links", "[Container]\nNetwork=host\n")?;
            guest.is_running()?;
            prints(
                &guest,
                "cat /etc/resolv.conf; getent hosts far | tr -s ' '",
                "nameserver 192.0.2.9\n192.0.2.8 far",
            )?;
            host.sh("echo 'nameserver 192.0.2.10' >/etc/resolv.conf")?
                .ok()?;
            becomes(&guest, "/etc/resolv.conf", "nameserver 192.0.2.10")?;
            guest.finish()
        })?;
        let kept = host
            .sh(&format!("readlink {etc}/resolv.conf {etc}/hosts"))?
            .ok()?;
        ensure!(
            kept == "../run/systemd/resolve/stub-resolv.conf\n/none/hosts",
            "{kept}"
        );
        Ok(())
    })
}

/// A private container finds itself.
pub(super) fn localhost(host: &Host) -> Result<()> {
    with_copy(host, "debian-12", "names-local", || {
        host.sh("rm -f /var/lib/machines/names-local/etc/hosts")?
            .ok()?;
        let guest = started(host, "names-local", "[Container]\nEphemeral=yes\n")?;
        prints(
            &guest,
            "getent hosts 127.0.0.1 | cut -d ' ' -f 1; echo '10.0.0.1 mine' >>/etc/hosts && tail -n 1 /etc/hosts",
            "127.0.0.1\n10.0.0.1 mine",
        )?;
        guest.finish()?;
        // One that the tree has is the container's own.
        host.write(
            "/var/lib/machines/names-local/etc/hosts",
            "127.0.0.1 localhost own\n",
        )?;
        let guest = started(host, "names-local", "[Container]\n")?;
        prints(&guest, "cat /etc/hosts", "127.0.0.1 localhost own")?;
        guest.finish()?;
        host.sh("rm /var/lib/machines/names-local/etc/hosts")?
            .ok()?;
        let guest = started(host, "names-local", "[Container]\n")?;
        let plan = host.exec(["skep", "show", "names-local"])?.ok()?;
        ensure!(plan.contains("note: the tree has no /etc/hosts"), "{plan}");
        prints(&guest, "ls /etc/hosts 2>/dev/null; true", "")?;
        guest.finish()
    })
}
