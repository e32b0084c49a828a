//! Declarations with everything that follows from them: id range, spec file and unit draft.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use skep_spec::{Content, SpecFile, Users};

use crate::addresses::{self, Wanting};
use crate::declaration::{self, Facts, LoadState, Loaded};
use crate::problem::{Problem, Severity};
use crate::ranges::{self, Leases, NameService, Taken};
use crate::reconcile::Declared;
use crate::specfile::{SpecDirectory, spec_file};
use crate::unit::{UnitDraft, render, render_refusal};
use crate::wanted::{Ids, Wanted};

use super::Layout;

/// One declaration.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its file.
    pub source: PathBuf,
    /// Units that start it at boot.
    pub wanted_by: Vec<String>,
    /// Everything wrong with it: errors, then warnings.
    pub problems: Vec<Problem>,
    /// What systemd and the launcher get; `None` when the declaration is masked or no unit can have its name.
    pub unit: Option<Unit>,
    /// Linked to /dev/null, or empty.
    pub masked: bool,
}

/// What systemd and the launcher get.
#[derive(Clone, Debug)]
pub struct Unit {
    /// For the launcher.
    pub spec: SpecFile,
    /// For systemd.
    pub draft: UnitDraft,
    /// The declaration is wrong: the unit only says so.
    pub refused: bool,
}

/// All declarations.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    /// By container name.
    pub containers: BTreeMap<String, Container>,
    /// Id ranges, including new ones.
    pub leases: Leases,
    /// Remarks that concern no single container.
    pub notes: Vec<String>,
}

impl Declarations {
    /// A declaration by name.
    pub fn find(&self, name: &str) -> Option<&Container> {
        self.containers.get(name)
    }

    /// Declared units.
    pub fn units(&self) -> impl Iterator<Item = (&String, &Unit)> {
        self.containers
            .iter()
            .filter_map(|(name, container)| Some((name, container.unit.as_ref()?)))
    }

    /// Declared units as `reconcile` wants them.
    pub fn declared(&self) -> BTreeMap<String, Declared> {
        let declared = |unit: &Unit| Declared {
            draft: unit.draft.clone(),
            refused: unit.refused,
        };
        self.units()
            .map(|(name, unit)| (name.clone(), declared(unit)))
            .collect()
    }

    /// Everything wrong with the selected declarations.
    pub fn problems(&self, selected: Option<&BTreeSet<String>>) -> Vec<Problem> {
        let is_selected = |name: &String| selected.is_none_or(|only| only.contains(name));
        let selected = self.containers.iter().filter(|(name, _)| is_selected(name));
        // Instances of one template have the same problems; each is told once.
        let mut seen = HashSet::new();
        selected
            .flat_map(|(_, container)| &container.problems)
            .filter(|problem| seen.insert(*problem))
            .cloned()
            .collect()
    }
}

/// Reads all declarations below `root` and computes what follows from them.
pub fn collect(root: &Path, systemd: u32, layout: &Layout) -> Declarations {
    let loaded = declaration::load_all(root, &Facts::of_host(Some(systemd)));
    let (leases, mut notes) = load_leases(&layout.leases);
    let mut declarations = Declarations {
        leases,
        ..Declarations::default()
    };
    let bases = pick_ranges(&loaded, &mut declarations.leases);
    let mut loaded = loaded;
    let without_address = give_addresses(&mut loaded);
    let hidden = hidden(&loaded, layout, systemd);
    for one in loaded {
        // It has no unit, and what is wrong with it stands with its instances.
        if one.state == LoadState::Template && one.warnings.is_empty() {
            continue;
        }
        let name = one.name.clone();
        let given = Given {
            base: bases.get(&name),
            address: without_address.get(&name),
        };
        let container = container(one, &given, systemd);
        declarations.containers.insert(name, container);
    }
    declarations.containers.extend(hidden);
    declarations.notes.append(&mut notes);
    declarations
}

/// Containers that were applied and may be declared still, where nobody can read it now: refused, and not forgotten.
fn hidden(loaded: &[Loaded], layout: &Layout, systemd: u32) -> Vec<(String, Container)> {
    let mut names = SpecDirectory::at(&layout.specs).names();
    for one in loaded.iter().filter(|one| one.unit) {
        names.remove(&one.name);
    }
    let refused = |name: String| {
        let by = loaded.iter().find(|one| one.hides(&name))?.clone();
        let one = Loaded {
            name: name.clone(),
            unit: true,
            ..by
        };
        let given = Given {
            base: None,
            address: None,
        };
        Some((name, container(one, &given, systemd)))
    };
    names.into_iter().filter_map(refused).collect()
}

fn load_leases(path: &Path) -> (Leases, Vec<String>) {
    let path_text = path.display();
    match Leases::load(path) {
        Ok((leases, 0)) => (leases, Vec::new()),
        Ok((leases, dropped)) => (
            leases,
            vec![format!(
                "{path_text}: {dropped} lines make no sense and are dropped"
            )],
        ),
        Err(error) => (
            Leases::detached(),
            vec![format!(
                "{path_text}: {error}; id ranges are picked anew, for now"
            )],
        ),
    }
}

type Base = Result<u32, ranges::Exhausted>;

fn pick_ranges(loaded: &[Loaded], leases: &mut Leases) -> BTreeMap<String, Base> {
    let mut names = BTreeSet::new();
    let mut given = Vec::new();
    for one in loaded {
        match &one.state {
            LoadState::Valid(wanted) if wanted.ids == Ids::Pick => {
                names.insert(one.name.clone());
            }
            LoadState::Valid(wanted) => given.extend(base_of(&wanted.spec.users)),
            LoadState::Masked | LoadState::Template | LoadState::Invalid { .. } => {}
        }
    }
    if names.is_empty() {
        return BTreeMap::new();
    }
    let all_leased = names.iter().all(|name| leases.base_of(name).is_some());
    // What others use matters to new ranges only.
    let mut taken = if all_leased {
        Taken::default()
    } else {
        Taken::of_host()
    };
    for base in given {
        taken.add_declared(base);
    }
    let mut service = if all_leased {
        NameService::default()
    } else {
        NameService::of_host()
    };
    ranges::assign(&names, leases, &taken, &mut |id| service.knows(id))
}

const fn base_of(users: &Users) -> Option<u32> {
    match users {
        Users::Private { base } => Some(*base),
        Users::Identity | Users::Host => None,
    }
}

/// What depends on all declarations.
struct Given<'a> {
    /// Its id range, when one is picked.
    base: Option<&'a Base>,
    /// Why it has no address.
    address: Option<&'a addresses::Exhausted>,
}

/// Gives links their addresses; containers for which none is left.
fn give_addresses(loaded: &mut [Loaded]) -> BTreeMap<String, addresses::Exhausted> {
    let valid = |one: &Loaded| match &one.state {
        LoadState::Valid(wanted) => wanted.spec.net.links.clone(),
        _ => Vec::new(),
    };
    let declared = loaded.iter().flat_map(valid).flat_map(|link| {
        let ends = link.addresses.into_iter().chain(link.host_addresses);
        ends.map(|subnet| subnet.address)
    });
    let declared: Vec<IpAddr> = declared.collect();
    let mut wanting = Vec::new();
    for one in loaded {
        let LoadState::Valid(wanted) = &mut one.state else {
            continue;
        };
        let Wanted {
            name, pool, spec, ..
        } = wanted.as_mut();
        let leads_out = addresses::leads_out(&spec.net.links);
        let links = spec.net.links.iter_mut().enumerate();
        let links = links.filter(|(_, link)| addresses::wants(link));
        wanting.extend(links.map(|(number, link)| Wanting {
            name,
            pool,
            leads_out: leads_out == Some(number),
            link,
        }));
    }
    addresses::assign(wanting, &declared).into_iter().collect()
}

fn container(loaded: Loaded, given: &Given<'_>, systemd: u32) -> Container {
    let Loaded {
        name,
        source,
        unit: has_unit,
        state,
        warnings,
    } = loaded;
    let mut container = Container {
        source,
        wanted_by: Vec::new(),
        problems: Vec::new(),
        unit: None,
        masked: false,
    };
    match state {
        LoadState::Masked => container.masked = true,
        LoadState::Template => {}
        LoadState::Valid(mut wanted) => {
            container.wanted_by.clone_from(&wanted.wanted_by);
            match (given.address, boot_unit(&mut wanted, given.base, systemd)) {
                (None, Ok(unit)) => container.unit = Some(unit),
                (Some(exhausted), Ok(_)) => container.problems.push(problem(
                    &container.source,
                    "Network",
                    exhausted.to_string(),
                )),
                (_, Err(message)) => {
                    container
                        .problems
                        .push(problem(&container.source, "PrivateUsers", message))
                }
            }
        }
        LoadState::Invalid {
            problems,
            wanted_by,
        } => {
            container.wanted_by = wanted_by;
            container.problems = problems;
        }
    }
    if has_unit && container.unit.is_none() && !container.masked {
        container.unit = refusal_unit(&name, &container, systemd);
    }
    container.problems.extend(warnings);
    container
}

fn boot_unit(wanted: &mut Wanted, base: Option<&Base>, systemd: u32) -> Result<Unit, String> {
    if let Some(base) = base {
        let base = base.map_err(|exhausted| exhausted.to_string())?;
        wanted.spec.users = Users::Private { base };
    }
    let content = Content::Boot(Box::new(wanted.spec.clone()));
    let spec = spec_file(&wanted.name, content)
        .map_err(|error| format!("cannot be written down: {error}"))?;
    Ok(Unit {
        spec,
        draft: render(wanted, systemd),
        refused: false,
    })
}

fn problem(source: &Path, key: &str, message: String) -> Problem {
    Problem {
        path: source.to_owned(),
        line: None,
        key: Some(key.to_owned()),
        severity: Severity::Error,
        message,
    }
}

fn refusal_unit(name: &str, container: &Container, systemd: u32) -> Option<Unit> {
    let lines = container.problems.iter().map(Problem::to_string).collect();
    refusal(name, &container.source, lines, systemd)
}

/// The unit that only says what is wrong with its declaration.
pub(super) fn refusal(name: &str, source: &Path, lines: Vec<String>, systemd: u32) -> Option<Unit> {
    // Lines of text always have a JSON form.
    let spec = spec_file(name, Content::Refuse(lines)).ok()?;
    Some(Unit {
        spec,
        draft: render_refusal(name, source, systemd),
        refused: true,
    })
}
