//! `cargo xtask bench`: skep next to its peers, all of them in the same run on the same test host.
//!
//! The driver measures inside the host, as a service of its own, so that nothing of the harness is in the figures; this
//! module builds it, brings a host up for it, and shows what it printed.

pub mod figure;
mod table;

use std::{fs, path::PathBuf, process::Stdio, thread::available_parallelism};

use anyhow::{Context, Result, bail};

use self::{
    figure::{Row, SECTIONS},
    table::{Origin, Report},
};
use crate::{
    artifact,
    command::{capture, code},
    host::{Host, Os, Wanted},
    place,
    progress::{note, step},
};

/// Where the driver is in the host.
const DRIVER: &str = "/run/skep-bench/driver";

/// What is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What the host runs
    #[arg(long, value_enum, default_value_t = Os::Trixie)]
    pub os: Os,
    /// Print JSON instead of the table; target/bench.json is written in any case
    #[arg(long)]
    pub json: bool,
    /// Measure these sections only: true fleet debian-12 debian-13 stop apply files network
    #[arg(value_name = "SECTION")]
    pub sections: Vec<String>,
}

/// Measures, prints, and leaves nothing but target/bench.json.
pub fn bench(options: &Options) -> Result<()> {
    for name in &options.sections {
        if !SECTIONS.iter().any(|section| section.name == name) {
            bail!(
                "no section is named {name}: true fleet debian-12 debian-13 stop apply files network"
            );
        }
    }
    let package = artifact::package(&artifact::build()?)?;
    let driver = step("bench driver (static)", build_driver)?;
    let wanted = Wanted {
        os: options.os,
        name: Some(format!("bench-{}", std::process::id())),
        guests: ["busybox", "debian-12", "debian-13"]
            .map(str::to_owned)
            .to_vec(),
        image: false,
        package: Some(package),
        owned: true,
    };
    let host = step(format_args!("test host of {}", options.os), || {
        Host::up(wanted)
    })?;
    let measured = measure(&host, &driver, options);
    let down = step("the test host goes down", || host.down());
    let (report, complete) = measured?;
    down?;
    let json = serde_json::to_string_pretty(&report)?;
    let file = place::target()?.join("bench.json");
    fs::write(&file, &json).with_context(|| format!("cannot write {}", file.display()))?;
    if options.json {
        println!("{json}");
    } else {
        print!("{}", report.table());
    }
    for missed in report.missed() {
        note(format_args!("target missed: {missed}"));
    }
    note(format_args!("as JSON: {}", file.display()));
    if !complete {
        bail!("some sections could not be measured");
    }
    Ok(())
}

/// Builds the driver; static, because the libraries of the host may be older than ours.
fn build_driver() -> Result<PathBuf> {
    let mut command = place::cargo();
    command.args([
        "rustc",
        "--release",
        "--package=skep-tests",
        "--bench=driver",
    ]);
    command.args([
        "--message-format=json-render-diagnostics",
        "--",
        "-C",
        "target-feature=+crt-static",
    ]);
    command.stderr(Stdio::inherit());
    let messages = capture(&mut command)?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "driver";
        message["executable"]
            .as_str()
            .filter(|_| ours)
            .map(PathBuf::from)
    };
    messages
        .lines()
        .find_map(executable)
        .context("cargo names no executable of the bench driver")
}

fn measure(host: &Host, driver: &std::path::Path, options: &Options) -> Result<(Report, bool)> {
    host.write(DRIVER, fs::read(driver)?)?;
    host.exec(["chmod", "755", DRIVER])?.ok()?;
    // A unit of its own: programs that make cgroups need one that is theirs.
    let service = [
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        "--service-type=exec",
    ];
    let settings = [
        "--property=Delegate=yes",
        "--property=TasksMax=infinity",
        "--unit=skep-bench",
    ];
    let words = service.into_iter().chain(settings).chain([DRIVER]);
    let mut command = host.command(words.chain(options.sections.iter().map(String::as_str)))?;
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the bench driver")?;
    let lines = String::from_utf8(output.stdout)?;
    let rows = lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    let rows = rows.collect::<Result<Vec<Row>>>()?;
    let complete = output.status.success();
    if !complete {
        note(format_args!(
            "the bench driver failed with status {}",
            code(output.status)
        ));
    }
    Ok((Report::new(origin(host)?, &rows), complete))
}

fn origin(host: &Host) -> Result<Origin> {
    let systemd = host.exec(["systemctl", "--version"])?.ok()?;
    let systemd = systemd.split(['(', ')']).nth(1).unwrap_or_default();
    Ok(Origin {
        os: host.os().to_string(),
        systemd: systemd.to_owned(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        processors: available_parallelism()?.get(),
    })
}
