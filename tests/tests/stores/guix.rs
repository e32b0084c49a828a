//! A real Guix store: Debian's Guile and Shepherd as items, a real daemon, and its collector.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::wait_until};

use super::{Store, prints, refused, says, with_store};

pub(super) const GUIX: &str = include_str!("guix.sh");

/// What a system refers to.
pub(super) const CLOSURE: [&str; 6] = ["tools", "glibc", "guile", "modules", "profile", "shepherd"];

fn declare<'a>(
    host: &'a Host,
    name: &str,
    store: &Store,
    system: &str,
    more: &str,
) -> Result<Guest<'a>> {
    let text = format!("[Container]\nSystem={}\n{more}", store.path(system)?);
    Guest::declare(host, name, &text)
}

/// The Shepherd is PID 1, its service runs, and it stops on request.
pub(super) fn shepherd(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        let guest = declare(host, "guix", store, "one", "")?;
        let time = guest.systemctl("start")?;
        says(&guest, "Service hello has been started")?;
        prints(
            &guest,
            store,
            "tr '\\000' '\\n' </proc/1/cmdline | sed -n 3p; for n in /proc/[0-9]*; do echo $n; done | head -1; uname -n",
            &format!("{}/bin/shepherd\n/proc/1\nguix", store.path("shepherd")?),
        )?;
        let herd = format!("{}/bin/herd", store.path("shepherd")?);
        let status = guest
            .exec(&[&herd, "--socket=/var/run/shepherd/socket", "status"])?
            .ok()?;
        ensure!(status.contains("hello"), "{status}");
        let stop = guest.systemctl("stop")?;
        println!("started in {time:?}, stopped in {stop:?}");
        let journal = guest.journal()?;
        for text in [
            "(shepherd); enter it with",
            "Service hello stopped",
            "Exiting shepherd",
        ] {
            ensure!(journal.contains(text), "{text:?} is not in {journal}");
        }
        ensure!(!journal.contains("killing it"), "{journal}");
        // The Shepherd's own halt ends the unit well.
        guest.systemctl("start")?;
        wait_until(Duration::from_secs(20), "the Shepherd to listen", || {
            let done = guest.exec(&[&herd, "--socket=/var/run/shepherd/socket", "status"])?;
            Ok((done.status() == 0).then_some(()))
        })?;
        // The command loses its container.
        let _ = guest.exec(&[
            &herd,
            "--socket=/var/run/shepherd/socket",
            "power-off",
            "root",
        ])?;
        host.sh(&format!(
            "n=0; while systemctl is-active -q {}; do n=$((n+1)); [ $n -lt 400 ] || exit 1; sleep 0.05; done",
            guest.unit()
        ))?
        .ok()?;
        guest.finish()
    })
}

/// Exactly the closure is there.
pub(super) fn closure(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        let guest = declare(host, "guix-closure", store, "one", "Closure=guix\n")?;
        guest.systemctl("start")?;
        says(&guest, "Service hello has been started")?;
        let mut names = CLOSURE.to_vec();
        names.push("one");
        prints(&guest, store, "ls /gnu/store", &store.items(&names)?)?;
        guest.finish()
    })
}

/// Code runs in a throw-away container that sees nothing but the closure of its interpreter.
pub(super) fn evaluate(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        let profile = store.path("profile")?;
        let eval = |code: &str, more: &str| {
            host.sh(&format!(
                "skep run --closure \"$(guix gc -R {profile})\" {more} -- {profile}/bin/guile -c '{code}'"
            ))
        };
        let done = eval("(display (+ 40 2)) (exit 7)", "")?;
        ensure!(done.status() == 7 && done.stdout() == "42", "{done:?}");
        let seen = "(use-modules (ice-9 ftw)) \
            (define (names place) (scandir place (lambda (name) (not (member name (list \".\" \"..\")))))) \
            (format #t \"~{~a~%~}\" (names \"/gnu/store\")) (format #t \"~{~a ~}\" (names \"/\"))";
        let listed = eval(seen, "--env GUILE_AUTO_COMPILE=0")?.ok()?;
        let closure = ["tools", "glibc", "guile", "modules", "profile"];
        let want = format!("{}\ndev etc gnu proc sys tmp", store.items(&closure)?);
        ensure!(listed.trim() == want, "{listed}, not {want}");
        // A mapping, as the seed's evaluation takes them.
        host.sh("mkdir -p /var/lib/machines/.stores/eval && echo shared >/var/lib/machines/.stores/eval/file")?
            .ok()?;
        let read = "(use-modules (ice-9 rdelim)) (display (call-with-input-file \"/in/file\" read-line)) \
            (call-with-output-file \"/out/made\" (lambda (port) (display \"made\" port)))";
        let done = eval(read, "--expose /var/lib/machines/.stores/eval=/in --share /var/lib/machines/.stores/eval=/out")?.ok();
        let made = host
            .sh("cat /var/lib/machines/.stores/eval/made; rm -rf /var/lib/machines/.stores/eval")?
            .stdout();
        ensure!(done? == "shared" && made == "made", "{made}");
        Ok(())
    })
}

/// What runs stays, what has stopped goes, and one whose launcher was killed does not hold on.
pub(super) fn collector(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        let (one, other) = (store.path("one")?, store.path("other")?);
        let exists =
            |path: &str| Ok::<_, anyhow::Error>(host.exec(["test", "-e", path])?.status() == 0);
        let link = "/var/guix/gcroots/auto/skep-guix-gc";
        let guest = declare(host, "guix-gc", store, "one", "")?;
        guest.systemctl("start")?;
        says(&guest, "Service hello has been started")?;
        host.exec(["guix", "gc"])?.ok()?;
        ensure!(
            exists(one)? && exists(link)? && !exists(other)?,
            "after the first collection"
        );
        guest.systemctl("restart")?;
        host.exec(["guix", "gc"])?.ok()?;
        ensure!(exists(one)? && exists(link)?, "after a restart");
        host.exec([
            "systemctl",
            "kill",
            "--kill-whom=main",
            "--signal=KILL",
            &guest.unit(),
        ])?
        .ok()?;
        host.sh(&format!(
            "n=0; while systemctl is-active -q {}; do n=$((n+1)); [ $n -lt 400 ] || exit 1; sleep 0.05; done",
            guest.unit()
        ))?
        .ok()?;
        host.exec(["systemctl", "reset-failed", &guest.unit()])?
            .ok()?;
        ensure!(
            host.exec(["test", "-L", link])?.status() == 0 && !exists(link)?,
            "the link leads somewhere"
        );
        // The next start replaces it.
        guest.systemctl("start")?;
        host.exec(["guix", "gc"])?.ok()?;
        ensure!(exists(one)? && exists(link)?, "after a kill");
        guest.systemctl("stop")?;
        ensure!(
            host.exec(["test", "-L", link])?.status() != 0,
            "the link is left"
        );
        host.exec(["guix", "gc"])?.ok()?;
        ensure!(!exists(one)?, "the stopped system is kept");
        guest.finish()
    })
}

/// The script of `guix system container`, a profile that is switched, and a system for a machine.
pub(super) fn forms(host: &Host) -> Result<()> {
    with_store(host, GUIX, |store| {
        let guest = declare(host, "guix-forms", store, "script", "Closure=yes\n")?;
        guest.systemctl("start")?;
        says(&guest, "service hello of one runs")?;
        let profile = "/var/guix/profiles/system";
        let switch = |name: &str| host.exec(["ln", "-sfn", store.path(name)?, profile])?.ok();
        switch("one")?;
        guest.redeclare(&format!("[Container]\nSystem={profile}\n"))?;
        guest.systemctl("restart")?;
        switch("two")?;
        guest.systemctl("restart")?;
        says(&guest, "service hello of two runs")?;
        guest.finish()?;
        let metal = format!("[Container]\nSystem={}\n", store.path("metal")?);
        refused(
            host,
            "guix-metal",
            &metal,
            &["guix system container config.scm"],
        )
    })
}
