//! `skep create`: a tree, and with `--declare` a container that has it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::apply::Layout;
use crate::declaration::{Facts, LoadState, Loaded, load_all};
use crate::problem::shown;
use crate::report;
use crate::tree::{Interrupts, Making, Source, TREES, TreeError, make};

use super::enable::instantiate;
use super::unit_set::{apply_one, print_problem};
use super::{CreateArgs, FAILED, OK};

/// `skep create`
pub(super) fn create(layout: &Layout, arguments: &CreateArgs) -> u8 {
    let name = arguments.name.as_str();
    let loaded = load(layout, name);
    let made = Source::of(&arguments.from).and_then(|source| {
        let to = target(arguments, loaded.as_ref(), source)?;
        make_at(&to, source, arguments)?;
        Ok(to)
    });
    let to = match made {
        Ok(to) => to,
        Err(error) => {
            report::error_line(&format!("{name}: not created: {error}"));
            return FAILED;
        }
    };
    report::line(&format!("created {}", shown(&to)));
    match (loaded, arguments.declare) {
        (Some(loaded), _) => mention(&loaded, &to),
        (None, true) => declare(layout, name, &to),
        (None, false) => {
            report::note(&format!(
                "{name} is not declared yet: write /etc/skep/{name}.container, see skep.container(5); --declare writes one with all defaults"
            ));
            OK
        }
    }
}

fn load(layout: &Layout, name: &str) -> Option<Loaded> {
    let all = load_all(&layout.root, &Facts::of_host(None));
    all.into_iter().find(|one| one.name == name)
}

/// Where the tree goes.
fn target(
    arguments: &CreateArgs,
    loaded: Option<&Loaded>,
    source: Source,
) -> Result<PathBuf, TreeError> {
    if let Some(to) = &arguments.to {
        return std::path::absolute(to).map_err(|error| TreeError::File {
            path: to.clone(),
            error,
        });
    }
    if let Some(LoadState::Valid(wanted)) = loaded.map(|one| &one.state)
        && let Some(root) = &wanted.spec.root.path
        && root != Path::new("/")
    {
        return Ok(root.clone());
    }
    let suffix = if source == Source::Image { ".raw" } else { "" };
    Ok(Path::new(TREES).join(format!("{}{suffix}", arguments.name)))
}

fn make_at(to: &Path, source: Source, arguments: &CreateArgs) -> Result<(), TreeError> {
    let interrupts = Interrupts::hold()?;
    let making = Making {
        from: &arguments.from,
        source,
        to,
    };
    make(&making, &interrupts)
}

/// Says what the declaration that is there makes of the new tree.
fn mention(loaded: &Loaded, to: &Path) -> u8 {
    let place = shown(&loaded.source);
    match &loaded.state {
        LoadState::Valid(wanted) if wanted.spec.root.path.as_deref() != Some(to) => {
            report::warning(&format!("{place} names another tree: set Root= there"));
        }
        LoadState::Invalid { problems, .. } => problems.iter().for_each(print_problem),
        LoadState::Masked => report::warning(&format!("{place}: masked")),
        LoadState::Valid(_) | LoadState::Template => {}
    }
    OK
}

/// Writes a declaration, or for an instance the link to its template.
fn declare(layout: &Layout, name: &str, to: &Path) -> u8 {
    let declared = instantiate(&layout.root, name).and_then(|link| match link {
        Some(link) => Ok(link),
        None => write(layout, name, &declaration(name, to)),
    });
    match declared {
        Ok(file) => {
            report::line(&format!("declared in {}", shown(&file)));
            if let Some(loaded) = load(layout, name) {
                mention(&loaded, to);
            }
            apply_one(layout, name)
        }
        Err(message) => {
            report::error_line(&message);
            FAILED
        }
    }
}

/// A declaration with all defaults.
fn declaration(name: &str, to: &Path) -> String {
    let default = Path::new(TREES).join(name);
    let root = match to == default {
        true => String::new(),
        false => format!("Root={}\n", to.display().to_string().replace('%', "%%")),
    };
    format!("# Written by \"skep create\".\n[Container]\n{root}")
}

/// Writes a file that nothing has the name of, not even a dangling link.
fn write(layout: &Layout, name: &str, text: &str) -> Result<PathBuf, String> {
    let directory = layout.root.join("etc/skep");
    let file = directory.join(format!("{name}.container"));
    let written = fs::create_dir_all(&directory).and_then(|()| {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&file)?
            .write_all(text.as_bytes())
    });
    match written {
        Ok(()) => Ok(file),
        Err(error) => Err(format!("{}: {error}", shown(&file))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unusual_place_is_written_down() {
        let head = "# Written by \"skep create\".\n[Container]\n";
        assert_eq!(declaration("web", Path::new("/var/lib/machines/web")), head);
        assert_eq!(
            declaration("web", Path::new("/srv/100%.raw")),
            format!("{head}Root=/srv/100%%.raw\n")
        );
    }
}
