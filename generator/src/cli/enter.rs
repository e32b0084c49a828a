//! `skep exec` and `skep shell`: the launcher does it, in our place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use skep_spec::LAUNCHER;

use crate::report;

use super::{EnterArgs, ExecArgs, ShellArgs};

/// Exit status when the container could not be entered: 1 may be the command's own.
const NOT_ENTERED: u8 = 125;

/// `skep exec`
pub(super) fn exec(arguments: &ExecArgs) -> u8 {
    become_launcher(&exec_arguments(arguments), NOT_ENTERED)
}

/// `skep shell`
pub(super) fn shell(arguments: &ShellArgs) -> u8 {
    become_launcher(&shell_arguments(arguments), NOT_ENTERED)
}

fn shell_arguments(arguments: &ShellArgs) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["shell".into(), arguments.name.clone().into()];
    out.extend(options(&arguments.enter));
    out
}

fn exec_arguments(arguments: &ExecArgs) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["exec".into(), arguments.name.clone().into()];
    out.extend(options(&arguments.enter));
    out.push("--".into());
    out.extend(arguments.command.iter().cloned());
    out
}

fn options(arguments: &EnterArgs) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut option =
        |name: &str, value: &String| out.extend([OsString::from(name), OsString::from(value)]);
    arguments
        .user
        .iter()
        .for_each(|user| option("--user", user));
    arguments
        .chdir
        .iter()
        .for_each(|directory| option("--chdir", directory));
    arguments
        .env
        .iter()
        .for_each(|variable| option("--env", variable));
    out
}

/// Replaces this process: terminal, signals and exit status are the launcher's from here on. Returns `otherwise` when there is
/// no launcher.
pub(super) fn become_launcher(arguments: &[OsString], otherwise: u8) -> u8 {
    let error = Command::new(LAUNCHER).args(arguments).exec();
    report::error_line(&format!("{LAUNCHER}: {error}"));
    otherwise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stay_in_front_of_the_command() {
        let arguments = ExecArgs {
            name: "web".into(),
            enter: EnterArgs {
                user: Some("33:33".into()),
                chdir: None,
                env: vec!["A=1".into(), "B=2".into()],
            },
            command: vec!["ls".into(), "--env".into()],
        };
        let want = [
            "exec", "web", "--user", "33:33", "--env", "A=1", "--env", "B=2", "--", "ls", "--env",
        ];
        assert_eq!(exec_arguments(&arguments), want.map(OsString::from));
    }
}
