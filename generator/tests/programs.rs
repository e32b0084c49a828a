//! What other programs make of ours: shells of the completion scripts, a formatter of the manual pages. One that is not
//! installed leaves its trial ignored, and says so.
//!
//! Keys are typed at a terminal, and what the completed line then runs is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::pty::openpty;
use skep::cli::definition;
use tempfile::TempDir;

/// How long a shell may take for one line.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let shells = SHELLS.map(|(name, shell, first)| {
        let library = first.strip_prefix(". ").unwrap_or("/");
        trial(name, &[shell, library], move || complete(shell, first))
    });
    let trials = shells
        .into_iter()
        .chain([trial("mandoc", &["mandoc"], lint)]);
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Trials: a name, the shell, and what it runs before our script. bash splits words in other ways as it is told.
const SHELLS: [(&str, &str, &str); 5] = [
    ("bash", "bash", "true"),
    ("bash_without_hosts", "bash", "shopt -u hostcomplete"),
    (
        "bash_with_library",
        "bash",
        ". /usr/share/bash-completion/bash_completion",
    ),
    ("zsh", "zsh", "true"),
    ("fish", "fish", "true"),
];

/// A trial with programs, or files by their paths.
fn trial(
    name: &str,
    needs: &[&str],
    run: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Trial {
    let trial = Trial::test(name, move || run().map_err(Failed::from));
    match needs.iter().find(|program| !installed(program)) {
        None => trial,
        Some(missing) => trial
            .with_ignored_flag(true)
            .with_kind(format!("needs {missing}: cargo xtask test installs it")),
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// groff formats the pages in another test; mandoc sees more.
fn lint() -> Result<(), String> {
    for page in ["skep.1", "skep.container.5", "skep-launcher.8"] {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man");
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(pages.join(page))
            .output();
        let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        // A date would change with each build.
        if said.lines().any(|line| !line.contains("missing date")) {
            return Err(said);
        }
    }
    Ok(())
}

/// What is typed before the tabulator, and the arguments of the command that runs.
fn cases() -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = definition()
        .get_subcommands()
        .filter(|verb| {
            let takes = |one: &clap::Arg| one.get_value_names() == Some(&["NAME".into()]);
            verb.get_positionals().any(takes)
        })
        .map(|verb| {
            let verb = verb.get_name();
            (format!("{verb} un"), format!("{verb} unique-one"))
        })
        .collect();
    assert!(cases.len() > 10, "{cases:?}");
    for (typed, want) in [
        ("statu", "status"),
        ("start tem@fi", "start tem@first"),
        ("start unique-one we", "start unique-one web.site"),
        ("run --like un", "run --like unique-one"),
        ("--root / show un", "--root / show unique-one"),
        ("status --js", "status --json"),
        ("status --json un", "status --json unique-one"),
        // Nothing to complete with.
        ("list un", "list un"),
        ("exec web.site -- un", "exec web.site -- un"),
    ] {
        cases.push((typed.to_owned(), want.to_owned()));
    }
    cases
}

/// A place with the scripts, declarations, and a `skep` that notes how it was called.
struct Place(TempDir);

impl Place {
    fn new(shell: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for directory in [
            "bin",
            "empty",
            "home",
            "zsh",
            "fish/completions",
            "root/etc/skep",
        ] {
            fs::create_dir_all(place.at(directory)).unwrap();
        }
        for name in ["unique-one", "web.site", "tem@first", "tem@second"] {
            let path = place.at("root/etc/skep").join(format!("{name}.container"));
            fs::write(path, "[Container]\nRoot=/srv/tree\n").unwrap();
        }
        let real = env!("CARGO_BIN_EXE_skep");
        let (root, calls) = (place.at("root"), place.at("calls"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\nnames) exec {real} names --root {} ;;\n*) echo \"$*\" >> {} ;;\nesac\n",
            root.display(),
            calls.display()
        );
        let program = place.at("bin/skep");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let script = Command::new(real).args(["completions", shell]).output();
        let file = match shell {
            "zsh" => "zsh/_skep",
            "fish" => "fish/completions/skep.fish",
            _ => "skep.bash",
        };
        fs::write(place.at(file), script.unwrap().stdout).unwrap();
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A shell at a terminal of its own.
struct Session {
    shell: Child,
    terminal: File,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Session {
    fn start(shell: &str, place: &Place) -> Session {
        let pty = openpty(None, None).unwrap();
        let [input, output, error] = [(); 3].map(|()| File::from(pty.slave.try_clone().unwrap()));
        let path = std::env::var("PATH").unwrap_or_default();
        let arguments: &[&str] = match shell {
            "bash" => &["--noprofile", "--norc", "-i"],
            "zsh" => &["-f", "-i"],
            _ => &["-i"],
        };
        // Without a terminal that controls it an interactive shell is none.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", shell])
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:{path}", place.at("bin").display()))
            .env("HOME", place.at("home"))
            .env("XDG_CONFIG_HOME", place.0.path())
            .env("XDG_DATA_HOME", place.at("home"))
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8")
            .current_dir(place.at("empty"))
            .stdin(input)
            .stdout(output)
            .stderr(error)
            .spawn();
        let terminal = File::from(pty.master);
        let mut reader = terminal.try_clone().unwrap();
        // A terminal that nobody reads stops its writer.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        Session {
            shell: child.unwrap(),
            terminal,
        }
    }

    fn key_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }
}

fn set_up(shell: &str, place: &Place) -> String {
    let path = |path: &str| place.at(path).display().to_string();
    match shell {
        "bash" => format!(". {}", path("skep.bash")),
        "zsh" => format!(
            "fpath=({} $fpath); autoload -Uz compinit; compinit -u -D",
            path("zsh")
        ),
        _ => "true".to_owned(),
    }
}

fn complete(shell: &str, first: &str) -> Result<(), String> {
    let place = Place::new(shell);
    let mut session = Session::start(shell, &place);
    session.key_in(&format!("{first}; {}\r", set_up(shell, &place)));
    session.key_in("skep ready\r");
    wait(&place, 1)?;
    let mut wrong = Vec::new();
    for (number, (typed, want)) in cases().into_iter().enumerate() {
        session.key_in(&format!("skep {typed}\t"));
        session.key_in("\r");
        let calls = wait(&place, number + 2)?;
        let got = calls.last().map(|call| call.trim_end().to_owned());
        if got.as_ref() != Some(&want) {
            wrong.push(format!("{typed:?} became {got:?} and not {want:?}"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{shell}:\n{}", wrong.join("\n"))),
    }
}

/// Waits for that many calls.
fn wait(place: &Place, count: usize) -> Result<Vec<String>, String> {
    let start = Instant::now();
    loop {
        let calls = place.calls();
        if calls.len() >= count {
            return Ok(calls);
        }
        if start.elapsed() > LIMIT {
            return Err(format!("no answer after {:?}", calls.last()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
