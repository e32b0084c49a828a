//! Classes of attacks on container managers: what prevents each here, and the tests that fail when that is broken.
//!
//! The classes were collected from the advisories of systemd, runc, crun, LXC, Incus, Podman, Docker, containerd and
//! others. A class has tests or a reason why there is nothing to test. `cargo xtask test` and `cargo xtask attacks` print
//! the table.

mod table;

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use anyhow::Result;

use self::table::ATTACKS;
use crate::{parity, results};

/// One class.
#[derive(Debug)]
struct Attack {
    /// `A1` and so on.
    id: &'static str,
    /// In a few words.
    what: &'static str,
    /// Where it was seen, as the public calls it.
    seen: &'static str,
    /// What prevents it here.
    prevented: &'static str,
    /// What fails when that is broken.
    tests: &'static [Test],
    /// Why there is no test, or what the tests leave open.
    reason: Option<&'static str>,
}

/// A test that shows that a class is prevented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// A boot test, by its name without the host.
    Trial(&'static str),
    /// A function of a file below the workspace.
    Unit(&'static str, &'static str),
}

impl Test {
    fn name(self) -> &'static str {
        match self {
            Test::Trial(name) | Test::Unit(_, name) => name,
        }
    }
}

fn tests() -> BTreeSet<Test> {
    ATTACKS
        .iter()
        .flat_map(|attack| attack.tests)
        .copied()
        .collect()
}

fn names(wanted: impl Fn(Test) -> bool) -> Vec<&'static str> {
    let all = tests().into_iter().filter(|test| wanted(*test));
    all.map(Test::name).collect()
}

/// The filter that selects the boot tests of all classes, in the words of the test runner.
pub fn filter() -> String {
    let trials = names(|test| matches!(test, Test::Trial(_)));
    format!("test(/::({})$/)", trials.join("|"))
}

/// The filter that selects the other tests, and perhaps others that have their names.
pub fn unit_filter() -> String {
    let units = names(|test| matches!(test, Test::Unit(..)));
    format!("test(/(^|::)({})$/)", units.join("|"))
}

/// Prints the table of all classes from the file of results; an error unless each test has passed.
pub fn conclude(trials: &Path, units: Option<bool>) -> Result<()> {
    let text = results::read(trials, "")?;
    let (table, open) = table(&text, units);
    results::print(&table, &open)
}

/// The table, and the classes of which some test has failed or did not run. `units`: whether all unit tests have passed.
fn table(results: &str, units: Option<bool>) -> (String, Vec<&'static str>) {
    let trials = parity::last_tries(results);
    let (mut text, mut open) = (String::new(), Vec::new());
    for attack in ATTACKS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<4} {}", attack.id, attack.what);
        let _ = writeln!(text, "     seen: {}", attack.seen);
        let _ = writeln!(text, "     here: {}", attack.prevented);
        if let Some(reason) = attack.reason {
            let _ = writeln!(text, "     note: {reason}");
        }
        let mut shown = true;
        for test in attack.tests {
            let (passed, words) = match test {
                Test::Unit(..) => match units {
                    Some(true) => (true, "passed".to_owned()),
                    Some(false) => (false, "see the unit tests".to_owned()),
                    None => (false, "did not run".to_owned()),
                },
                Test::Trial(name) => match trials.get(name) {
                    Some(hosts) => (
                        hosts.values().all(|passed| *passed),
                        parity::verdicts(hosts),
                    ),
                    None => (false, "did not run".to_owned()),
                },
            };
            shown &= passed;
            let _ = writeln!(text, "     {:<48} {words}", test.name());
        }
        if !shown {
            open.push(attack.id);
        }
    }
    (text, open)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::place::workspace;

    #[test]
    fn each_class_has_tests_or_a_reason() {
        for (number, attack) in (1..).zip(ATTACKS) {
            assert_eq!(attack.id, format!("A{number}"));
            assert!(
                !attack.tests.is_empty() || attack.reason.is_some(),
                "{}",
                attack.id
            );
            assert!(
                !attack.what.is_empty() && !attack.seen.is_empty() && !attack.prevented.is_empty()
            );
        }
    }

    fn sources(directory: PathBuf, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(path, text);
            } else {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn each_test_exists() {
        let mut trials = String::new();
        sources(workspace().join("tests/tests"), &mut trials);
        for test in tests() {
            match test {
                Test::Trial(name) => {
                    // The trials of that file get the prefix where they are made.
                    let said = name.strip_prefix("interface_").unwrap_or(name);
                    assert!(trials.contains(&format!("\"{said}\"")), "no trial {name}");
                }
                Test::Unit(path, name) => {
                    let text = fs::read_to_string(workspace().join(path)).unwrap_or_default();
                    let test = format!("fn {name}()");
                    let body = format!("fn {name}(");
                    assert!(
                        text.contains(&test) || text.contains("proptest!") && text.contains(&body),
                        "no test {name} in {path}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_class_is_open_until_each_of_its_tests_has_passed() {
        let mut results = String::new();
        for test in tests() {
            if let Test::Trial(name) = test {
                let _ = writeln!(results, "trixie::{name} passed");
            }
        }
        assert_eq!(table(&results, Some(true)).1, Vec::<&str>::new());
        assert!(!table(&results, None).1.is_empty() && !table(&results, Some(false)).1.is_empty());
        results.push_str("sid::hostile_files failed\n");
        let (text, open) = table(&results, Some(true));
        assert!(!open.is_empty() && text.contains("sid FAILED"), "{text}");
        results.push_str("sid::hostile_files passed\n");
        assert!(table(&results, Some(true)).1.is_empty());
    }
}
