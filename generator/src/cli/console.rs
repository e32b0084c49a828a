//! `skep console`: the launcher does it, in our place.

use std::ffi::OsString;

use super::enter::become_launcher;
use super::{ConsoleArgs, FAILED};

/// `skep console`
pub(super) fn console(arguments: &ConsoleArgs) -> u8 {
    become_launcher(&launcher_arguments(arguments), FAILED)
}

fn launcher_arguments(arguments: &ConsoleArgs) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["console".into(), arguments.name.clone().into()];
    let options = [
        (arguments.read_only, "--read-only"),
        (arguments.clean, "--clean"),
    ];
    let given = options.iter().filter(|(given, _)| *given);
    out.extend(given.map(|(_, option)| OsString::from(option)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_on() {
        let mut arguments = ConsoleArgs {
            read_only: false,
            clean: false,
            name: "web@1".into(),
        };
        assert_eq!(launcher_arguments(&arguments), ["console", "web@1"]);
        (arguments.read_only, arguments.clean) = (true, true);
        let want = ["console", "web@1", "--read-only", "--clean"];
        assert_eq!(launcher_arguments(&arguments), want);
    }
}
