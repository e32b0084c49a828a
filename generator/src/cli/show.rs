//! `skep show` and `skep cat`: a container before anything runs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use skep_spec::{Content, LAUNCHER, SpecFile};

use crate::apply::{Layout, collect};
use crate::declaration::merged;
use crate::problem::{escaped, shown};
use crate::report;
use crate::unit::text::unit_text;

use super::unit_set::print_problem;
use super::{CatArgs, FAILED, OK, systemd_version};

/// Oldest systemd that is supported.
const FLOOR: u32 = 252;

/// `skep show`
pub(super) fn show(layout: &Layout, name: &str, other_root: bool) -> u8 {
    let version = match other_root {
        true => None,
        false => systemd_version(),
    };
    let declarations = collect(&layout.root, version.unwrap_or(FLOOR), layout);
    let Some(container) = declarations.find(name) else {
        report::error_line(&format!("no declaration is called {name}"));
        return FAILED;
    };
    container.problems.iter().for_each(print_problem);
    if container.masked {
        report::error_line(&format!("{}: masked", shown(&container.source)));
        return FAILED;
    }
    let Some(unit) = container.unit.as_ref() else {
        return FAILED;
    };
    report::print(&multiline(&unit_text(&unit.draft)));
    match &unit.spec.content {
        Content::Refuse(_) => FAILED,
        Content::Boot(_) => plan(&unit.spec),
    }
}

/// The launch plan, in the launcher's own words.
fn plan(spec: &SpecFile) -> u8 {
    report::print("\n# Launch plan\n");
    match ask_launcher(spec) {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(error) => {
            report::print("# not available\n");
            report::warning(&format!("{LAUNCHER}: {error}"));
            OK
        }
    }
}

fn ask_launcher(spec: &SpecFile) -> std::io::Result<bool> {
    let mut child = Command::new(LAUNCHER)
        .args(["plan", "--spec", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A launcher that ends before it has read everything says why itself.
        let _ = input.write_all(&serde_json::to_vec(spec)?);
    }
    Ok(child.wait()?.success())
}

/// `skep cat`
pub(super) fn cat(layout: &Layout, arguments: &CatArgs) -> u8 {
    let name = &arguments.name;
    match merged(&layout.root, name) {
        None => {
            report::error_line(&format!("no declaration is called {name}"));
            FAILED
        }
        Some(Err(problems)) => {
            problems.iter().for_each(print_problem);
            FAILED
        }
        Some(Ok(lines)) => {
            let mut out = String::new();
            let mut section = None;
            for line in &lines {
                if section != Some(line.section.to_string()) {
                    let gap = if section.is_some() { "\n" } else { "" };
                    out.push_str(&format!("{gap}[{}]\n", line.section));
                    section = Some(line.section.to_string());
                }
                out.push_str(&format!("{}={}", line.key, escaped(&line.value)));
                if arguments.origin {
                    out.push_str(&format!("  # {}:{}", shown(&line.path), line.line));
                }
                out.push('\n');
            }
            report::print(&out);
            OK
        }
    }
}

/// Escapes each line of a text.
fn multiline(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", escaped(line)))
        .collect()
}
