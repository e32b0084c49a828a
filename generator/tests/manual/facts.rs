//! Exit statuses, variables, files and capabilities: the sources have what the pages say, and the other way round.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{part, text};

/// The sources below a directory of the repository, tests left out.
fn sources(directory: &str) -> String {
    let mut all = String::new();
    let mut left = vec![
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(directory),
    ];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| all.push_str(&format!("{line}\n")));
        }
    }
    all
}

/// Words that stand directly behind each occurrence of `lead`.
fn behind(text: &str, lead: &str, part_of_word: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.split(lead)
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| part_of_word(*c)).collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}

/// The tags of a part of a page, without the names of fonts.
fn tags(part: &str) -> BTreeSet<String> {
    let entries = part
        .split("\n.TP\n")
        .skip(1)
        .flat_map(|entry| entry.split("\n.TQ\n"));
    entries
        .filter_map(|entry| entry.lines().next())
        .flat_map(|head| {
            head.split([' ', '"', ','])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|word| !word.is_empty() && !word.starts_with('.'))
        .collect()
}

#[test]
fn exit_statuses() {
    for (directory, page, next, more) in [
        ("generator/src/cli.rs", "skep.1", "ENVIRONMENT", &[][..]),
        // What failed for any other reason, and what is the command's own.
        (
            "launcher/src",
            "skep-launcher.8",
            "ENVIRONMENT",
            &["0", "1", "N", "128+", "126", "127"],
        ),
    ] {
        let code = sources(directory);
        let mut want: BTreeSet<String> = code
            .lines()
            .filter(|line| {
                ["OK", "FAILED", "USAGE", "EXIT_"]
                    .iter()
                    .any(|name| line.contains(&format!("const {name}")) && line.contains(": u8 = "))
            })
            .filter_map(|line| Some(line.split(" = ").nth(1)?.trim_end_matches(';').to_owned()))
            .collect();
        assert!(want.len() > 2, "{want:?}");
        want.extend(more.iter().map(|one| (*one).to_owned()));
        let page_text = text(page);
        let said = tags(part(&page_text, "\"EXIT STATUS\"", next));
        assert_eq!(said, want, "exit statuses in {page}");
    }
    // What exec, shell and run pass on.
    let page = text("skep.1");
    let said = part(&page, "\"EXIT STATUS\"", "ENVIRONMENT");
    for status in ["125", "126", "127", "128+N"] {
        assert!(said.contains(status), "{status} is not in skep(1)");
    }
}

#[test]
fn variables() {
    let name = |c: char| c.is_ascii_uppercase() || c == '_';
    for (directory, page, next, more) in [
        // What the library of the bus reads.
        (
            "generator/src",
            "skep.1",
            "UNITS",
            &["DBUS_SYSTEM_BUS_ADDRESS"][..],
        ),
        ("launcher/src", "skep-launcher.8", "FILES", &[]),
    ] {
        let code = sources(directory);
        let mut want = BTreeSet::new();
        for lead in ["env::var(\"", "env::var_os(\"", " variable(\""] {
            want.extend(behind(&code, lead, name));
        }
        assert!(want.len() > 2, "{want:?}");
        want.extend(more.iter().map(|one| (*one).to_owned()));
        let page_text = text(page);
        let said = tags(part(&page_text, "ENVIRONMENT", next));
        assert_eq!(said, want, "variables in {page}");
    }
}

/// Every place of ours that a program names is in the files of one of its pages, and every file there is named by one.
#[test]
fn files() {
    let path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let mut places = BTreeSet::new();
    for directory in ["generator/src", "launcher/src", "launcher/spec/src"] {
        let code = sources(directory);
        for root in [
            "/etc/skep",
            "/run/skep",
            "/var/lib/skep",
            "/var/lib/machines",
        ] {
            let rest = behind(&code, &format!("\"{root}"), path);
            places.extend(rest.iter().map(|rest| format!("{root}{rest}")));
            if code.contains(&format!("\"{root}\"")) {
                places.insert(root.to_owned());
            }
        }
    }
    // A directory to mount on, which holds nothing else.
    places.remove("/run/skep/machine/root");
    assert!(places.len() > 5, "{places:?}");
    let pages = [
        ("skep.1", "TROUBLESHOOTING"),
        ("skep-launcher.8", "\"SEE ALSO\""),
    ];
    let said: String = pages
        .iter()
        .map(|(page, next)| part(&text(page), "FILES", next).to_owned())
        .collect();
    for place in &places {
        let directory = place
            .rsplit_once('/')
            .map_or(place.as_str(), |(parent, _)| parent);
        let found = said.contains(place.as_str())
            || said.contains(&format!("{directory}/ "))
            || said.contains(&format!("{directory}/\n"));
        assert!(found, "{place} is in no page");
    }
    for word in said.split([' ', '"', '\n']) {
        let ours = ["/etc/skep", "/run/skep", "/var/lib/skep"]
            .iter()
            .any(|root| word.starts_with(root));
        let word = word
            .trim_end_matches('/')
            .replace("/NAME.json", "")
            .replace("/NAME/state.json", "");
        let known = places
            .iter()
            .any(|place| place.starts_with(&*word) || word.starts_with(place));
        assert!(!ours || known, "no program knows {word}");
    }
}

#[test]
fn capabilities() {
    let name = |c: char| c.is_ascii_uppercase() || c == '_';
    let kept: BTreeSet<String> = skep_spec::KEPT
        .iter()
        .chain(&skep_spec::KEPT_PRIVATE_NETWORK)
        .map(ToString::to_string)
        .collect();
    let page = text("skep-launcher.8");
    let said = page.split("\n.SS Capabilities\n").nth(1).unwrap();
    let said: String = said
        .split("\n.SS")
        .next()
        .unwrap()
        .split(".\n")
        .next()
        .unwrap()
        .to_owned();
    let said: BTreeSet<String> = said
        .split(|c: char| !name(c))
        .filter(|word| word.len() > 2)
        .map(str::to_owned)
        .collect();
    assert_eq!(said, kept);
}
