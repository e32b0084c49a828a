//! `skep run`: one command in a throw-away container, as a unit of its own.
//!
//! Owns the order: read the options, enter the run, start its unit with the caller's streams, follow it to its end and
//! leave nothing. What the options mean is decided in `request`.

mod arguments;
mod closure;
mod follow;
mod namespace;
mod request;
mod signals;
mod terminal;

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_spec::Streams;

use crate::apply::Layout;
use crate::declaration::{self, Facts, LoadState};
use crate::manager::{self, BusError, Systemd};
use crate::problem::shown;
use crate::report;
use crate::runs::{self, Claim, ClaimError};
use crate::unit::run::{Waits, render_run};
use crate::unit::sandbox::sandbox;
use crate::unit::{UnitDraft, run_name};
use crate::wanted::Wanted;

use follow::{End, Follower, Until};
use request::{Around, Request, request};
use signals::{Held, Signals};
use terminal::Terminal;

pub(super) use arguments::RunArgs;

use super::OK;

/// Exit status when the command was not run: others may be its own.
const NOT_RUN: u8 = 125;

/// How long a launcher may take to say in its state file that it needs its spec no more.
const READ_LIMIT: Duration = Duration::from_secs(5);
const READ_STEP: Duration = Duration::from_millis(20);

/// Why nothing was run, one line each.
struct NotRun(Vec<String>);

impl From<BusError> for NotRun {
    fn from(error: BusError) -> Self {
        Self(vec![error.to_string()])
    }
}

impl From<ClaimError> for NotRun {
    fn from(error: ClaimError) -> Self {
        let cure = match &error {
            ClaimError::File { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "; try again as root"
            }
            _ => "",
        };
        Self(vec![format!("{error}{cure}")])
    }
}

impl From<io::Error> for NotRun {
    fn from(error: io::Error) -> Self {
        Self(vec![error.to_string()])
    }
}

impl From<String> for NotRun {
    fn from(line: String) -> Self {
        Self(vec![line])
    }
}

/// `skep run`
pub(super) fn run(layout: &Layout, arguments: &RunArgs) -> u8 {
    let result = Held::hold()
        .map_err(NotRun::from)
        .and_then(|held| zbus::block_on(attempt(layout, arguments, &held)));
    match result {
        Ok(status) => status,
        Err(NotRun(lines)) => {
            lines.iter().for_each(|line| report::error_line(line));
            NOT_RUN
        }
    }
}

async fn attempt(layout: &Layout, arguments: &RunArgs, held: &Held) -> Result<u8, NotRun> {
    if !nix::unistd::geteuid().is_root() {
        return Err(
            "needs root: runs of other users are not supported in this version"
                .to_owned()
                .into(),
        );
    }
    let streams = streams(arguments)?;
    let systemd = Systemd::connect().await?;
    let version = systemd.version().await?;
    let facts = Facts::of_host(Some(version));
    let like = match &arguments.like {
        Some(name) => Some(declared(layout, name, &facts)?),
        None => None,
    };
    let Request {
        spec,
        properties,
        sources,
    } = wanted(arguments, like.as_ref(), streams, &facts)?;
    check_sources(&sources)?;
    let waits = match arguments.no_block {
        true => Waits::No,
        false => Waits::Yes,
    };
    let argv = &arguments.command;
    for name in runs::sweep(layout) {
        // Its failure was nobody's to read; most have none.
        let _ = systemd.reset_failed(&run_name(&name)).await;
    }
    let confines = sandbox(&spec, &properties);
    let claim = runs::claim(layout, arguments.name.as_deref(), spec)?;
    let unit = render_run(
        &claim.name,
        argv,
        &claim.path,
        confines,
        &properties,
        waits,
        version,
    );
    let ran = match waits {
        Waits::Yes => wait_for(systemd, &unit, held).await,
        Waits::No => {
            let state = layout.states.join(&claim.name);
            leave_alone(&state, systemd, &unit, held, arguments.quiet).await
        }
    };
    // Whatever happened, unless the launcher still needs it: then a later run or apply sweeps it.
    if !matches!(ran, Ok(Ran::Reading)) {
        remove(claim);
    }
    Ok(match ran? {
        Ran::Ended(status) => status,
        Ran::Left | Ran::Reading => OK,
    })
}

/// What became of a run.
enum Ran {
    /// It ended with this status.
    Ended(u8),
    /// It goes on, and its launcher holds all that the spec file says.
    Left,
    /// It goes on, and only the spec file says which ids it has.
    Reading,
}

fn streams(arguments: &RunArgs) -> Result<Streams, NotRun> {
    match (arguments.pty, arguments.pipe || arguments.no_block) {
        (true, _) if !terminal::is_present() => {
            Err("--pty: standard input and output are not a terminal"
                .to_owned()
                .into())
        }
        (false, false) if terminal::is_present() => Ok(Streams::Terminal),
        (true, _) => Ok(Streams::Terminal),
        (false, _) => Ok(Streams::Pipes),
    }
}

/// The declaration that a run starts from.
fn declared(layout: &Layout, name: &str, facts: &Facts) -> Result<Wanted, NotRun> {
    let all = declaration::load_all(&layout.root, facts);
    let Some(found) = all.into_iter().find(|one| one.unit && one.name == name) else {
        return Err(format!("--like: no declaration is called {name}").into());
    };
    match found.state {
        LoadState::Valid(wanted) => Ok(*wanted),
        LoadState::Template => {
            Err(format!("--like: {name} is a template; name an instance of it").into())
        }
        LoadState::Masked => Err(format!("--like: {}: masked", shown(&found.source)).into()),
        LoadState::Invalid { problems, .. } => {
            Err(NotRun(problems.iter().map(ToString::to_string).collect()))
        }
    }
}

fn wanted(
    arguments: &RunArgs,
    like: Option<&Wanted>,
    streams: Streams,
    facts: &Facts,
) -> Result<Request, NotRun> {
    let mut listed = String::new();
    for text in &arguments.closure {
        listed.push_str(&closure_text(text)?);
        listed.push('\n');
    }
    let closure = closure::parse(&listed).map_err(|message| format!("--closure: {message}"))?;
    let directory =
        std::env::current_dir().map_err(|error| format!("the current directory: {error}"))?;
    let around = Around {
        directory: &directory,
        variable: &|name| std::env::var(name).ok(),
        resolve: &|path| fs::canonicalize(path).ok(),
        streams,
    };
    request(arguments, like, closure, &around, facts).map_err(NotRun)
}

/// The list itself, or what the file after an `@` holds.
fn closure_text(text: &str) -> Result<String, NotRun> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(file) => fs::read_to_string(file).map_err(|error| {
            let file = shown(Path::new(file));
            format!("--closure: {file}: {error}").into()
        }),
    }
}

/// Names what is missing before anything is made. What is missing later the launcher names.
fn check_sources(sources: &[(&'static str, PathBuf)]) -> Result<(), NotRun> {
    let mut lines = Vec::new();
    for (option, source) in sources {
        if let Err(error) = fs::metadata(source) {
            let cure = match *option {
                "--closure" => "",
                _ => "; write \"-\" before a source that may be missing",
            };
            lines.push(format!("{option}: {}: {error}{cure}", shown(source)));
        }
    }
    match lines.is_empty() {
        true => Ok(()),
        false => Err(NotRun(lines)),
    }
}

/// Runs with the caller's streams and returns the command's status.
async fn wait_for(systemd: Systemd, unit: &UnitDraft, held: &Held) -> Result<Ran, NotRun> {
    let terminal = Terminal::note();
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut follower = follower(systemd, unit, held).await?;
    let started = follower.systemd.start_run(unit, Some(streams)).await;
    let ended = match started {
        Ok(_) => follower.follow(Until::End).await,
        Err(error) => Err(error),
    };
    terminal.restore();
    // Neither of the two can fail on a unit that needs it, and the status is known.
    let _ = follower.systemd.reset_failed(&unit.name).await;
    let _ = follower.systemd.release(&unit.name).await;
    match ended? {
        Some(End::Status(status)) => Ok(Ran::Ended(status)),
        Some(End::NotStarted(line)) => Err(line.into()),
        None => Ok(Ran::Ended(OK)),
    }
}

/// Starts and says what was started.
async fn leave_alone(
    state: &Path,
    systemd: Systemd,
    unit: &UnitDraft,
    held: &Held,
    quiet: bool,
) -> Result<Ran, NotRun> {
    systemd.subscribe().await?;
    let mut follower = follower(systemd, unit, held).await?;
    let started = match follower.systemd.start_run(unit, None).await {
        Ok(_) => follower.follow(Until::Start).await,
        Err(error) => Err(error),
    };
    let ran = match started? {
        Some(End::NotStarted(line)) => return Err(line.into()),
        Some(End::Status(_)) => Ran::Left,
        None if is_read(state).await => Ran::Left,
        None => Ran::Reading,
    };
    if !quiet {
        report::line(&unit.name);
    }
    Ok(ran)
}

async fn follower<'a>(
    systemd: Systemd,
    unit: &'a UnitDraft,
    held: &Held,
) -> Result<Follower<'a>, NotRun> {
    Ok(Follower {
        changes: systemd.changes(&unit.name).await?,
        signals: Signals::open(held)?,
        systemd,
        unit: &unit.name,
        asked: None,
        times: 0,
    })
}

/// Waits until the launcher holds all that the spec file says, its id range included, or has ended. One that has to mount a
/// large image takes longer than anybody wants to wait.
async fn is_read(directory: &Path) -> bool {
    let steps = READ_LIMIT.as_millis() / READ_STEP.as_millis();
    for _ in 0..steps {
        if !directory.exists() || directory.join("state.json").exists() {
            return true;
        }
        manager::sleep(READ_STEP).await;
    }
    false
}

fn remove(claim: Claim) {
    let path = shown(&claim.path);
    if let Err(error) = claim.end() {
        report::warning(&format!("{path}: {error}"));
    }
}
