//! `skep apply` and `skep boot`.

use crate::apply::{
    self, Autostart, Failed, Layout, Outcome, Request, autostart, collect, is_error,
};
use crate::manager::Systemd;
use crate::problem::{Problem, escaped};
use crate::report;

use super::{ApplyArgs, FAILED, OK};

/// Oldest systemd that is supported: what a preview assumes where none runs.
const FLOOR: u32 = 252;

/// `skep apply`
pub(super) fn apply(layout: &Layout, arguments: &ApplyArgs, other_root: bool) -> u8 {
    let request = Request {
        names: arguments.names.iter().cloned().collect(),
        dry_run: arguments.dry_run,
        prune: arguments.prune,
    };
    let outcome = match other_root {
        true => Ok(apply::preview(layout, FLOOR, &request)),
        false => zbus::block_on(async {
            apply::apply(&Systemd::connect().await?, layout, &request).await
        }),
    };
    match outcome {
        Ok(outcome) => {
            print_outcome(&outcome, arguments);
            if outcome.is_clean() || arguments.from_unit {
                OK
            } else {
                FAILED
            }
        }
        Err(error) => {
            report::error_line(&error.to_string());
            FAILED
        }
    }
}

/// Applies one container after a verb that changed its declaration, and prints what that changed.
pub(super) fn apply_one(layout: &Layout, name: &str) -> u8 {
    let arguments = ApplyArgs {
        dry_run: false,
        prune: false,
        json: false,
        from_unit: false,
        names: vec![name.to_owned()],
    };
    apply(layout, &arguments, false)
}

fn print_outcome(outcome: &Outcome, arguments: &ApplyArgs) {
    if arguments.json {
        report::json(outcome);
    } else {
        print_changes(outcome, arguments.dry_run);
        print_complaints(outcome);
    }
}

fn print_changes(outcome: &Outcome, dry_run: bool) {
    // One write for all lines: there may be thousands.
    let mut lines = String::new();
    let mut line = |text: &str| {
        lines.push_str(&escaped(text));
        lines.push('\n');
    };
    let mut changes = 0;
    for action in outcome
        .actions
        .iter()
        .filter(|action| action.step.is_news())
    {
        // An action is at most two lines: what goes live and what waits.
        action.to_string().lines().for_each(&mut line);
        changes += 1;
    }
    for spec in &outcome.specs {
        let when = if spec.running {
            "; the next restart takes it"
        } else {
            ""
        };
        line(&format!("update {}{when}", spec.name));
        changes += 1;
    }
    let unchanged = outcome
        .actions
        .iter()
        .filter(|action| !action.step.is_news())
        .count();
    match (changes, dry_run) {
        (0, _) => line(&format!("nothing to do: {}", count(unchanged, "unit"))),
        (_, true) => line("nothing was done: this was a dry run"),
        (_, false) => {}
    }
    report::print(&lines);
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn print_complaints(outcome: &Outcome) {
    for note in &outcome.notes {
        report::warning(note);
    }
    outcome.problems.iter().for_each(print_problem);
    for trouble in &outcome.troubles {
        report::error_line(&format!("{}: {}", trouble.name, trouble.message));
    }
}

/// One problem of a declaration, to standard error.
pub(super) fn print_problem(problem: &Problem) {
    match is_error(problem) {
        true => report::error_line(&problem.to_string()),
        false => report::warning(&problem.to_string()),
    }
}

/// `skep boot`: whatever is wrong with containers is logged and shows in their units; only a host without a bus is an
/// error of ours.
pub(super) fn boot(layout: &Layout) -> u8 {
    match zbus::block_on(apply_and_start(layout)) {
        Ok((outcome, started)) => {
            print_changes(&outcome, false);
            print_complaints(&outcome);
            for name in &started.queued {
                report::line(&format!("start {name}"));
            }
            for trouble in &started.troubles {
                report::error_line(&format!(
                    "{}: not started: {}",
                    trouble.name, trouble.message
                ));
            }
            OK
        }
        Err(error) => {
            report::error_line(&error.to_string());
            FAILED
        }
    }
}

async fn apply_and_start(layout: &Layout) -> Result<(Outcome, Autostart), Failed> {
    let systemd = Systemd::connect().await?;
    let outcome = apply::apply(&systemd, layout, &Request::default()).await?;
    let declarations = collect(&layout.root, systemd.version().await?, layout);
    let started = autostart(&systemd, &declarations).await?;
    Ok((outcome, started))
}
