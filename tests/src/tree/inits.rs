//! What an administrator writes for an init that Debian only packages: a service of cron under each of them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, Result};

use crate::command::{program, run_logged};

/// A file or link of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Path, text.
    File(&'static str, &'static str),
    /// Path, text of a program.
    Program(&'static str, &'static str),
    /// Path, where it leads to.
    Link(&'static str, &'static str),
}

use Made::{File, Link, Program};

/// Debian's runit runs cron by its script of System V init; here runsv does.
pub(super) const RUNIT: &[Made] = &[
    Program("etc/sv/cron/run", "#!/bin/sh\nexec 2>&1\nexec cron -f\n"),
    Link("etc/runit/runsvdir/default/cron", "/etc/sv/cron"),
];

/// The first process becomes s6-svscan, over a copy of the scan directory in /run. Its handlers are those of
/// s6-linux-init in a container, with files of a few lines instead of its daemon.
pub(super) const S6: &[Made] = &[
    Program(
        "sbin/init",
        "#!/bin/sh\ncp -a /etc/s6/scan /run/service\nexec s6-svscan /run/service\n",
    ),
    Program("etc/s6/scan/cron/run", "#!/bin/sh\nexec cron -f\n"),
    Program(
        "etc/s6/scan/.s6-svscan/SIGINT",
        "#!/bin/sh\necho reboot >/run/end\nexec s6-svscanctl -t /run/service\n",
    ),
    Program(
        "etc/s6/scan/.s6-svscan/SIGTERM",
        "#!/bin/sh\necho poweroff >/run/end\nexec s6-svscanctl -t /run/service\n",
    ),
    Program(
        "etc/s6/scan/.s6-svscan/finish",
        "#!/bin/sh\necho \"s6 is down: $(cat /run/end)\"\nexec busybox \"$(cat /run/end)\" -f\n",
    ),
    Program("sbin/poweroff", "#!/bin/sh\nkill -TERM 1\n"),
    Program("sbin/reboot", "#!/bin/sh\nkill -INT 1\n"),
];

/// Without Guix the Shepherd reads one file, and its own tools end the system.
pub(super) const SHEPHERD: &[Made] = &[
    Link("sbin/init", "/usr/bin/shepherd"),
    File(
        "etc/shepherd.scm",
        "(register-services\n (list (service '(cron)\n   #:start (make-forkexec-constructor '(\"/usr/sbin/cron\" \"-f\"))\n   \
         #:stop (make-kill-destructor)\n   #:respawn? #t)))\n(start-service (lookup-service 'cron))\n",
    ),
    Program("sbin/poweroff", "#!/bin/sh\nexec herd power-off root\n"),
    Program("sbin/reboot", "#!/bin/sh\nexec herd stop root\n"),
];

/// dinit starts what "boot" names.
pub(super) const DINIT: &[Made] = &[
    Link("sbin/init", "/usr/bin/dinit"),
    File("etc/dinit.d/boot", "type = internal\ndepends-on = cron\n"),
    File(
        "etc/dinit.d/cron",
        "type = process\ncommand = /usr/sbin/cron -f\n",
    ),
];

/// Builds a copy of the checkout, with this machine's compiler, and installs it; its manual would take more tools.
pub(super) fn install_dinit(checkout: &Path, root: &Path, log: &Path) -> Result<()> {
    let work = root.join("tmp/dinit");
    super::copy(checkout, &work)?;
    let script = "cd \"$1\" && ./configure --platform=Linux --prefix=/usr --sbindir=/usr/sbin --syscontrolsocket=/run/dinitctl && \
                  make -C build all && make -C src all && make -C src install DESTDIR=\"$2\"";
    let mut command = program("sh", ["-c", script, "sh"]);
    run_logged(command.arg(&work).arg(root), log)?;
    super::remove_tree(&work)
}

/// Part of the recipe: all of what is made.
pub(super) fn recipe(files: &[Made]) -> String {
    files.iter().map(|file| format!(" {file:?}")).collect()
}

pub(super) fn make(root: &Path, files: &[Made]) -> Result<()> {
    for made in files {
        let (File(path, _) | Program(path, _) | Link(path, _)) = made;
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let done = match made {
            File(_, text) => fs::write(&path, text),
            Program(_, text) => fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755))),
            Link(_, to) => symlink(to, &path),
        };
        done.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}
