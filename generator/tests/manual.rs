//! The manual pages say what the programs do: every key, verb and option stands there, and nothing else does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "manual/facts.rs"]
mod facts;
#[path = "manual/verbs.rs"]
mod verbs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use skep::cli::definition;
use skep::declaration::keys::keys;

fn source(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/man")
        .join(page);
    fs::read_to_string(path).unwrap()
}

/// The page without its markup.
fn text(page: &str) -> String {
    let mut text = source(page)
        .replace("\\-", "-")
        .replace("\\&", "")
        .replace("\\(dq", "\"");
    for font in ["\\fB", "\\fI", "\\fR", "\\fP", "\\c"] {
        text = text.replace(font, "");
    }
    text
}

/// The part of a page between two of its headings.
fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(&format!("\n.SH {from}\n")).expect(from);
    let end = text[start..].find(&format!("\n.SH {to}\n")).expect(to);
    &text[start..start + end]
}

/// Words of a text that look like options.
fn options(text: &str) -> BTreeSet<String> {
    let is_option = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(|c: char| !is_option(c))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_has_its_entry() {
    let text = text("skep.container.5");
    let missing: Vec<String> = keys()
        .filter(|row| !text.contains(&format!("{}=", row.name)))
        .map(|row| format!("[{}] {}=", row.section, row.name))
        .collect();
    assert!(missing.is_empty(), "not in skep.container(5): {missing:?}");
    let sections = part(
        &text,
        "\"[UNIT] SECTION\"",
        "\"DIFFERENCES FROM OTHER FORMATS\"",
    );
    let known: BTreeSet<&str> = keys().map(|row| row.name).collect();
    // An entry is the line after .TP; words without lower case are placeholders.
    let entries = sections
        .split("\n.TP")
        .filter_map(|entry| entry.lines().nth(1));
    let wrong: Vec<&str> = entries
        .filter(|tag| tag.starts_with(".B"))
        .flat_map(|tag| tag.split([' ', '"', ',']))
        .filter_map(|word| word.split_once('=').map(|(key, _)| key))
        .filter(|key| key.contains(|c: char| c.is_ascii_lowercase()) && !known.contains(key))
        .collect();
    assert!(
        wrong.is_empty(),
        "no keys, but in skep.container(5): {wrong:?}"
    );
}

#[test]
fn keys_of_a_newer_systemd_say_which() {
    let text = text("skep.container.5");
    let lines: Vec<&str> = text.lines().collect();
    for row in keys() {
        let Some(since) = row.since else { continue };
        let key = format!("{}=", row.name);
        let want = format!("systemd {since} or later");
        let says = |at: usize| lines[at..].iter().take(4).any(|line| line.contains(&want));
        let mut places = (0..lines.len()).filter(|at| lines[*at].contains(&key));
        assert!(places.any(says), "{key} does not say \"{want}\"");
    }
}

#[test]
fn verbs_are_the_same_in_both() {
    let text = text("skep.1");
    let commands = part(&text, "COMMANDS", "OPTIONS");
    let mut lines = commands.lines();
    let mut written = BTreeSet::new();
    while let Some(line) = lines.next() {
        if line == ".TP" {
            let entry = lines.next().unwrap();
            let words = entry.split([' ', '"', '|']).filter(|word| !word.is_empty());
            written.extend(words.skip(1).take(1).map(str::to_owned));
        }
    }
    let defined = definition();
    let verbs: BTreeSet<String> = defined
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    assert_eq!(written, verbs);
    let synopsis = part(&text, "SYNOPSIS", "DESCRIPTION");
    for verb in defined.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        assert!(
            synopsis.contains(verb.get_name()),
            "{} is not in the synopsis",
            verb.get_name()
        );
    }
}

#[test]
fn options_are_the_same_in_both() {
    let text = text("skep.1");
    let mut defined = definition();
    defined.build();
    let arguments = defined
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .chain(defined.get_arguments());
    let defined: BTreeSet<String> = arguments
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
        .collect();
    assert_eq!(options(part(&text, "OPTIONS", "\"EXIT STATUS\"")), defined);
    let elsewhere = options(part(&text, "SYNOPSIS", "TROUBLESHOOTING"));
    assert!(
        elsewhere.is_subset(&defined),
        "{elsewhere:?} against {defined:?}"
    );
}

/// The launcher says its verbs in its usage text, which is part of its source.
#[test]
fn the_launchers_usage_is_in_its_page() {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("../launcher/src/cli.rs");
    let cli = fs::read_to_string(cli).unwrap();
    let start = cli.find("const USAGE").unwrap();
    let usage = &cli[start..start + cli[start..].find("\";").unwrap()];
    let text = text("skep-launcher.8");
    let verbs: BTreeSet<&str> = usage
        .lines()
        .filter_map(|line| line.split("launcher ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(verbs.len(), 7, "{usage}");
    let synopsis = part(&text, "SYNOPSIS", "DESCRIPTION");
    for verb in verbs {
        assert!(
            synopsis.contains(&format!(".B {verb}")),
            "{verb} is not in the synopsis"
        );
        assert!(
            text.contains(&format!(".BI {verb} ")) || text.contains(&format!("\n.TP\n.B {verb}\n")),
            "{verb} has no entry"
        );
    }
    for option in options(usage) {
        assert!(
            options(&text).contains(&option),
            "{option} is not in skep-launcher(8)"
        );
    }
}

#[test]
fn pages_format_without_a_warning_at_any_width() {
    for page in ["skep.1", "skep.container.5", "skep-launcher.8"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../packaging/man")
            .join(page);
        for width in [66, 80, 100, 120] {
            let output = Command::new("groff")
                .args(["-t", "-man", "-Tutf8", "-ww", "-z"])
                .arg(format!("-rLL={width}n"))
                .arg(&path)
                .output();
            let output = output.expect("groff checks the pages: apt install groff-base");
            let warnings = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && warnings.is_empty(),
                "{page} at {width}: {warnings}"
            );
        }
    }
}
