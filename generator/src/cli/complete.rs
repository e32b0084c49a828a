//! Completion scripts: what clap makes of the command line, and the names of containers wherever its definition takes one.
//!
//! A script asks `skep names` when it is used, so that a new container, or a new instance, completes at once.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{CommandLine, OK};
use crate::declaration::{Facts, load_all};
use crate::report;

/// What the value of an argument is called that is the name of a container: of a positional one, and of an option.
const POSITIONAL: &str = "NAME";
const OPTION: &str = "CONTAINER";

/// bash splits words at "@", so the part of an instance's name that stands before it is not repeated, nor is the "@", unless
/// host names are completed, to which it belongs then; and it splits at "=", so an option may stand two words before its
/// value.
const BASH: &str = r#"
_skep_with_names() {
    _skep "$@"
    local at verb="" option=""
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "${COMP_WORDS[at]}" in
            --) return 0 ;;
            --root)
                [[ "${COMP_WORDS[at + 1]}" != "=" ]] || ((at++))
                ((at++))
                ;;
            -*) ;;
            *) [[ -n "$verb" ]] || verb="${COMP_WORDS[at]}" ;;
        esac
    done
    local word="${COMP_LINE:0:COMP_POINT}"
    word="${word##* }"
    case "$word" in
        @OPTIONS_WITH_VALUE@) option="${word%%=*}" word="${word#*=}" ;;
        *) [[ "$COMP_CWORD" -lt 1 ]] || option="${COMP_WORDS[COMP_CWORD - 1]}" ;;
    esac
    case "$verb,$option" in
        *,@OPTIONS@) COMPREPLY=() ;;
        @VERBS@) [[ "$word" != -* ]] || return 0 ;;
        *) return 0 ;;
    esac
    local names
    mapfile -t names < <(compgen -W "$(skep names 2>/dev/null)" -- "$word")
    if [[ "$word" == *@* && "$COMP_WORDBREAKS" == *@* ]]; then
        local given="${word%@*}"
        shopt -q hostcomplete || given+=@
        names=("${names[@]#"$given"}")
    fi
    COMPREPLY+=("${names[@]}")
}
complete -F _skep_with_names -o bashdefault -o default skep
"#;

const FISH: &str = r#"
function __fish_skep_wants_name
    contains -- -- (commandline -opc); and return 1
    __fish_skep_using_subcommand @VERBS@
end
complete -c skep -n __fish_skep_wants_name -f -a "(skep names 2>/dev/null)"
"#;

const ZSH: &str = r#"
_skep_names() {
    local -a names
    names=(${(f)"$(skep names 2>/dev/null)"})
    compadd -a names
}
"#;

/// What of the command line takes the name of a container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Takers {
    /// Verbs that take one as an argument.
    verbs: Vec<String>,
    /// What these arguments are called in the definition.
    arguments: BTreeSet<String>,
    /// Verbs and options, without dashes, that take one.
    options: Vec<(String, String)>,
}

impl Takers {
    fn of(command: &Command) -> Takers {
        let mut takers = Takers::default();
        for verb in command.get_subcommands() {
            for argument in verb.get_arguments() {
                let called = argument.get_value_names().unwrap_or_default();
                match argument.get_long() {
                    None if called == [POSITIONAL] => {
                        takers.verbs.push(verb.get_name().to_owned());
                        takers.arguments.insert(argument.get_id().to_string());
                    }
                    Some(long) if called == [OPTION] => {
                        takers
                            .options
                            .push((verb.get_name().to_owned(), long.to_owned()));
                    }
                    _ => {}
                }
            }
        }
        takers
    }
}

/// `skep completions`
pub(super) fn completions(shell: Shell) -> u8 {
    let mut command = CommandLine::command();
    let takers = Takers::of(&command);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "skep", &mut script);
    report::print(&with_names(
        shell,
        &String::from_utf8_lossy(&script),
        &takers,
    ));
    OK
}

fn with_names(shell: Shell, script: &str, takers: &Takers) -> String {
    match shell {
        Shell::Bash => format!("{script}{}", bash(takers)),
        Shell::Fish => format!("{script}{}", fish(takers)),
        Shell::Zsh => zsh(script, takers),
        _ => script.to_owned(),
    }
}

fn bash(takers: &Takers) -> String {
    let patterns = |pattern: &dyn Fn(&str) -> String| {
        let options = takers.options.iter().map(|(_, option)| pattern(option));
        options.collect::<Vec<_>>().join("|")
    };
    let verbs: Vec<String> = takers
        .verbs
        .iter()
        .map(|verb| format!("{verb},*"))
        .collect();
    BASH.replace(
        "@OPTIONS_WITH_VALUE@",
        &patterns(&|option| format!("--{option}=*")),
    )
    .replace("*,@OPTIONS@", &patterns(&|option| format!("*,--{option}")))
    .replace("@VERBS@", &verbs.join("|"))
}

fn fish(takers: &Takers) -> String {
    let mut text = FISH.replace("@VERBS@", &takers.verbs.join(" "));
    for (verb, option) in &takers.options {
        text.push_str(&format!(
            "complete -c skep -n \"__fish_skep_using_subcommand {verb}\" -l {option} -x -a \"(skep names 2>/dev/null)\"\n"
        ));
    }
    text
}

/// `_arguments` of zsh asks what stands last in a line what the value may be.
fn zsh(script: &str, takers: &Takers) -> String {
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let takes_names = |line: &str| {
        let argument = |id: &String| {
            line.starts_with(&format!("':{id} -- ")) || line.starts_with(&format!("'*::{id} -- "))
        };
        takers.arguments.iter().any(argument) || line.contains(&format!(":{OPTION}:_default'"))
    };
    let lines: Vec<String> = rest
        .lines()
        .map(|line| match takes_names(line) {
            true => line.replace(":_default'", ":_skep_names'"),
            false => line.to_owned(),
        })
        .collect();
    format!("{first}\n{ZSH}{}\n", lines.join("\n"))
}

/// `skep names`: every declared container, one per line.
pub(super) fn names(root: &Path) -> u8 {
    let all = load_all(root, &Facts::of_host(None));
    let names = all.iter().filter(|one| one.unit);
    let text: String = names.map(|one| format!("{}\n", one.name)).collect();
    report::print(&text);
    OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_says_where_names_are_taken() {
        let takers = Takers::of(&CommandLine::command());
        for verb in ["start", "exec", "remove", "apply", "status"] {
            assert!(takers.verbs.iter().any(|one| one == verb), "{verb}");
        }
        for verb in ["list", "run", "check", "import", "names"] {
            assert!(!takers.verbs.iter().any(|one| one == verb), "{verb}");
        }
        assert_eq!(takers.options, [("run".to_owned(), "like".to_owned())]);
    }

    #[test]
    fn zsh_asks_for_names_where_names_are_taken() {
        let script = "#compdef skep\n':name -- Container:_default' \\\n'--to=[x]:PATH:_default' \\\n'--like=[x]:CONTAINER:_default' \\";
        let text = with_names(Shell::Zsh, script, &Takers::of(&CommandLine::command()));
        assert!(text.starts_with("#compdef skep\n"));
        assert!(text.contains("':name -- Container:_skep_names' \\\n'--to=[x]:PATH:_default'"));
        assert!(text.contains("'--like=[x]:CONTAINER:_skep_names'"));
    }
}
