//! A real Nix store, and NixOS' second stage in it.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{prints, refused, says, with_store};

const NIX: &str = include_str!("nix.sh");

pub(super) fn closure(host: &Host) -> Result<()> {
    with_store(host, NIX, |store| {
        let plain = store.path("plain")?;
        let text = format!("[Container]\nSystem={plain}\nClosure=nix\nNotifyReady=no\n");
        let guest = Guest::declare(host, "nix", &text)?;
        guest.systemctl("start")?;
        says(&guest, "stage 2 of plain in skep, /run/host/notify")?;
        prints(
            &guest,
            store,
            "ls /nix/store",
            &store.items(&["tools", "plain"])?,
        )?;
        let exists =
            |path: &str| Ok::<_, anyhow::Error>(host.exec(["test", "-e", path])?.status() == 0);
        let collect = || host.exec(["nix-store", "--gc"])?.ok();
        collect()?;
        ensure!(
            exists(plain)? && exists(store.path("tools")?)?,
            "a running system was collected"
        );
        ensure!(!exists(store.path("other")?)?, "nothing was collected");
        let time = guest.systemctl("stop")?;
        println!("stopped in {time:?}");
        ensure!(!guest.journal()?.contains("killing it"));
        collect()?;
        ensure!(!exists(plain)?, "a stopped system is kept");
        guest.finish()
    })
}

/// A program of the store runs with its closure alone.
pub(super) fn evaluate(host: &Host) -> Result<()> {
    with_store(host, NIX, |store| {
        let (plain, tools) = (store.path("plain")?, store.path("tools")?);
        let listed = host
            .sh(&format!(
                "skep run --closure \"$(nix-store -qR {plain})\" -- {tools}/bin/busybox ls /nix/store"
            ))?
            .ok()?;
        let want = store.items(&["tools", "plain"])?;
        ensure!(listed == want, "{listed}, not {want}");
        Ok(())
    })
}

/// Ends as a real systemd, which says when it is ready and is asked to halt in its own way.
pub(super) fn systemd(host: &Host) -> Result<()> {
    with_store(host, NIX, |store| {
        let root = "Root=/var/lib/machines/debian-13\nEphemeral=yes\n";
        let text = format!("[Container]\nSystem={}\n{root}", store.path("systemd")?);
        let guest = Guest::declare(host, "nixos", &text)?;
        guest.systemctl("start")?;
        guest.is_running()?;
        let shown = host.exec(["skep", "show", "nixos"])?.ok()?;
        for line in [
            "(NixOS)",
            "(systemd), ready when it says so, shut down by signal 37",
        ] {
            ensure!(shown.contains(line), "{line} is not in {shown}");
        }
        guest.finish()?;
        let metal = format!("[Container]\nSystem={}\n", store.path("metal")?);
        refused(
            host,
            "nixos",
            &metal,
            &["with kernel", "boot.isContainer = true"],
        )
    })
}
