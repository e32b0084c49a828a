//! `skep start`, `stop` and `restart`: queue the jobs, wait for them, say why one failed. `reboot` is one without a job.

mod reboot;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant, SystemTime};

use crate::apply::{Declarations, Failed, Layout, Request, apply, collect, observe};
use crate::manager::{BusError, Job, JobEnd, Jobs, Systemd, Verb, within};
use crate::problem::escaped;
use crate::reconcile::{Activity, Step, World, reconcile};
use crate::report;
use crate::unit::unit_name;

use super::reason::reason;
use super::unit_set::print_problem;
use super::{FAILED, OK};

pub(super) use reboot::reboot;

/// How often progress is shown.
const TICK: Duration = Duration::from_secs(1);

/// How often systemd is asked whether a job is still there. Its end is told, but a wait must not depend on that alone.
const DOUBT: Duration = Duration::from_secs(3);

/// `skep start`: a unit that is not there yet, or not as declared, is made first.
pub(super) fn start(layout: &Layout, names: &[String]) -> u8 {
    finish(zbus::block_on(async {
        let systemd = Systemd::connect().await?;
        start_all(&systemd, layout, names).await
    }))
}

/// `skep stop`
pub(super) fn stop(layout: &Layout, names: &[String]) -> u8 {
    finish(zbus::block_on(async {
        let systemd = Systemd::connect().await?;
        run(&systemd, layout, Verb::Stop, names).await
    }))
}

/// `skep restart`: a unit with pending changes is stopped, made anew and started.
pub(super) fn restart(layout: &Layout, names: &[String]) -> u8 {
    finish(zbus::block_on(async {
        let systemd = Systemd::connect().await?;
        restart_all(&systemd, layout, names).await
    }))
}

fn finish(result: Result<bool, Failed>) -> u8 {
    match result {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(error) => {
            report::error_line(&error.to_string());
            FAILED
        }
    }
}

async fn start_all(systemd: &Systemd, layout: &Layout, names: &[String]) -> Result<bool, Failed> {
    let declarations = collect(&layout.root, systemd.version().await?, layout);
    let world = observe(systemd, layout, &declarations, &Request::default()).await?;
    let idle = |name: &String| {
        let unit = world.loaded.get(name);
        unit.is_none_or(|unit| unit.activity != Activity::Running)
    };
    let stale: BTreeSet<String> = pending(&world, names).into_iter().filter(idle).collect();
    let applied = stale.is_empty() || make(systemd, layout, stale).await;
    Ok(run(systemd, layout, Verb::Start, names).await? && applied)
}

/// Applies some declarations. What does not work is printed: the units are started even so, and those say why they fail.
async fn make(systemd: &Systemd, layout: &Layout, names: BTreeSet<String>) -> bool {
    let request = Request {
        names,
        ..Request::default()
    };
    match apply(systemd, layout, &request).await {
        Ok(outcome) => {
            for trouble in &outcome.troubles {
                report::error_line(&format!("{}: {}", trouble.name, trouble.message));
            }
            outcome.is_clean()
        }
        Err(error) => {
            report::error_line(&error.to_string());
            false
        }
    }
}

async fn restart_all(systemd: &Systemd, layout: &Layout, names: &[String]) -> Result<bool, Failed> {
    let declarations = collect(&layout.root, systemd.version().await?, layout);
    let world = observe(systemd, layout, &declarations, &Request::default()).await?;
    let pending = pending(&world, names);
    let mut all_well = true;
    let (mut plain, mut anew) = (Vec::new(), Vec::new());
    for name in names {
        // Something that runs is not stopped for a declaration that cannot start it again.
        let runs = world
            .loaded
            .get(name)
            .is_some_and(|unit| unit.activity == Activity::Running);
        if runs && print_refused(&declarations, name) {
            report::error_line(&format!("{name}: not restarted: its declaration is wrong"));
            all_well = false;
        } else if pending.contains(name) {
            anew.push(name.clone());
        } else {
            plain.push(name.clone());
        }
    }
    if !anew.is_empty() {
        let dependents = dependents(systemd, &anew).await?;
        all_well &= run(systemd, layout, Verb::Stop, &anew).await?;
        all_well &= make(systemd, layout, anew.iter().cloned().collect()).await;
        all_well &= run(systemd, layout, Verb::Start, &anew).await?;
        for unit in &dependents {
            // As after a restart by systemd, nobody waits for them.
            if let Err(error) = systemd.queue(Verb::Start, unit).await {
                report::error_line(&format!("{unit}: not started again: {error}"));
                all_well = false;
            }
        }
    }
    if !plain.is_empty() {
        all_well &= run(systemd, layout, Verb::Restart, &plain).await?;
    }
    Ok(all_well)
}

/// Active units that stop with these containers: a restart would start them again, a stop and a start do not.
async fn dependents(systemd: &Systemd, names: &[String]) -> Result<BTreeSet<String>, Failed> {
    const STOPPED_WITH: [&str; 3] = ["RequiredBy", "BoundBy", "ConsistsOf"];
    let mut left: Vec<String> = names.iter().map(|name| unit_name(name)).collect();
    let own: BTreeSet<String> = left.iter().cloned().collect();
    let mut found = BTreeSet::new();
    while let Some(unit) = left.pop() {
        let state = match systemd.state(&unit).await {
            Ok(state) => state,
            Err(error) if error.is_answer() => continue,
            Err(error) => return Err(error.into()),
        };
        let active = matches!(state.active.as_str(), "active" | "activating" | "reloading");
        if !active || (!own.contains(&unit) && !found.insert(unit)) {
            continue;
        }
        let kinds = STOPPED_WITH
            .iter()
            .filter_map(|kind| state.referrers.get(*kind));
        left.extend(kinds.flatten().filter(|unit| !own.contains(*unit)).cloned());
    }
    Ok(found)
}

/// Whether the declaration of a container is wrong; then it is printed what is.
fn print_refused(declarations: &Declarations, name: &str) -> bool {
    let container = declarations.find(name);
    let Some(container) =
        container.filter(|one| one.unit.as_ref().is_some_and(|unit| unit.refused))
    else {
        return false;
    };
    container.problems.iter().for_each(print_problem);
    true
}

/// Those of the containers whose unit has to be made anew.
fn pending(world: &World, names: &[String]) -> BTreeSet<String> {
    let actions = reconcile(world).actions;
    let waiting = actions.into_iter().filter(|action| {
        matches!(
            action.step,
            Step::Pending { .. } | Step::Recreate { .. } | Step::Create { .. } | Step::Set { .. }
        )
    });
    waiting
        .map(|action| action.name)
        .filter(|name| names.contains(name))
        .collect()
}

/// Queues one job per container and waits for all of them; false when one failed.
async fn run(
    systemd: &Systemd,
    layout: &Layout,
    verb: Verb,
    names: &[String],
) -> Result<bool, Failed> {
    let mut jobs = Jobs::subscribe(systemd).await?;
    let since = SystemTime::now();
    let mut queued = Vec::new();
    let mut all_well = true;
    for name in names {
        match systemd.queue(verb, &unit_name(name)).await {
            Ok(job) => queued.push((name, job)),
            Err(BusError::NoSuchUnit(_)) => {
                report::error_line(&format!("{name}: {}", unknown(layout, name)));
                all_well = false;
            }
            Err(error) if error.is_answer() => {
                report::error_line(&format!("{name}: {error}"));
                all_well = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let count = queued.len();
    for (at, (name, job)) in queued.into_iter().enumerate() {
        let place = match count {
            1 => String::new(),
            _ => format!("[{}/{count}] ", at + 1),
        };
        all_well &= wait(systemd, &mut jobs, verb, name, &job, &place, since).await?;
    }
    Ok(all_well)
}

/// Why systemd does not know a container.
fn unknown(layout: &Layout, name: &str) -> String {
    let declarations = collect(&layout.root, u32::MAX, layout);
    match declarations.find(name) {
        None => "not declared".to_owned(),
        Some(container) if container.masked => "its declaration is masked".to_owned(),
        Some(_) => "declared, but not applied yet: run \"skep apply\"".to_owned(),
    }
}

async fn wait(
    systemd: &Systemd,
    jobs: &mut Jobs,
    verb: Verb,
    name: &str,
    job: &Job,
    place: &str,
    since: SystemTime,
) -> Result<bool, Failed> {
    let unit = unit_name(name);
    let start = Instant::now();
    let mut progress = Progress::default();
    let mut asked = start;
    let end = loop {
        if let Some(end) = within(TICK, jobs.wait(job)).await {
            break end?;
        }
        if asked.elapsed() >= DOUBT {
            asked = Instant::now();
            if let Some(end) = missed(systemd, jobs, verb, &unit, job).await? {
                break end;
            }
        }
        if progress.is_shown() {
            let status = systemd
                .state(&unit)
                .await
                .map(|state| state.status)
                .unwrap_or_default();
            progress.show(&format!(
                "{place}{name}: {} ({}) {status}",
                doing(verb),
                report::span(start.elapsed().as_secs())
            ));
        }
    };
    progress.clear();
    let state = systemd.state(&unit).await.ok();
    // A start job is done as soon as the unit is up; it may be down again by now, and then systemctl is the place to look.
    match end {
        JobEnd::Done => Ok(true),
        JobEnd::Other(end) if verb == Verb::Stop && end == "canceled" => Ok(true),
        JobEnd::Other(end) => {
            report::error_line(&reason(name, word(verb), &end, state.as_ref(), since));
            Ok(false)
        }
    }
}

/// How a job ended whose end nobody told: `None` while it is there.
async fn missed(
    systemd: &Systemd,
    jobs: &mut Jobs,
    verb: Verb,
    unit: &str,
    job: &Job,
) -> Result<Option<JobEnd>, Failed> {
    let listed = systemd.list_patterns(&[unit]).await?;
    let listed = listed.iter().find(|listed| listed.name == unit);
    if listed.is_some_and(|unit| unit.job) {
        return Ok(None);
    }
    // It may have ended just now, and then it is told by now.
    if let Some(end) = within(TICK, jobs.wait(job)).await {
        return Ok(Some(end?));
    }
    let active = listed.map_or("inactive", |unit| unit.active.as_str());
    Ok(Some(match (verb, active) {
        (Verb::Start | Verb::Restart, "active") => JobEnd::Done,
        (Verb::Stop, "inactive" | "failed") => JobEnd::Done,
        _ => JobEnd::Other("failed".to_owned()),
    }))
}

const fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Restart => "restart",
    }
}

const fn doing(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "starting",
        Verb::Stop => "stopping",
        Verb::Restart => "restarting",
    }
}

/// One line on the terminal that is overwritten.
#[derive(Debug, Default)]
struct Progress {
    shown: bool,
}

impl Progress {
    fn is_shown(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn show(&mut self, text: &str) {
        let line: String = escaped(text).chars().take(79).collect();
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
        self.shown = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
