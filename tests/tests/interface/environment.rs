//! Checks C13-C18: what the environment of the init says, machine id and credentials.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::{Host, Os},
    interface::Sheet,
};

use super::{DEBIAN, integration::QUICK, settled, without_machine_id};

/// A variable of PID 1.
fn variable(name: &str) -> String {
    format!("tr '\\000' '\\n' </proc/1/environ | sed -n 's/^{name}=//p'")
}

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    without_machine_id(host, || facts_of(host, sheet))
}

fn facts_of(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-env", DEBIAN)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C13",
        "short, lower case, known to systemd",
        &format!(
            "{}; systemd-detect-virt --container >/dev/null && echo container; \
             systemd-run --quiet --wait --pipe --property=ConditionVirtualization=container echo condition",
            variable("container")
        ),
        "skep\ncontainer\ncondition",
    );
    let other = started(host, "ci-env2", DEBIAN)?;
    let ids = |guest: &Guest<'_>| sh(guest, &variable("container_uuid"));
    let (first, second) = (ids(&guest)?, ids(&other)?);
    sheet.inside(
        &guest,
        "C14",
        "the machine id of a tree without one",
        &format!("{} | tr -d - | cmp - /etc/machine-id && cmp /etc/machine-id /run/host/container-uuid && echo same", variable("container_uuid")),
        "same",
    );
    other.systemctl("restart")?;
    let again = ids(&other)?;
    let judged = || -> Result<()> {
        ensure!(first.len() == 36 && first != second, "{first} {second}");
        ensure!(second == again, "{second}, then {again}");
        Ok(())
    };
    sheet.fact("C14", "unique, and the same after a restart", judged());
    other.finish()?;
    sheet.differs(
        "C15",
        "optional, and not needed: \"skep shell\" brings its own terminal, no getty waits for one",
    );
    sheet.inside(
        &guest,
        "C16",
        "what the host's os-release says",
        ". /run/host/os-release; tr '\\000' '\\n' </proc/1/environ | grep '^container_host_' | sort | while IFS='=' read key value; do \
         upper=$(echo \"${key#container_host_}\" | tr a-z A-Z); eval want=\\$$upper; [ \"$value\" = \"$want\" ] || echo $key; done; \
         tr '\\000' '\\n' </proc/1/environ | grep -c '^container_host_id='",
        "1",
    );
    guest.finish()?;
    credentials(host, sheet)?;
    timezone(host, sheet)
}

/// Secrets of the unit reach the services of the container, and nobody else.
fn credentials(host: &Host, sheet: &mut Sheet) -> Result<()> {
    host.sh("umask 077; echo top-secret >/etc/ci-secret")?
        .ok()?;
    let text = format!(
        "{DEBIAN}[Service]\nLoadCredential=ci.key:/etc/ci-secret\nSetCredential=ci.motd:50%% of \"two words\"\n"
    );
    let guest = started(host, "ci-cred", &text)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C17",
        "named to the init, and taken over by systemd",
        &format!(
            "{}; systemd-creds --system list --no-legend | cut -d' ' -f1 | sort",
            variable("CREDENTIALS_DIRECTORY")
        ),
        "/run/host/credentials\nci.key\nci.motd",
    );
    sheet.inside(
        &guest,
        "C17",
        "a service takes them",
        "systemd-run --quiet --wait --pipe --property=LoadCredential=key:ci.key --property=LoadCredential=motd:ci.motd \
         sh -c 'cat $CREDENTIALS_DIRECTORY/key $CREDENTIALS_DIRECTORY/motd'",
        "top-secret\n50% of \"two words\"",
    );
    sheet.inside(
        &guest,
        "C33",
        "read-only, in memory that is not swapped, for root alone",
        "stat -c '%a %u' /run/host/credentials /run/host/credentials/ci.key; findmnt -no FSTYPE /run/host/credentials; \
         { echo x >/run/host/credentials/ci.key; } 2>/dev/null && echo written; touch /run/host/credentials/x 2>/dev/null && echo made; \
         umount /run/host/credentials 2>/dev/null && echo gone; \
         for flag in ro nosuid nodev noexec; do findmnt -no OPTIONS /run/host/credentials | tr , '\\n' | grep -x $flag; done; \
         setpriv --reuid 1000 --regid 1000 --clear-groups cat /run/host/credentials/ci.key 2>/dev/null; echo end",
        "500 0\n400 0\nramfs\nro\nnosuid\nnodev\nnoexec\nend",
    );
    sheet.outside(
        host,
        "C17",
        "the launcher stays in the host's mount namespace",
        &format!(
            "[ $(readlink /proc/1/ns/mnt) = $(readlink /proc/$(systemctl show --value --property MainPID {})/ns/mnt) ] && echo same",
            guest.unit()
        ),
        "same",
    );
    guest.finish()?;
    sealed_and_imported(host, sheet)?;
    // Too many for the memory of the host.
    let text = format!(
        "{DEBIAN}[Service]\nLoadCredential=a:/etc/ci-secret\nLoadCredential=b:/etc/ci-secret\n"
    );
    host.sh("head -c 700000 /dev/zero >/etc/ci-secret")?.ok()?;
    let guest = Guest::declare(host, "ci-large", &text)?;
    let unit = guest.unit();
    let failed = host.exec(["systemctl", "start", &unit])?.status() != 0;
    let journal = guest.journal()?;
    host.sh(&format!(
        "rm /etc/ci-secret; systemctl reset-failed {unit} 2>/dev/null || :"
    ))?
    .ok()?;
    let judged = || -> Result<()> {
        // systemd has the same limit, and may be the one that refuses.
        ensure!(failed, "{journal}");
        Ok(())
    };
    sheet.fact("C17", "too large ones refuse the start", judged());
    Ok(())
}

/// Encrypted with the key of the host, and given to the host itself.
fn sealed_and_imported(host: &Host, sheet: &mut Sheet) -> Result<()> {
    // Without a key of the host it makes one, unless its place is no disk, which is a warning only.
    let sealed = host
        .sh("echo sealed-file | systemd-creds encrypt --with-key=host --name=ci.file - /etc/ci-sealed 2>/dev/null; \
             printf sealed-text | systemd-creds encrypt --with-key=host --name=ci.text - - 2>/dev/null | tr -d '\\n'")?
        .ok()?;
    // What the host was given stands where its systemd looks for it.
    let imports = host.os() != Os::Bookworm;
    let import = if imports {
        host.sh("mkdir -p /run/credstore && echo imported >/run/credstore/ci.import.one && chmod 600 /run/credstore/ci.import.one")?
            .ok()?;
        "ImportCredential=ci.import.*\n"
    } else {
        ""
    };
    let text = format!(
        "{DEBIAN}[Service]\nLoadCredentialEncrypted=ci.file:/etc/ci-sealed\nSetCredentialEncrypted=ci.text:{sealed}\n{import}"
    );
    let guest = started(host, "ci-sealed", &text)?;
    settled(&guest)?;
    let (names, said) = if imports {
        (
            "ci.file\nci.import.one\nci.text",
            "sealed-file\nimported\nsealed-text",
        )
    } else {
        ("ci.file\nci.text", "sealed-file\nsealed-text")
    };
    sheet.inside(
        &guest,
        "C17",
        "those that were encrypted, and the host's own",
        "ls /run/host/credentials; cat /run/host/credentials/*",
        &format!("{names}\n{said}"),
    );
    // Of a systemd 257, whatever the host's.
    sheet.inside(
        &guest,
        "C17",
        "a service imports them by their names",
        "systemd-run --quiet --wait --pipe --property='ImportCredential=ci.*' sh -c 'cd $CREDENTIALS_DIRECTORY; ls; cat *'",
        &format!("{names}\n{said}"),
    );
    host.sh(
        "rm -f /etc/ci-sealed /run/credstore/ci.import.one; rmdir /run/credstore 2>/dev/null || :",
    )?
    .ok()?;
    guest.finish()
}

fn timezone(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let before = host
        .sh("readlink /etc/localtime || :; ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime")?
        .ok()?;
    let judged = timezone_of(host, sheet);
    let back = match before.as_str() {
        "" => "rm /etc/localtime".to_owned(),
        link => format!("ln -sfn {link} /etc/localtime"),
    };
    host.sh(&back)?.ok()?;
    judged
}

fn timezone_of(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let tree = "cd /var/lib/machines/debian-13; stat -c '%N %Z' etc/localtime | sha256sum";
    let before = host.sh(tree)?.ok()?;
    let own = host
        .sh("readlink /var/lib/machines/debian-13/etc/localtime")?
        .ok()?;
    let text = QUICK.replace("Ephemeral=yes\n", "");
    for (value, want) in [
        ("symlink", "../usr/share/zoneinfo/Asia/Tokyo\n+0900"),
        ("auto", "../usr/share/zoneinfo/Asia/Tokyo\n+0900"),
        ("bind", "+0900"),
        ("off", &*format!("{own}\n+0000")),
    ] {
        let guest = started(host, "ci-zone", &format!("{text}Timezone={value}\n"))?;
        let script = "readlink /etc/localtime || echo; date +%z";
        sheet.inside(&guest, "C18", &format!("Timezone={value}"), script, want);
        guest.finish()?;
    }
    sheet.outside(host, "C18", "nothing is written to the tree", tree, &before);
    Ok(())
}
