//! A store made by hand: what works without the tools of Guix and Nix.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{Store, prints, refused, says, sh, with_store};

const PLAIN: &str = include_str!("plain.sh");

const LIST: &str = "/var/lib/machines/.stores/list";

/// Variables of PID 1, without those of its shell.
const ENVIRONMENT: &str = "tr '\\000' '\\n' </proc/1/environ | sort";

fn declaration(store: &Store, system: &str, more: &str) -> Result<String> {
    Ok(format!(
        "[Container]\nSystem={}\n{more}",
        store.path(system)?
    ))
}

/// The whole store, an empty root with its directories, a clean environment, no stray descriptor, PID 1 the system's.
pub(super) fn boots(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let guest = Guest::declare(
            host,
            "plain",
            &declaration(store, "one", "Environment=LANG=C\n")?,
        )?;
        guest.systemctl("start")?;
        says(&guest, "booted one")?;
        let one = store.path("one")?;
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        prints(
            &guest,
            store,
            ENVIRONMENT,
            &format!(
                "GUIX_NEW_SYSTEM={one}\nHOME=/root\nLANG=C\nPATH={path}\nTERM=vt220\nTMPDIR=/tmp\ncontainer=skep"
            ),
        )?;
        prints(
            &guest,
            store,
            "ls /gnu/store | wc -l; tr '\\000' ' ' </proc/1/cmdline; echo; stat -c '%n %a %u' /bin /etc /home /root /tmp /var /run; \
             { echo x >/gnu/store/x; } 2>/dev/null || echo sealed; stat -c %u /gnu/store; awk '$5 == \"/\" { print $9 }' /proc/self/mountinfo",
            &format!(
                "9\n{}/bin/sh {one}/boot \n/bin 755 0\n/etc 755 0\n/home 755 0\n/root 700 0\n/tmp 1777 0\n/var 755 0\n/run 755 0\nsealed\n0\ntmpfs",
                store.path("tools")?
            ),
        )?;
        let journal = guest.journal()?;
        // ls opens the directory itself.
        ensure!(journal.contains("0 1 2 3 booted one"), "{journal}");
        for way in ["is leader ", "skep shell plain", "nsenter -a -t "] {
            ensure!(journal.contains(way), "{way:?} is not in {journal}");
        }
        let shown = host.exec(["skep", "show", "plain"])?.ok()?;
        for line in [
            format!("system {one} (Guix System)"),
            "store /gnu/store ro, all of it".to_owned(),
            "(shepherd), ready when it runs, shut down by signal 15".to_owned(),
        ] {
            ensure!(shown.contains(&line), "{line} is not in {shown}");
        }
        guest.systemctl("stop")?;
        ensure!(guest.journal()?.contains("one heard TERM"));
        guest.finish()
    })
}

/// Only the listed items, links among them as they are.
pub(super) fn listed(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let names = ["tools", "one", "within", "out"];
        let lines: Vec<&str> = names
            .iter()
            .map(|name| store.path(name))
            .collect::<Result<_>>()?;
        host.write(LIST, lines.join("\n"))?;
        let guest = Guest::declare(
            host,
            "listed",
            &declaration(store, "one", &format!("Closure={LIST}\n"))?,
        )?;
        guest.systemctl("start")?;
        prints(&guest, store, "ls /gnu/store", &store.items(&names)?)?;
        prints(
            &guest,
            store,
            &format!(
                "cat {} 2>/dev/null || echo gone; readlink {}; cat {} 2>/dev/null || echo nothing; \
                 {{ echo x >/gnu/store/x; }} 2>/dev/null || echo sealed; \
                 mount -o remount,rw /gnu/store 2>/dev/null || echo locked; umount {} 2>/dev/null || echo kept; \
                 stat -c %u /gnu/store {}",
                store.path("within")?,
                store.path("out")?,
                store.path("out")?,
                store.path("tools")?,
                store.path("tools")?
            ),
            "gone\n/etc/shadow\nnothing\nsealed\nlocked\nkept\n0\n0",
        )?;
        let shown = host.exec(["skep", "show", "listed"])?.ok()?;
        ensure!(shown.contains("store /gnu/store ro, 4 items"), "{shown}");
        guest.finish()
    })
}

/// A root that stays: what the system wrote is there at the next start, and skep wrote nothing but mount points.
pub(super) fn root_that_stays(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let root = "/var/lib/machines/.stores/root";
        host.exec(["mkdir", root])?.ok()?;
        let guest = Guest::declare(
            host,
            "stays",
            &declaration(store, "one", &format!("Root={root}\n"))?,
        )?;
        guest.systemctl("start")?;
        says(&guest, "booted one")?;
        let found = host
            .sh(&format!(
                "cd {root} && find . -mindepth 1 | sort | tr '\\n' ' '"
            ))?
            .ok()?;
        ensure!(
            found
                == "./bin ./bin/sh ./dev ./etc ./gnu ./gnu/store ./home ./proc ./root ./run ./sys ./tmp ./var",
            "{found}"
        );
        sh(&guest, store, "echo kept >/var/file; chmod 750 /home")?;
        guest.systemctl("restart")?;
        prints(
            &guest,
            store,
            "cat /var/file; stat -c %a /home",
            "kept\n750",
        )?;
        guest.finish()
    })
}

/// A switched link boots another system at the next start.
pub(super) fn profile(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let link = "/var/lib/machines/.stores/profile";
        let switch = |name: &str| host.exec(["ln", "-sfn", store.path(name)?, link])?.ok();
        switch("one")?;
        let guest = Guest::declare(host, "profile", &format!("[Container]\nSystem={link}\n"))?;
        guest.systemctl("start")?;
        says(&guest, "booted one")?;
        switch("two")?;
        guest.systemctl("restart")?;
        says(&guest, "booted two")?;
        switch("script")?;
        guest.systemctl("restart")?;
        let shown = host.exec(["skep", "show", "profile"])?.ok()?;
        ensure!(
            shown.contains(&format!("system {} ", store.path("one")?)),
            "{shown}"
        );
        guest.finish()
    })
}

/// What cannot boot is refused with a reason and a cure.
pub(super) fn refusals(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let check = |system: &str, more: &str, texts: &[&str]| {
            refused(
                host,
                "refused",
                &format!("[Container]\nSystem={system}\n{more}"),
                texts,
            )
        };
        let (one, tools) = (store.path("one")?, store.path("tools")?);
        check(
            store.path("metal")?,
            "",
            &[
                "kernel, initrd, parameters",
                "guix system container config.scm",
            ],
        )?;
        check(store.path("text")?, "", &["no Guile to run"])?;
        check(tools, "", &["neither boot (Guix) nor init (NixOS)"])?;
        check(
            store.path("other")?,
            "",
            &["names no item of the store that ends in -system"],
        )?;
        check(
            "/gnu/store/none-system",
            "",
            &["ENOENT", "its links lead nowhere"],
        )?;
        check(
            "/etc",
            "",
            &["leads to /etc, which is not in /gnu/store or /nix/store"],
        )?;
        host.exec([
            "ln",
            "-sfn",
            "/etc/shadow",
            "/var/lib/machines/.stores/away",
        ])?
        .ok()?;
        check(
            "/var/lib/machines/.stores/away",
            "",
            &["leads to /etc/shadow, which is not in"],
        )?;
        let list = format!("Closure={LIST}\n");
        for (text, why) in [
            (
                tools.to_owned(),
                format!("the system itself is not in Closure={LIST}; add {one}"),
            ),
            (
                format!("{one} /etc/passwd"),
                "not an item of /gnu/store: \"/etc/passwd\"".into(),
            ),
            (
                format!("{one} /gnu/store/../../etc"),
                "not an item of /gnu/store:".into(),
            ),
            (
                format!("{one} /gnu/store/none"),
                "the store does not have it".into(),
            ),
        ] {
            host.write(LIST, text)?;
            check(one, &list, &[&why])?;
        }
        host.sh(&format!("rm {LIST}; mkfifo {LIST}"))?.ok()?;
        check(one, &list, &["not a regular file"])?;
        host.sh(&format!("rm {LIST}; truncate -s 17M {LIST}"))?
            .ok()?;
        check(one, &list, &["longer than 16 MiB"])
    })
}

/// A store beside an ordinary tree.
pub(super) fn view(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let text = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\nStore=/gnu/store\n";
        let guest = Guest::declare(host, "view", text)?;
        guest.systemctl("start")?;
        let all = [
            "tools", "one", "two", "metal", "text", "other", "within", "out", "script",
        ];
        prints(&guest, store, "ls /gnu/store", &store.items(&all)?)?;
        guest.finish()
    })
}

/// A thousand items start nearly as fast as the whole store.
pub(super) fn thousand(host: &Host) -> Result<()> {
    with_store(host, PLAIN, |store| {
        let (one, tools) = (store.path("one")?, store.path("tools")?);
        host.sh(&format!(
            "cd /gnu/store; for n in $(seq 1000); do mkdir item-$n; done; \
             {{ echo {one} {tools}; seq -f '/gnu/store/item-%.0f' 1000; }} >{LIST}"
        ))?
        .ok()?;
        let whole = median(host, &declaration(store, "one", "")?)?;
        let items = median(
            host,
            &declaration(store, "one", &format!("Closure={LIST}\n"))?,
        )?;
        println!(
            "start with the whole store {whole:?}, with 1002 items {items:?}: {:.2} times",
            items.as_secs_f64() / whole.as_secs_f64()
        );
        ensure!(items < Duration::from_secs(1), "{items:?}");
        Ok(())
    })
}

/// Median of five starts.
fn median(host: &Host, text: &str) -> Result<Duration> {
    let guest = Guest::declare(host, "thousand", text)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(guest.systemctl("start")?);
        guest.systemctl("stop")?;
    }
    guest.finish()?;
    times.sort_unstable();
    Ok(times.remove(2))
}
