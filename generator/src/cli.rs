//! The command line: what was typed, and which verb does it.
//!
//! Exit status: 0 done, 1 something failed or is wrong with a declaration, 2 wrong usage. Help texts stand here and nowhere
//! else; completions are made from them.

mod check;
mod complete;
mod console;
mod create;
mod enable;
mod enter;
mod import;
mod jobs;
mod journal;
mod list;
mod names;
mod reason;
mod remove;
mod run;
mod show;
mod status;
mod unit_set;
mod view;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::apply::Layout;
use crate::declaration::keys::keys;
use crate::manager::{self, Systemd};
use crate::problem::shown;
use crate::report;

use names::{chdir, container, identity, variable};

/// Everything worked.
const OK: u8 = 0;
/// Something failed, or a declaration is wrong.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;

/// How long verbs that work without systemd wait for its version.
const VERSION_LIMIT: Duration = Duration::from_secs(2);

/// Declare system containers to systemd.
///
/// Every file /etc/skep/NAME.container becomes the unit skep@NAME.service; from then on systemctl and journalctl do the
/// rest. See skep.container(5) for the file.
#[derive(Debug, Parser)]
#[command(
    name = "skep",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct CommandLine {
    /// Read declarations below this directory
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make systemd's set of units equal the declarations
    Apply(ApplyArgs),
    /// Report everything that is wrong with the declarations
    Check(CheckArgs),
    /// Print the unit and the launch plan of a container, before anything runs
    Show(NameArg),
    /// Print a declaration with its drop-ins merged in
    Cat(CatArgs),
    /// Print the declaration that means what a systemd-nspawn settings file means
    Import(ImportArgs),
    /// List containers
    List(JsonArg),
    /// Show what is known about containers
    Status(StatusArgs),
    /// Start containers and wait until they are up
    Start(NameArgs),
    /// Stop containers and wait until they are down
    Stop(NameArgs),
    /// Restart containers, taking pending changes
    Restart(NameArgs),
    /// Boot containers again, their units stay active; wait until they are up
    Reboot(NameArgs),
    /// Start a container at every boot of the host
    Enable(NameArgs),
    /// Do not start a container at boot
    Disable(NameArgs),
    /// Make the tree or image of a container from a directory, an archive or an image
    Create(CreateArgs),
    /// Remove the tree or image of a container
    Remove(RemoveArgs),
    /// Run a command inside a running container
    Exec(ExecArgs),
    /// Open a shell inside a running container
    Shell(ShellArgs),
    /// Attach to the console of a running container
    Console(ConsoleArgs),
    /// Run a command in a throw-away container
    Run(Box<run::RunArgs>),
    /// Print the completion script of a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print all keys of declarations
    #[command(hide = true)]
    Keys,
    /// Print the names of all declared containers; for completions
    #[command(hide = true)]
    Names,
    /// Apply and start what boot wants; for skep.service
    #[command(hide = true)]
    Boot,
    /// Ask for an apply whenever a drop-in changes; for skep-dropins.service
    #[command(hide = true)]
    Watch,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Stop running containers that are no longer declared
    #[arg(long)]
    prune: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Wrong declarations are no failure; for skep-apply.service
    #[arg(long, hide = true)]
    from_unit: bool,
    /// Containers; all when none is named
    #[arg(value_name = "NAME", value_parser = container)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Declarations; all that are installed when none is named
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// NAME.nspawn, as systemd.nspawn(5) describes it
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct CatArgs {
    /// Print after each line the file and line it came from
    #[arg(long)]
    origin: bool,
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Show that many of the last console lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=1000))]
    lines: u32,
    /// Containers
    #[arg(value_name = "NAME", value_parser = container, required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct JsonArg {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NameArg {
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// Containers
    #[arg(value_name = "NAME", value_parser = container, required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Directory, tar archive (compressed or not) or image to make it from
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    from: PathBuf,
    /// Where the tree goes: by default where the container's declaration says, else /var/lib/machines/NAME
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    to: Option<PathBuf>,
    /// Declare the container too, unless it is declared already
    #[arg(long)]
    declare: bool,
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Remove the container's declaration in /etc/skep and its id range too
    #[arg(long)]
    declaration: bool,
    /// Leave the tree alone; with --declaration
    #[arg(long, requires = "declaration")]
    keep_tree: bool,
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
}

/// How to enter a container.
#[derive(Debug, Default, Args)]
struct EnterArgs {
    /// User and group inside the container, by number
    #[arg(long, value_name = "UID[:GID]", value_parser = identity)]
    user: Option<String>,
    /// Directory inside the container to start in
    #[arg(long, value_name = "DIR", value_parser = chdir)]
    chdir: Option<String>,
    /// Environment variable of the command
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<String>,
}

#[derive(Debug, Args)]
struct ShellArgs {
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
    #[command(flatten)]
    enter: EnterArgs,
}

#[derive(Debug, Args)]
struct ConsoleArgs {
    /// Write nothing
    #[arg(long)]
    read_only: bool,
    /// Show text only, without what the container does to the terminal
    #[arg(long)]
    clean: bool,
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// Container
    #[arg(value_name = "NAME", value_parser = container)]
    name: String,
    #[command(flatten)]
    enter: EnterArgs,
    /// Command and its arguments
    #[arg(value_name = "CMD", required = true, last = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// The definition of the command line, for whoever describes it.
pub fn definition() -> clap::Command {
    CommandLine::command()
}

/// Runs the command line and says how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match CommandLine::try_parse_from(arguments) {
        Ok(parsed) => {
            let status = dispatch(parsed);
            let Some(error) = report::unwritten() else {
                return ExitCode::from(status);
            };
            report::error_line(&format!("standard output: {error}"));
            ExitCode::from(status.max(FAILED))
        }
        Err(error) => {
            // Printing fails when the reader is gone, and then there is nobody to tell.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { OK })
        }
    }
}

fn dispatch(parsed: CommandLine) -> u8 {
    // The option of `run` is the tree of its container.
    let root = match &parsed.verb {
        Verb::Run(_) => None,
        _ => parsed.root.as_deref(),
    };
    let takes_root = match &parsed.verb {
        Verb::Check(_) | Verb::Cat(_) | Verb::Show(_) | Verb::Names => true,
        Verb::Apply(arguments) => arguments.dry_run,
        _ => false,
    };
    if root.is_some() && !takes_root {
        report::error_line("--root goes with check, cat, show and apply --dry-run only");
        return USAGE;
    }
    if let Some(root) = root.filter(|root| !root.is_dir()) {
        report::error_line(&format!("--root: {}: no such directory", shown(root)));
        return FAILED;
    }
    let other_root = root.is_some();
    let layout = match root {
        Some(root) => Layout::host().with_root(root),
        None => Layout::host(),
    };
    match parsed.verb {
        Verb::Apply(arguments) => unit_set::apply(&layout, &arguments, other_root),
        Verb::Boot => unit_set::boot(&layout),
        Verb::Watch => watch::watch(&layout),
        Verb::Check(arguments) => check::check(&layout, &arguments, other_root),
        Verb::Show(arguments) => show::show(&layout, &arguments.name, other_root),
        Verb::Cat(arguments) => show::cat(&layout, &arguments),
        Verb::Import(arguments) => import::import(&arguments),
        Verb::List(arguments) => list::list(&layout, arguments.json),
        Verb::Status(arguments) => status::status(&layout, &arguments),
        Verb::Start(arguments) => jobs::start(&layout, &arguments.names),
        Verb::Stop(arguments) => jobs::stop(&layout, &arguments.names),
        Verb::Restart(arguments) => jobs::restart(&layout, &arguments.names),
        Verb::Reboot(arguments) => jobs::reboot(&layout, &arguments.names),
        Verb::Enable(arguments) => enable::enable(&layout, &arguments.names),
        Verb::Disable(arguments) => enable::disable(&layout, &arguments.names),
        Verb::Create(arguments) => create::create(&layout, &arguments),
        Verb::Remove(arguments) => remove::remove(&layout, &arguments),
        Verb::Exec(arguments) => enter::exec(&arguments),
        Verb::Shell(arguments) => enter::shell(&arguments),
        Verb::Console(arguments) => console::console(&arguments),
        Verb::Completions { shell } => complete::completions(shell),
        Verb::Names => complete::names(&layout.root),
        Verb::Run(arguments) => run::run(&layout, &arguments),
        Verb::Keys => print_keys(),
    }
}

/// Version of the systemd that runs here; `None` when there is none, or none that answers soon: those who ask do without.
fn systemd_version() -> Option<u32> {
    let version = async { Systemd::connect().await.ok()?.version().await.ok() };
    zbus::block_on(manager::within(VERSION_LIMIT, version)).flatten()
}

/// The key table, one key per line: section, key, systemd version where it matters, help.
fn print_keys() -> u8 {
    let mut out = String::new();
    for row in keys() {
        let since = row
            .since
            .map(|version| format!(" (systemd {version})"))
            .unwrap_or_default();
        out.push_str(&format!(
            "[{}] {}=\t{}{since}\n",
            row.section, row.name, row.help
        ));
    }
    report::print(&out);
    OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }
}
