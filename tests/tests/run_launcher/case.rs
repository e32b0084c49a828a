//! One call of `launcher run` on a host.

use anyhow::{Context, Result, ensure};
use skep_spec::{
    Access, Bind, Command, ContainerSpec, Content, Missing, Root, SpecFile, Streams, Users, VERSION,
};
use skep_tests::host::{Done, Host};

/// First host id of every container here; they run one after the other.
pub(crate) const BASE: u32 = 1_900_019_712;

/// What to run, and in what.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) spec: ContainerSpec,
}

impl Case {
    /// A command in a fresh root that sees the host's programs.
    pub(crate) fn new(argv: &[&str]) -> Case {
        let root = Root {
            path: None,
            template: None,
            access: Access::Write,
        };
        let mut spec = ContainerSpec::of(root, Users::Private { base: BASE });
        spec.binds = ["/usr", "/bin", "/lib", "/lib64", "/sbin"]
            .map(|path| read_only(path, path))
            .into();
        spec.command = Some(Command {
            argv: argv.iter().map(ToString::to_string).collect(),
            user: (0, 0),
            directory: None,
            init: false,
            pid_file: None,
            streams: Streams::Pipes,
        });
        Case { spec }
    }

    /// A shell script.
    pub(crate) fn sh(script: &str) -> Case {
        Case::new(&["bash", "-c", script])
    }

    /// Changes the spec.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ContainerSpec)) -> Case {
        change(&mut self.spec);
        self
    }

    /// Changes how the command runs.
    pub(crate) fn command(self, change: impl FnOnce(&mut Command)) -> Case {
        self.with(|spec| {
            spec.command
                .iter_mut()
                .take(1)
                .for_each(change_once(change))
        })
    }

    /// Writes its spec to the host.
    pub(crate) fn write(&self, host: &Host, name: &str) -> Result<()> {
        host.write(&format!("/run/skep/run/{name}.json"), self.text(name)?)
    }

    /// Lines of a script that write its spec and lock it while the script runs: an apply removes those that nobody holds.
    pub(crate) fn writes(&self, name: &str) -> Result<String> {
        let text = self.text(name)?;
        Ok(format!(
            "file=/run/skep/run/{name}.json; until exec 9>$file; flock 9; [ $file -ef /proc/self/fd/9 ]; do :; done\n\
             cat >&9 <<'END'\n{text}\nEND\n"
        ))
    }

    fn text(&self, name: &str) -> Result<String> {
        let file = SpecFile {
            version: VERSION,
            name: name.to_owned(),
            id: "0".to_owned(),
            content: Content::Boot(Box::new(self.spec.clone())),
        };
        serde_json::to_string(&file).context("spec")
    }

    /// Runs it in a unit of its own, as `skep run` does.
    pub(crate) fn run(&self, host: &Host) -> Result<Done> {
        let spec = self.writes("trial")?;
        script(host, &format!("{spec}{UNIT} </dev/null 9>&-"))
    }

    /// Fails unless it exits with `status` and prints exactly `output`.
    pub(crate) fn gives(&self, host: &Host, status: i32, output: &str) -> Result<()> {
        let done = self.run(host)?;
        let (got, text) = (done.status(), done.stdout());
        ensure!(
            got == status && text == output,
            "{:?}\nends with {got:?}, not {status}, and prints {text:?}, not {output:?}\n{}",
            self.spec.command,
            done.stderr()
        );
        Ok(())
    }
}

fn change_once<T>(change: impl FnOnce(&mut T)) -> impl FnMut(&mut T) {
    let mut change = Some(change);
    move |value| {
        if let Some(change) = change.take() {
            change(value);
        }
    }
}

/// The call that runs `trial` in a unit.
pub(crate) const UNIT: &str = "systemd-run --quiet --pipe --wait --collect --service-type=exec -p Delegate=yes \
    -p RuntimeDirectory=skep/machine/trial /usr/libexec/skep/launcher run trial";

/// Shell functions: `in_cgroup NAME` runs a spec in a new cgroup, and says when one of its processes is left.
const FUNCTIONS: &str = r#"
in_cgroup() {
    local group=/sys/fs/cgroup/trial-$BASHPID status
    grep -q ' - cgroup2 ' /proc/self/mountinfo
    [ -e /sys/fs/cgroup/unified ] && group=/sys/fs/cgroup/unified/trial-$BASHPID
    mkdir "$group"
    bash -c 'echo $$ >"$1/cgroup.procs"; exec /usr/libexec/skep/launcher run "$2"' - "$group" "$1"
    status=$?
    for try in 1 2 3 4 5 6 7 8 9; do rmdir "$group/supervisor" "$group" 2>/dev/null && break; sleep 0.05; done
    [ -e "$group" ] && echo "left: $(cat "$group"/*/cgroup.procs "$group/cgroup.procs")"
    return $status
}
"#;

/// Runs a bash script on the host.
pub(crate) fn script(host: &Host, text: &str) -> Result<Done> {
    host.exec(["timeout", "90", "bash", "-c", &format!("{FUNCTIONS}{text}")])
}

/// Fails unless a script prints exactly `want`.
pub(crate) fn prints(host: &Host, text: &str, want: &str) -> Result<()> {
    let done = script(host, text)?;
    let got = done.stdout().replace('\r', "");
    ensure!(
        got == want,
        "{text}\nprints {got:?}, not {want:?}\n{}",
        done.stderr()
    );
    Ok(())
}

/// A read-only bind, left out when there is no source.
pub(crate) fn read_only(source: &str, target: &str) -> Bind {
    Bind {
        source: source.into(),
        target: target.into(),
        read_only: true,
        missing: Missing::Skip,
        recursive: true,
        idmap: false,
        nosuid: true,
        nodev: true,
    }
}
