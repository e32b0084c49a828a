//! Completion scripts: what clap makes of the command line, and the names of containers.
//!
//! A script asks `skep names` when it is used, so that a new container, or a new instance, completes at once.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{CommandLine, OK};
use crate::declaration::{Facts, load_all};
use crate::report;

/// bash splits words at "@", so the part of an instance's name that stands before it is not repeated.
const BASH: &str = r#"
_skep_with_names() {
    _skep "$@"
    [[ $COMP_CWORD -ge 2 && " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]] || return 0
    case "${COMP_WORDS[1]}" in
        apply|cat|console|create|disable|enable|exec|remove|restart|shell|show|start|status|stop) ;;
        *) return 0 ;;
    esac
    local word="${COMP_LINE:0:COMP_POINT}"
    word="${word##* }"
    [[ "$word" != -* ]] || return 0
    local names
    mapfile -t names < <(compgen -W "$(skep names 2>/dev/null)" -- "$word")
    if [[ "$word" == *@* && "$COMP_WORDBREAKS" == *@* ]]; then
        names=("${names[@]#"${word%@*}@"}")
    fi
    COMPREPLY+=("${names[@]}")
}
complete -F _skep_with_names -o bashdefault -o default skep
"#;

const FISH: &str = r#"
complete -c skep -n "__fish_seen_subcommand_from apply cat console create disable enable exec remove restart shell show start status stop" -f -a "(skep names 2>/dev/null)"
"#;

const ZSH: &str = r#"
_skep_names() {
    local -a names
    names=(${(f)"$(skep names 2>/dev/null)"})
    compadd -a names
}
"#;

/// `skep completions`
pub(super) fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "skep", &mut script);
    report::print(&with_names(shell, &String::from_utf8_lossy(&script)));
    OK
}

fn with_names(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Fish => format!("{script}{FISH}"),
        Shell::Zsh => {
            let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
            let takes_names =
                |line: &&str| line.starts_with("':name -- ") || line.starts_with("'*::names -- ");
            let lines: Vec<String> = rest
                .lines()
                .map(|line| match takes_names(&line) {
                    true => line.replace(":_default'", ":_skep_names'"),
                    false => line.to_owned(),
                })
                .collect();
            format!("{first}\n{ZSH}{}\n", lines.join("\n"))
        }
        _ => script.to_owned(),
    }
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
    fn zsh_asks_for_names_where_names_are_taken() {
        let script = "#compdef skep\n':name -- Container:_default' \\\n'--to=[x]:PATH:_default' \\";
        let text = with_names(Shell::Zsh, script);
        assert!(text.starts_with("#compdef skep\n"));
        assert!(text.contains("':name -- Container:_skep_names' \\\n'--to=[x]:PATH:_default'"));
    }
}
