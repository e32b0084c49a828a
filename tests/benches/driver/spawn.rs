//! From exec to exit of /bin/true in all namespaces with private ids.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use skep_spec::{
    Access, ContainerSpec, Content, LAUNCHER, Root, STATE_DIR, SpecFile, Users, VERSION,
};
use skep_tests::{
    bench::figure::Row,
    command::{program, shown},
    wait::timed,
};

use crate::{
    floor, times,
    unit::{MACHINES, make_tiny_tree, milliseconds},
};

const NAME: &str = "bench-true";
const SPEC: &str = "/run/skep-bench/true.json";
const BASE: u32 = 1_879_048_192;

const WARM_UP: usize = 5;
const RUNS: usize = 60;

struct Contender {
    name: &'static str,
    /// Its cgroup: like a unit's, with nothing of others in it.
    cgroup: PathBuf,
    /// None for the bare clone, which this process does itself.
    command: Option<Command>,
    samples: Vec<f64>,
}

/// All contenders in turn.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let tree = Path::new(MACHINES).join(NAME);
    make_tiny_tree(&tree)?;
    write_spec(&tree)?;
    let own = own_cgroup()?;
    let mut contenders = Vec::new();
    for (name, command) in commands(&tree) {
        let cgroup = own
            .join(format!("bench-{}", contenders.len()))
            .join("supervisor");
        fs::create_dir_all(&cgroup)?;
        contenders.push(Contender {
            name,
            cgroup,
            command,
            samples: Vec::new(),
        });
    }
    for round in 0..WARM_UP + RUNS {
        for contender in &mut contenders {
            let time = contender.run(&tree).with_context(|| contender.name)?;
            if round >= WARM_UP {
                contender.samples.push(time);
            }
        }
    }
    // Back to where systemd expects us.
    fs::create_dir_all(own.join("main"))?;
    fs::write(own.join("main/cgroup.procs"), "0")?;
    let rows = contenders.into_iter();
    Ok(rows
        .map(|contender| times("true", contender.name, contender.samples))
        .collect())
}

impl Contender {
    fn run(&mut self, tree: &Path) -> Result<f64> {
        fs::write(self.cgroup.join("cgroup.procs"), "0")?;
        let Some(command) = &mut self.command else {
            let busybox = tree.join("bin/true");
            let (result, time) = timed(|| floor::run(&busybox.to_string_lossy(), BASE));
            return result.map(|()| milliseconds(time));
        };
        let (status, time) = timed(|| command.status());
        let status = status.with_context(|| format!("cannot run {}", shown(command)))?;
        ensure!(status.success(), "{} ended with {status}", shown(command));
        Ok(milliseconds(time))
    }
}

/// The same work for everybody: a small tree as root, all namespaces, /proc, no terminal. unshare maps one id only,
/// because more takes newuidmap(1).
fn commands(tree: &Path) -> Vec<(&'static str, Option<Command>)> {
    let root = tree.to_string_lossy();
    let mut ours = program(LAUNCHER, ["boot", "--spec", SPEC]);
    ours.env_remove("NOTIFY_SOCKET");
    let unshare = program(
        "unshare",
        [
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--user",
            "--map-root-user",
            "--fork",
        ]
        .into_iter()
        .chain(["--mount-proc", "--root", root.as_ref(), "/bin/true"]),
    );
    let bwrap = program(
        "bwrap",
        [
            "--unshare-all",
            "--bind",
            root.as_ref(),
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        .into_iter()
        .chain(["--tmpfs", "/run", "--tmpfs", "/tmp", "/bin/true"]),
    );
    let users = format!("--private-users={BASE}:65536");
    let nspawn = program(
        "systemd-nspawn",
        [
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--link-journal=no",
        ]
        .into_iter()
        .chain([
            "--settings=no",
            "--console=pipe",
            &users,
            "--private-users-ownership=map",
        ])
        .chain(["--directory", root.as_ref(), "/bin/true"]),
    );
    let quiet = |mut command: Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Some(command)
    };
    vec![
        ("skep", quiet(ours)),
        ("bare clone", None),
        ("unshare", quiet(unshare)),
        ("bwrap --unshare-all", quiet(bwrap)),
        ("systemd-nspawn", quiet(nspawn)),
    ]
}

fn write_spec(tree: &Path) -> Result<()> {
    let root = Root {
        path: Some(tree.to_owned()),
        template: None,
        access: Access::Write,
    };
    let content = ContainerSpec {
        init: Some("/bin/true".into()),
        notify_ready: Some(false),
        ..ContainerSpec::of(root, Users::Private { base: BASE })
    };
    let spec = SpecFile {
        version: VERSION,
        name: NAME.into(),
        id: NAME.into(),
        content: Content::Boot(Box::new(content)),
    };
    fs::write(SPEC, serde_json::to_string(&spec)?)?;
    fs::set_permissions(SPEC, fs::Permissions::from_mode(0o600))?;
    // The unit's RuntimeDirectory=.
    fs::create_dir_all(Path::new(STATE_DIR).join(NAME))?;
    Ok(())
}

fn own_cgroup() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .context("no cgroup2")?;
    Ok(Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/')))
}
