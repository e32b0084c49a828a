//! `cargo xtask`: the command line of the harness. Parses, calls the library, turns errors into an exit status.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use skep_tests::{
    artifact,
    bench::{self, bench},
    command::code,
    host::{self, Host, Os, Wanted},
    progress::step,
    suite, tool,
    tree::{self, Tree},
    tryout,
};

/// Builds, packages, tries and tests skep
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the release binaries
    Build,
    /// Build, and make the Debian package; prints its path
    Package,
    /// Boot this machine's own OS as a container, show it, and leave nothing
    Try,
    /// Run all checks and tests; with FILTER the tests whose names contain it
    Test { filter: Option<String> },
    /// Run the tests of every behaviour that earlier system containers had, and print behaviour, test, result
    Parity,
    /// Run the tests of the systemd Container Interface, and print check, result and reason
    Interface,
    /// Run the tests of every class of attacks on container managers, and print class, design, test, result
    Attacks,
    /// Measure skep next to systemd-nspawn and others, on a test host: a table, and target/bench.json
    Bench(bench::Options),
    /// Test hosts: real systemd as PID 1 in namespaces
    #[command(subcommand)]
    Host(HostVerb),
    #[command(hide = true)]
    HostSupervise {
        name: String,
        #[arg(long)]
        delegated: bool,
    },
    #[command(hide = true)]
    HostBoot { name: String, count: u32 },
    #[command(hide = true)]
    HostInit { name: String, boot: String },
}

#[derive(Debug, Subcommand)]
enum HostVerb {
    /// Boot a host, wait until it has settled, print its name
    Up(Up),
    /// Run a command in a host; its streams and status are ours, 128+N for signal N
    Exec {
        name: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Reboot a host and wait until it has settled again
    Reboot { name: String },
    /// Shut a host down and remove everything it had
    Down { name: String },
    /// List all hosts
    List,
    /// Build the OS trees that are missing: all of them, or those named
    Trees { names: Vec<String> },
}

#[derive(Debug, Args)]
struct Up {
    /// What the host runs
    #[arg(long, value_enum, default_value_t = Os::Own)]
    os: Os,
    /// Name of the host [default: made from the OS]
    #[arg(long)]
    name: Option<String>,
    /// Guest trees below /var/lib/machines: debian-12, debian-13, debian-sid, busybox, host, metal,
    /// sysvinit, openrc, runit, s6, shepherd, nesting, dinit (from a checkout that $SKEP_TEST_DINIT names)
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    guests: Vec<String>,
    /// Root on a loop-mounted ext4 image
    #[arg(long)]
    image: bool,
    /// Install this package instead of building one; `none` installs nothing
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
}

fn main() -> ExitCode {
    match perform(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build => artifact::build().map(|path| println!("{}", path.display()))?,
        Verb::Package => println!("{}", artifact::package(&artifact::build()?)?.display()),
        Verb::Try => tryout::run_try()?,
        Verb::Test { filter } => suite::test(filter.as_deref())?,
        Verb::Parity => suite::parity()?,
        Verb::Interface => suite::interface()?,
        Verb::Attacks => suite::attacks()?,
        Verb::Bench(options) => bench(&options)?,
        Verb::Host(verb) => return perform_host(verb),
        Verb::HostSupervise { name, delegated } => host::supervise(&name, delegated)?,
        Verb::HostBoot { name, count } => return host::boot(&name, count),
        Verb::HostInit { name, boot } => match host::init(&name, boot == "first")? {},
    }
    Ok(ExitCode::SUCCESS)
}

fn perform_host(verb: HostVerb) -> Result<ExitCode> {
    tool::require_root("test hosts")?;
    match verb {
        HostVerb::Up(up) => println!("{}", bring_up(up)?.name()),
        HostVerb::Exec { name, command } => {
            let status = Host::find(&name)?.command(command)?.status()?;
            return Ok(ExitCode::from(
                u8::try_from(code(status)).unwrap_or(u8::MAX),
            ));
        }
        HostVerb::Reboot { name } => {
            let host = Host::find(&name)?;
            step(format_args!("reboot of host {name}"), || host.reboot())?;
        }
        HostVerb::Down { name } => {
            let host = Host::find(&name)?;
            step(format_args!("host {name} goes down"), || host.down())?;
        }
        HostVerb::List => {
            for host in host::list()? {
                let init = host
                    .init()?
                    .map_or("off".to_owned(), |init| format!("up, init {}", init.pid));
                println!("{:<20} {:<10} {init}", host.name(), host.os().name());
            }
        }
        HostVerb::Trees { names } => {
            let known = |name: &String| {
                Tree::named(name).ok_or_else(|| anyhow::anyhow!("no tree is named {name}"))
            };
            let mut chosen: Vec<Tree> = names.iter().map(known).collect::<Result<_>>()?;
            if chosen.is_empty() {
                chosen.extend(tree::ALL.iter().filter(|tree| tree.can_be_built()));
            }
            for tree in chosen {
                println!("{}", tree.ready()?.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bring_up(up: Up) -> Result<Host> {
    if up.image && up.os == Os::Own {
        bail!("--image copies a whole OS: use it with --os bookworm, trixie or sid");
    }
    for guest in &up.guests {
        if guest != "host" && (Tree::named(guest).is_none() || guest.ends_with("-host")) {
            bail!("no guest is named {guest}: debian-12, debian-13, debian-sid, busybox, host");
        }
    }
    let package = match up.package {
        None => Some(artifact::package(&artifact::build()?)?),
        Some(file) if file.as_os_str() == "none" => None,
        given => given,
    };
    let wanted = Wanted {
        os: up.os,
        name: up.name,
        guests: up.guests,
        image: up.image,
        package,
        owned: false,
    };
    step(format!("test host of {}", wanted.os), || Host::up(wanted))
}
