//! The launcher's command line. Administrators use `skep`; only units and `skep` run this.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use lexopt::{Arg, Parser, ValueExt};
use skep_spec::{ContainerSpec, Content, LAUNCHER, SpecFile, Users};

use crate::attach::{self, Attach};
use crate::exec::Stdio;
use crate::exec::parent::{Launched, Running, launch};
use crate::handed::{self, Handed};
use crate::join::{self, Request, sealed};
use crate::load::{is_name, keep_spec, load_kept, load_spec, parse_spec, spec_path};
use crate::lock::TREES;
use crate::net::join::{Owner, await_owner};
use crate::prepare::{Prepared, prepare};
use crate::run::{self, Keep};
use crate::step::{At, StepError};
use crate::store::GcRoot;
use crate::supervise::describe::PREPARING;
use crate::supervise::ends::Memory;
use crate::supervise::publish::Publisher;
use crate::supervise::signals::Signals;
use crate::supervise::state::Outcome;
use crate::supervise::{Boot, Ending, notify, supervise};
use crate::template::{self, Made};
use crate::{cgroup, log, net};

const USAGE: &str = "\
usage: launcher boot NAME | boot --spec FILE
       launcher run NAME | run --spec FILE [--consume]
       launcher plan NAME | plan --spec FILE|-
       launcher exec NAME [--user UID[:GID]] [--chdir DIR] [--env NAME=VALUE]... -- COMMAND [ARGUMENT...]
       launcher shell NAME [--user UID[:GID]]
       launcher console NAME [--read-only] [--clean]
       launcher clean [--rules]

Boots one system container that skep(1) declared, runs a single command in a new one, enters one, attaches to the console of
one, or clears away what killed ones left on the host's network. See skep-launcher(8).
";

/// Exit status of a wrong command line.
const EXIT_USAGE: u8 = 2;

/// Exit status of a refused declaration: EX_CONFIG of sysexits.h, which systemd shows as "CONFIG".
const EXIT_CONFIG: u8 = 78;

/// Tells the next boot that the unit is active. No argument: a launcher of another release would refuse that.
const ACTIVE: &str = "SKEP_ACTIVE";

enum Verb {
    Boot(PathBuf),
    Run(PathBuf, Keep),
    Plan(PathBuf),
    Enter(Request),
    Attach(Attach),
    Clean { rules: bool },
    Help,
    Version,
}

/// Runs the program and returns its exit status.
pub fn run() -> ExitCode {
    match parse(Parser::from_env()) {
        Ok(Verb::Boot(spec)) => report(boot(&spec)),
        Ok(Verb::Run(spec, keep)) => run::run(&spec, keep),
        Ok(Verb::Plan(spec)) => report(plan(&spec)),
        Ok(Verb::Enter(request)) => join::run(request),
        Ok(Verb::Attach(request)) => attach::run(&request),
        Ok(Verb::Clean { rules }) => {
            let done = if rules { net::rewrite() } else { net::clean() };
            report(done.map(|()| ExitCode::SUCCESS))
        }
        Ok(Verb::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Verb::Version) => {
            println!("skep-launcher {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprint!("launcher: {err}\n{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn report(result: Result<ExitCode, StepError>) -> ExitCode {
    result.unwrap_or_else(|err| {
        log::line(&err);
        // A path that a guest chose would say more to the service manager with a newline.
        let text = log::printable(&err.to_string(), 400);
        notify::tell(&format!("STATUS=Failed: {text}\nERRNO={}", err.errno));
        ExitCode::FAILURE
    })
}

fn parse(mut args: Parser) -> Result<Verb, lexopt::Error> {
    let Some(first) = args.next()? else {
        return Err("a verb is missing".into());
    };
    match first {
        Arg::Long("help") | Arg::Short('h') => Ok(Verb::Help),
        Arg::Long("version") => Ok(Verb::Version),
        Arg::Value(verb) => match verb.to_str() {
            Some("boot") => parse_spec_path(&mut args).map(Verb::Boot),
            Some("run") => parse_run(&mut args),
            Some("plan") => parse_spec_path(&mut args).map(Verb::Plan),
            Some("clean") => match args.next()? {
                None => Ok(Verb::Clean { rules: false }),
                Some(Arg::Long("rules")) => Ok(Verb::Clean { rules: true }),
                Some(other) => Err(other.unexpected()),
            },
            Some("exec") => parse_request(&mut args, false).map(Verb::Enter),
            Some("shell") => parse_request(&mut args, true).map(Verb::Enter),
            Some("console") => parse_attach(&mut args).map(Verb::Attach),
            _ => Err(format!("unknown verb {verb:?}").into()),
        },
        other => Err(other.unexpected()),
    }
}

fn parse_spec_path(args: &mut Parser) -> Result<PathBuf, lexopt::Error> {
    let mut path = None;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("spec") => path = Some(PathBuf::from(args.value()?)),
            Arg::Value(name) if path.is_none() => path = Some(spec_path(&parse_name(name)?)),
            other => return Err(other.unexpected()),
        }
    }
    path.ok_or_else(|| "a container name is missing".into())
}

fn parse_run(args: &mut Parser) -> Result<Verb, lexopt::Error> {
    let (mut path, mut keep) = (None, Keep::Spec);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("consume") => keep = Keep::Nothing,
            Arg::Long("spec") => path = Some(PathBuf::from(args.value()?)),
            Arg::Value(name) if path.is_none() => path = Some(run::spec_path(&parse_name(name)?)),
            other => return Err(other.unexpected()),
        }
    }
    let path = path.ok_or_else(|| lexopt::Error::from("a container name is missing"))?;
    Ok(Verb::Run(path, keep))
}

fn parse_attach(args: &mut Parser) -> Result<Attach, lexopt::Error> {
    let mut request = Attach::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("read-only") => request.read_only = true,
            Arg::Long("clean") => request.clean = true,
            Arg::Value(name) if request.name.is_empty() => request.name = parse_name(name)?,
            other => return Err(other.unexpected()),
        }
    }
    if request.name.is_empty() {
        return Err("a container name is missing".into());
    }
    Ok(request)
}

fn parse_name(name: OsString) -> Result<String, lexopt::Error> {
    let name = name.string()?;
    if is_name(&name) {
        Ok(name)
    } else {
        Err(format!("not a container name: {name:?}").into())
    }
}

fn parse_request(args: &mut Parser, shell: bool) -> Result<Request, lexopt::Error> {
    let mut name = None;
    let mut request = Request::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("user") => {
                let text = args.value()?.string()?;
                request.user = join::parse_user(&text).ok_or_else(|| {
                    lexopt::Error::from(format!(
                        "--user takes numbers, UID or UID:GID below 65536, not {text:?}"
                    ))
                })?;
            }
            Arg::Long("chdir") => request.directory = args.value()?.string()?,
            Arg::Long("env") => {
                let text = args.value()?.string()?;
                if !text.contains('=') || text.starts_with('=') {
                    return Err(format!("--env takes NAME=VALUE, not {text:?}").into());
                }
                request.environment.push(text);
            }
            Arg::Value(value) if name.is_none() => name = Some(parse_name(value)?),
            Arg::Value(value) if !shell => {
                request.command.push(value);
                request.command.extend(args.raw_args()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    request.name = name.ok_or_else(|| lexopt::Error::from("a container name is missing"))?;
    if !shell && request.command.is_empty() {
        return Err("a command is missing".into());
    }
    Ok(request)
}

fn boot(path: &Path) -> Result<ExitCode, StepError> {
    let begun = Instant::now();
    // The guest gets the sockets that systemd passes, and nothing else that is open.
    let handed = Handed::of_environment()?;
    handed.keep_nothing_else()?;
    std::env::set_current_dir("/").at("enter", "/")?;
    let signals = Signals::block()?;
    let file = load_for_boot(path)?;
    let spec = match &file.content {
        Content::Boot(spec) => spec.clone(),
        Content::Refuse(problems) => return Ok(refuse(problems)),
    };
    if spec.process_two && spec.users == Users::Host {
        // Our init is this program, and root of the initial user namespace could reach its file through /proc.
        sealed::ensure(&handed)?;
    }
    let memory = Memory::begin(&file.name);
    let boot = match std::env::var_os(ACTIVE) {
        None => Boot::First,
        Some(_) => Boot::Again,
    };
    let mut held = None;
    let mut ending = boot_once(file, &spec, &signals, begun, boot, &mut held);
    // Asked for after the last look of the supervisor: not to be lost in the next boot.
    if let Ok(ending) = &mut ending
        && ending.outcome == Outcome::Reboot
        && signals.stop_requested_after_end()?
    {
        ending.outcome = Outcome::Stopped;
    }
    memory.end(&ending);
    let ending = ending?;
    let next = match ending.ready {
        true => Boot::Again,
        false => boot,
    };
    finish(ending.outcome, path, next)
}

/// The spec to boot. A container that reboots while its declaration is wrong boots the one it had: what runs goes on running.
fn load_for_boot(path: &Path) -> Result<SpecFile, StepError> {
    let file = load_spec(path)?;
    let Content::Refuse(problems) = &file.content else {
        keep_spec(&file)?;
        return Ok(file);
    };
    let Some(before) = load_kept(&file.name) else {
        return Ok(file);
    };
    problems.iter().for_each(log::line);
    log::line("the declaration is wrong; the container boots as before");
    Ok(before)
}

/// What is kept until the process ends or executes itself anew: locks, and what keeps a store's collector away.
type Held = Option<(Vec<OwnedFd>, Option<GcRoot>)>;

/// From an empty unit to the end of the container.
fn boot_once(
    file: SpecFile,
    spec: &ContainerSpec,
    signals: &Signals,
    begun: Instant,
    boot: Boot,
    held: &mut Held,
) -> Result<Ending, StepError> {
    if let (Some(root), Some(template)) = (&spec.root.path, &spec.root.template)
        && template::make(root, template, signals, Path::new(TREES))? == Made::Stopped
    {
        return Ok(Outcome::Stopped.into());
    }
    notify::tell(&format!("STATUS={PREPARING}"));
    let Some(prepared) = prepare(file, spec, Some(signals))? else {
        return Ok(Outcome::Stopped.into());
    };
    let Prepared {
        file,
        host,
        tree,
        mut plan,
        locks,
        kept,
    } = prepared;
    *held = Some((locks, kept));
    if boot == Boot::Again && await_owner(&plan.net, signals)? == Owner::Gone {
        return Ok(Outcome::Stopped.into());
    }
    let sockets = plan.sockets.len();
    let payload = cgroup::prepare(&host, plan.ids.host(0))?;
    let launched = launch(&plan, &tree, &payload, signals, Stdio::Console)?;
    // From here on only the container's mounts keep an image busy.
    drop(tree);
    let ending = match launched {
        Launched::Stopped => Outcome::Stopped.into(),
        Launched::Running(leader) => {
            let mut running = Running::of(*leader)?;
            let leader = running.leader.pid.as_raw();
            let mut publisher = Publisher::new(&plan, &file.id, leader, begun)?;
            publisher.export(running.export.as_fd());
            // The next boot plans anew, and until then they would only take memory.
            drop((file, host, std::mem::take(&mut plan.mounts)));
            supervise(&plan, &mut running, signals, publisher, boot)?
        }
    };
    if ending.outcome == Outcome::Reboot {
        // For the next boot, by the same process.
        handed::pass_on(sockets)?;
    }
    Ok(ending)
}

fn refuse(problems: &[String]) -> ExitCode {
    for problem in problems {
        log::line(problem);
    }
    let more = if problems.len() > 1 {
        format!(" (and {} more)", problems.len() - 1)
    } else {
        String::new()
    };
    notify::tell(&format!(
        "STATUS=Refused: {}{more}",
        problems.first().map_or("", String::as_str)
    ));
    ExitCode::from(EXIT_CONFIG)
}

fn finish(outcome: Outcome, path: &Path, next: Boot) -> Result<ExitCode, StepError> {
    match outcome {
        Outcome::Stopped => {
            notify::tell("STATUS=Stopped");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::PoweredOff => {
            log::line("the container powered off");
            // One that ends well during its boot has not failed to start. Two messages: STOPPING=1 would win over READY=1.
            notify::tell("READY=1");
            notify::tell("STOPPING=1\nSTATUS=Powered off");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Reboot => Err(boot_again(path, next)),
        Outcome::Failed(status) => {
            log::line(format_args!("the init exited with status {status}"));
            notify::tell(&format!(
                "STATUS=Failed: the init exited with status {status}\nEXIT_STATUS={status}"
            ));
            Ok(ExitCode::from(u8::try_from(status).unwrap_or(1).max(1)))
        }
        Outcome::Crashed(signal) => {
            log::line(format_args!("the init was killed by {signal}"));
            notify::tell(&format!("STATUS=Failed: the init was killed by {signal}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Executes the installed launcher anew: the same main process for systemd, nothing left over from the last boot, and a
/// changed spec or an upgraded launcher takes effect. Returns only on failure.
fn boot_again(path: &Path, boot: Boot) -> StepError {
    log::line("the container reboots");
    notify::tell("STATUS=Rebooting");
    let installed = Path::new(LAUNCHER);
    let program = if installed.exists() {
        installed
    } else {
        Path::new("/proc/self/exe")
    };
    let mut command = Command::new(program);
    command.arg("boot").arg("--spec").arg(path);
    if boot == Boot::Again {
        command.env(ACTIVE, "yes");
    }
    let error = command.exec();
    match Err::<(), _>(error).at("execute", program.display()) {
        Err(err) => err,
        Ok(()) => StepError::new("execute", program.display()),
    }
}

fn plan(path: &Path) -> Result<ExitCode, StepError> {
    let file = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .at("read", "standard input")?;
        parse_spec(&text)?
    } else {
        load_spec(path)?
    };
    match &file.content {
        Content::Refuse(problems) => Ok(refuse(problems)),
        Content::Boot(spec) => {
            let spec = spec.clone();
            if let Some(prepared) = prepare(file, &spec, None)? {
                print!("{}", prepared.plan);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
