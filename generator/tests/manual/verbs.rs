//! Each verb has the options that the page gives it.

use std::collections::{BTreeMap, BTreeSet};

use skep::cli::definition;

use super::{options, part, text};

/// Which verbs have which option, by the definition. `run` has a part of the page for itself.
fn defined() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for verb in definition().get_subcommands() {
        let long = verb
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(clap::Arg::get_long);
        for option in long {
            let verbs: &mut BTreeSet<String> = all.entry(format!("--{option}")).or_default();
            verbs.insert(verb.get_name().to_owned());
        }
    }
    all
}

/// Options and what the page says about each, of a part of it: paragraphs that start with `.TP`.
fn entries(part: &str) -> Vec<(BTreeSet<String>, String)> {
    format!("\n{part}")
        .split("\n.TP\n")
        .skip(1)
        .filter_map(|entry| {
            let (head, body) = entry.split_once('\n')?;
            Some((options(head), body.to_owned()))
        })
        .collect()
}

#[test]
fn options_are_those_of_the_verbs_that_are_named() {
    let page = text("skep.1");
    let verbs: BTreeSet<String> = definition()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let defined = defined();
    let own = part(&page, "OPTIONS", "\"EXIT STATUS\"");
    let (of_verbs, rest) = own.split_once("\n.SS Options of run\n").unwrap();
    let (of_run, _) = rest.split_once("\n.SS General options\n").unwrap();
    for (names, body) in entries(of_verbs) {
        // "With a, b and c:" or "Goes with a and b."
        let said = body.split("ith\n").nth(1).unwrap_or_default();
        let ends = [":\n", ".\n"].into_iter().filter_map(|end| said.find(end));
        let end = ends.min().unwrap_or(said.len());
        let named: BTreeSet<String> = said[..end]
            .split([' ', '"', ',', '\n'])
            .filter(|word| verbs.contains(*word))
            .map(str::to_owned)
            .collect();
        for name in names {
            let mut want = defined.get(&name).cloned().unwrap_or_default();
            if name == "--root" {
                want = ["apply", "cat", "check", "names", "show"]
                    .map(str::to_owned)
                    .into();
            } else if entries(of_run)
                .iter()
                .any(|(names, _)| names.contains(&name))
            {
                // Said twice; the part about run has the details.
                want.retain(|verb| verb != "run" || named.contains(verb));
            }
            assert_eq!(named, want, "{name} in skep(1)");
        }
    }
    let all_of_run: BTreeSet<String> = entries(of_run)
        .into_iter()
        .flat_map(|(names, _)| names)
        .chain(entries(of_verbs).into_iter().flat_map(|(names, body)| {
            let is_of_run = body.contains("\" run ") || body.contains("\" run\n");
            if is_of_run { names } else { BTreeSet::new() }
        }))
        .collect();
    let want: BTreeSet<String> = defined
        .iter()
        .filter(|(_, verbs)| verbs.contains("run"))
        .map(|(option, _)| option.clone())
        .collect();
    assert_eq!(all_of_run, want, "options of run in skep(1)");
}

#[test]
fn the_synopsis_has_the_options_of_each_verb() {
    let page = text("skep.1");
    let synopsis = part(&page, "SYNOPSIS", "DESCRIPTION");
    for block in synopsis.split("\n.SY ").skip(1) {
        let (head, rest) = block.split_once('\n').unwrap();
        let line = match head.trim_matches('"').strip_prefix("skep ") {
            Some(verb) => verb,
            // Several verbs that take the same.
            None => rest.lines().next().unwrap_or_default(),
        };
        let words = line.split(|c: char| !c.is_ascii_lowercase());
        for verb in words.filter(|word| !word.is_empty() && *word != "run") {
            let defined = definition();
            let Some(verb) = defined.find_subcommand(verb) else {
                continue;
            };
            let want: BTreeSet<String> = verb
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
                .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
                .collect();
            assert_eq!(
                options(block),
                want,
                "skep {} in the synopsis",
                verb.get_name()
            );
        }
    }
}
