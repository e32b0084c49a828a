//! `skep reboot`: the container boots again, its unit stays active.
//!
//! There is no job of systemd's for this. The supervisor is asked by a signal, which its init gets as it can hear it; what
//! is waited for is another first process that is ready.

use std::time::{Duration, Instant, SystemTime};

use skep_spec::State;

use super::{Progress, TICK, finish, print_refused, unknown};
use crate::apply::{Declarations, Failed, Layout, collect};
use crate::cli::reason::reason;
use crate::manager::{BusError, Systemd, UnitState, Whom, sleep};
use crate::report;
use crate::specfile::read_json;
use crate::unit::unit_name;

/// What asks the supervisor: SIGRTMIN+5, the signal of systemd that means the same.
const REBOOT: i32 = 34 + 5;

/// How long a reboot may take. The supervisor itself waits as long as the container needs.
const LIMIT: Duration = Duration::from_secs(180);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// `skep reboot`
pub(in crate::cli) fn reboot(layout: &Layout, names: &[String]) -> u8 {
    finish(zbus::block_on(async {
        let systemd = Systemd::connect().await?;
        reboot_all(&systemd, layout, names).await
    }))
}

/// A container that was asked.
struct Asked<'a> {
    name: &'a str,
    /// Its first process, by PID and start time.
    leader: (u32, u64),
}

/// Asks all of them, then waits for all; false when one failed.
async fn reboot_all(systemd: &Systemd, layout: &Layout, names: &[String]) -> Result<bool, Failed> {
    let since = SystemTime::now();
    let declarations = collect(&layout.root, systemd.version().await?, layout);
    let mut asked = Vec::new();
    for name in names {
        match ask(systemd, layout, &declarations, name).await? {
            Ok(leader) => asked.push(Asked { name, leader }),
            Err(why) => report::error_line(&format!("{name}: not rebooted: {why}")),
        }
    }
    let mut all_well = asked.len() == names.len();
    for (at, one) in asked.iter().enumerate() {
        let place = match asked.len() {
            1 => String::new(),
            count => format!("[{}/{count}] ", at + 1),
        };
        all_well &= wait(systemd, layout, one, &place, since).await?;
    }
    Ok(all_well)
}

/// Asks a container, or says why not.
async fn ask(
    systemd: &Systemd,
    layout: &Layout,
    declarations: &Declarations,
    name: &str,
) -> Result<Result<(u32, u64), String>, Failed> {
    let unit = unit_name(name);
    let state = match systemd.state(&unit).await {
        Ok(state) => state,
        Err(BusError::NoSuchUnit(_)) => return Ok(Err(unknown(layout, name))),
        Err(error) => return Err(error.into()),
    };
    if !matches!(state.active.as_str(), "active" | "activating") {
        return Ok(Err(format!(
            "it is {}; run \"skep start {name}\"",
            state.active
        )));
    }
    // It would boot as before: not what somebody wants who asks for it.
    if print_refused(declarations, name) {
        return Ok(Err("its declaration is wrong".to_owned()));
    }
    let Some(container) = published(layout, name) else {
        return Ok(Err("it is not booted yet".to_owned()));
    };
    if !container.reboots {
        return Ok(Err(format!(
            "its init ({}) has no signal for it; set RebootSignal=, or run \"skep restart {name}\"",
            container.init
        )));
    }
    match systemd.kill(&unit, Whom::Main, REBOOT).await {
        Ok(()) => Ok(Ok((container.leader, container.leader_start))),
        Err(error) if error.is_answer() => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// What the supervisor says of the boot; of one of another release there is nothing to read.
fn published(layout: &Layout, name: &str) -> Option<State> {
    read_json(&layout.states.join(name).join("state.json"))
}

async fn wait(
    systemd: &Systemd,
    layout: &Layout,
    asked: &Asked<'_>,
    place: &str,
    since: SystemTime,
) -> Result<bool, Failed> {
    let Asked { name, leader } = *asked;
    let unit = unit_name(name);
    let start = Instant::now();
    let mut progress = Progress::default();
    let mut shown = start;
    loop {
        let boot = published(layout, name);
        if boot.is_some_and(|boot| boot.ready && (boot.leader, boot.leader_start) != leader) {
            progress.clear();
            return Ok(true);
        }
        let state = match systemd.state(&unit).await {
            Ok(state) => Some(state),
            Err(error) if error.is_answer() => None,
            Err(error) => return Err(error.into()),
        };
        let end = match &state {
            Some(state) if matches!(state.active.as_str(), "active" | "activating") => None,
            Some(state) if state.active == "deactivating" => Some("it is being stopped"),
            Some(state) if state.result == "success" => Some("it was stopped"),
            _ => Some("failed"),
        };
        let end = end.or((start.elapsed() > LIMIT).then_some("timeout"));
        if let Some(end) = end {
            progress.clear();
            report::error_line(&reason(name, "reboot", end, state.as_ref(), since));
            return Ok(false);
        }
        if progress.is_shown() && shown.elapsed() >= TICK {
            shown = Instant::now();
            progress.show(&line(name, place, start, state.as_ref()));
        }
        sleep(LOOK).await;
    }
}

fn line(name: &str, place: &str, start: Instant, state: Option<&UnitState>) -> String {
    let status = state.map_or("", |state| &state.status);
    let time = report::span(start.elapsed().as_secs());
    format!("{place}{name}: rebooting ({time}) {status}")
}
