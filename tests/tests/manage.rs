//! Trees made and removed, instances of templates, and shares with sources that are made or targets that are refused.

#[path = "manage/create.rs"]
mod create;
#[path = "manage/instances.rs"]
mod instances;
#[path = "manage/remove.rs"]
mod remove;
#[path = "manage/shares.rs"]
mod shares;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    host::{Done, Host, Os},
    trial::{self, Test},
};

/// Where the trials keep what they need, on a file system with ID-mapped mounts.
const WORK: &str = "/var/lib/machines/.manage";

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("n16_create_from_a_directory", create::directory),
        ("n16_create_from_archives", create::archives),
        ("n16_create_from_hostile_archives", create::hostile),
        ("n16_create_from_an_image", create::image),
        ("n16_create_interrupted", create::interrupted),
        ("n16_create_refuses", create::refuses),
        ("n16_remove_refuses", remove::refuses),
        ("n16_remove_hostile_trees", remove::hostile),
        ("n16_remove_goes_on", remove::goes_on),
        ("n16_remove_with_declaration", remove::with_declaration),
        ("n9_w15_twenty_instances", instances::twenty),
        ("w15_instances_come_and_go", instances::come_and_go),
        ("g18_w16_sources_are_made", shares::made),
        ("g19_unknown_options", shares::options),
        ("g16_g17_read_only_stays_so", shares::read_only),
        ("g28_wiped_targets", shares::wiped),
    ];
    let trials = tests.iter().flat_map(|(name, test)| {
        let test = *test;
        trial::on_each(&Os::DEBIAN, name, move |host| between(host, test))
    });
    trial::main(trials.collect())
}

/// Runs a trial in an empty work directory; afterwards nothing of it is left, and the host's trees are as before.
fn between(host: &Host, test: Test) -> Result<()> {
    clear(host)?;
    sh(host, &format!("mkdir {WORK}"))?;
    // The launcher leaves its lock files.
    let list = "ls -A /var/lib/machines /etc/skep | grep -v '[.]lck$'";
    let before = sh(host, list)?;
    let judged = test(host);
    let after = sh(host, list)?;
    clear(host)?;
    judged?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    Ok(())
}

fn clear(host: &Host) -> Result<()> {
    let script = format!(
        "set +e; systemctl stop 'skep@manage*' 2>/dev/null; rm -rf /etc/skep/manage*; skep apply >/dev/null; \
         awk '$5 ~ \"^/var/lib/machines/[.]?manage\" {{ print $5 }}' /proc/self/mountinfo | sort -r | xargs -r umount; \
         chattr -R -i {WORK} /var/lib/machines/manage* /var/lib/machines/.#manage* 2>/dev/null; \
         rm -rf {WORK} /var/lib/machines/manage* /var/lib/machines/.#manage*; systemctl reset-failed 'skep@manage*' 2>/dev/null; true"
    );
    sh(host, &script).map(drop)
}

/// Output of a script that must succeed.
fn sh(host: &Host, script: &str) -> Result<String> {
    host.sh(script)?.ok().with_context(|| script.to_owned())
}

/// Runs skep with arguments separated by blanks.
fn skep(host: &Host, arguments: &str) -> Result<Done> {
    host.exec(["skep"].into_iter().chain(arguments.split(' ')))
}

/// Fails unless skep fails with `status`, and says `words`.
fn fails(host: &Host, arguments: &str, status: i32, words: &str) -> Result<()> {
    let done = skep(host, arguments)?;
    let said = done.stderr();
    ensure!(
        done.status() == status && said.contains(words),
        "skep {arguments}: status {}, said {said:?}, and not {words:?}",
        done.status()
    );
    Ok(())
}
