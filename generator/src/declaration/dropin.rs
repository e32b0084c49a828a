//! Search: which files make up a declaration.
//!
//! Owns precedence, masks and drop-ins. Every directory is listed once; each file is read once. A broken file never
//! gives way to one of lower priority: what the administrator meant to override stays overridden.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::DIRECTORIES;
use super::file::{Contents, Tree, read_named};
use super::ini::{self, Text};
use super::instances::template_of;
use crate::problem::Problem;

/// Directory of drop-ins for all containers.
const FOR_ALL: &str = "container.d";

/// The four directories as they are now.
#[derive(Debug)]
pub(crate) struct Search {
    tree: Tree,
    dirs: Vec<Listing>,
    /// `container.d/*.conf` by file name, or the problem of a directory by its path.
    for_all: BTreeMap<OsString, Candidate>,
    /// Those of them already read.
    read: HashMap<PathBuf, Option<Rc<Text>>>,
}

/// One directory.
#[derive(Debug)]
struct Listing {
    inside: PathBuf,
    names: BTreeSet<OsString>,
    problem: Option<String>,
}

/// A drop-in found by name.
#[derive(Clone, Debug)]
enum Candidate {
    /// Below the root.
    File(PathBuf),
    /// Beside a file that the user named.
    Named(PathBuf),
    /// A directory that cannot be listed, and why.
    Broken(PathBuf, String),
}

/// The files of one name.
#[derive(Debug)]
pub(crate) enum Found {
    /// None.
    Absent,
    /// Switched off by this file.
    Masked(PathBuf),
    /// The declaration, then its drop-ins in merge order. Never empty.
    Sources(Vec<Source>),
}

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Real path.
    pub(crate) path: PathBuf,
    /// What it says, or why it cannot be used.
    pub(crate) text: Result<Rc<Text>, String>,
}

impl Search {
    pub(crate) fn new(root: &Path) -> Search {
        let tree = Tree::new(root);
        let list = |inside: &&str| {
            let inside = PathBuf::from(inside);
            let (names, problem) = match tree.list(&inside) {
                Ok(names) => (names.into_iter().collect(), None),
                Err(message) => (BTreeSet::new(), Some(message)),
            };
            Listing {
                inside,
                names,
                problem,
            }
        };
        let dirs: Vec<Listing> = DIRECTORIES.iter().map(list).collect();
        let mut search = Search {
            tree,
            dirs,
            for_all: BTreeMap::new(),
            read: HashMap::new(),
        };
        let mut for_all = BTreeMap::new();
        search.add_dropins(&mut for_all, OsStr::new(FOR_ALL));
        search.for_all = for_all;
        search
    }

    /// Names of all declarations, without suffix.
    pub(crate) fn stems(&self) -> BTreeSet<OsString> {
        self.dirs
            .iter()
            .flat_map(|dir| &dir.names)
            .filter_map(|name| stem(name, ".container"))
            .collect()
    }

    /// Directories that exist and cannot be read.
    pub(crate) fn problems(&self) -> impl Iterator<Item = Problem> {
        let broken = |dir: &Listing| {
            Some(Problem::of_file(
                self.tree.real(&dir.inside),
                dir.problem.clone()?,
            ))
        };
        self.dirs.iter().filter_map(broken)
    }

    /// Drop-in directories with drop-ins for which there is none of the declarations `stems`.
    pub(crate) fn orphans(&self, stems: &BTreeSet<OsString>) -> Vec<Problem> {
        let mut orphans = Vec::new();
        for dir in &self.dirs {
            for name in &dir.names {
                let Some(stem) = stem(name, ".container.d").filter(|stem| !stems.contains(stem))
                else {
                    continue;
                };
                let inside = dir.inside.join(name);
                let names = self.tree.list(&inside).unwrap_or_default();
                if names.iter().any(|name| self::stem(name, ".conf").is_some()) {
                    let wanted = stem.to_string_lossy();
                    let message =
                        format!("drop-ins without a declaration: there is no {wanted}.container");
                    orphans.push(Problem::of_file(self.tree.real(&inside), message));
                }
            }
        }
        orphans
    }

    /// Reads the declaration `stem` and its drop-ins.
    pub(crate) fn find(&mut self, stem: &OsStr) -> Found {
        let name = with_suffix(stem, ".container");
        let holders = self.dirs.iter().filter(|dir| dir.names.contains(&name));
        let candidates: Vec<PathBuf> = holders.map(|dir| dir.inside.join(&name)).collect();
        for inside in candidates {
            let path = self.tree.real(&inside);
            if let Some(template) = template_of(stem).filter(|name| leads_to(&path, name)) {
                return match self.find_instance(stem, &template) {
                    Found::Absent => {
                        let wanted = template.to_string_lossy();
                        let text = Err(format!("there is no template {wanted}.container"));
                        self.with_dropins(Source { path, text }, stem, None)
                    }
                    found => found,
                };
            }
            let text = match self.tree.read(&inside) {
                // Removed since the directory was listed.
                Ok(Contents::Absent) => continue,
                Ok(Contents::Mask) => {
                    return match self.unseen(stem) {
                        Some(unseen) => Found::Sources(vec![unseen]),
                        None => Found::Masked(path),
                    };
                }
                Ok(Contents::Text(bytes)) => Ok(Rc::new(ini::parse(&bytes))),
                Err(message) => Err(message),
            };
            return self.with_dropins(Source { path, text }, stem, None);
        }
        Found::Absent
    }

    /// A directory that cannot be listed and may hold what overrides the file of `stem`.
    fn unseen(&self, stem: &OsStr) -> Option<Source> {
        let name = with_suffix(stem, ".container");
        let holder = self.dirs.iter().position(|dir| dir.names.contains(&name))?;
        let before = self.dirs.iter().take(holder);
        let mut unseen = before.filter_map(|dir| {
            Some(Source {
                path: self.tree.real(&dir.inside),
                text: Err(dir.problem.clone()?),
            })
        });
        unseen.next()
    }

    /// Reads `template` and its drop-ins as its instance `stem`, which has drop-ins of its own.
    pub(crate) fn find_instance(&mut self, stem: &OsStr, template: &OsStr) -> Found {
        match self.find(template) {
            Found::Sources(mut sources) if !sources.is_empty() => {
                self.with_dropins(sources.swap_remove(0), stem, None)
            }
            found => found,
        }
    }

    /// Reads the file `path` as the declaration `stem`, and the drop-ins that would apply to it.
    pub(crate) fn find_file(&mut self, path: &Path, stem: &OsStr) -> Found {
        let text = match read_named(path) {
            Ok(Contents::Absent) => return Found::Absent,
            Ok(Contents::Mask) => return Found::Masked(path.to_owned()),
            Ok(Contents::Text(bytes)) => Ok(Rc::new(ini::parse(&bytes))),
            Err(message) => Err(message),
        };
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let installed = self
            .dirs
            .iter()
            .any(|dir| Some(self.tree.real(&dir.inside).as_path()) == absolute.parent());
        let beside = (!installed).then_some(absolute.as_path());
        self.with_dropins(
            Source {
                path: path.to_owned(),
                text,
            },
            stem,
            beside,
        )
    }

    fn with_dropins(&mut self, main: Source, stem: &OsStr, beside: Option<&Path>) -> Found {
        let mut candidates = BTreeMap::new();
        // Those of the instance come before those of its template: of equal file names the first one counts.
        for stem in std::iter::once(stem.to_owned()).chain(template_of(stem)) {
            let directory = with_suffix(&stem, ".container.d");
            if let Some(dir) = beside.map(|file| file.with_file_name(&directory)) {
                let listed = Tree::new(Path::new("/")).list(&dir);
                add_listing(&mut candidates, listed, &dir, &dir, Candidate::Named);
            }
            self.add_dropins(&mut candidates, &directory);
        }
        for (name, candidate) in &self.for_all {
            candidates
                .entry(name.clone())
                .or_insert_with(|| candidate.clone());
        }
        let mut sources = vec![main];
        sources.extend(
            candidates
                .into_values()
                .filter_map(|candidate| self.source(candidate)),
        );
        if beside.is_none() {
            let of_template = template_of(stem).and_then(|template| self.unseen(&template));
            sources.extend(self.unseen(stem).or(of_template));
        }
        Found::Sources(sources)
    }

    /// Adds the drop-ins of `directory` in each of the four directories. The first of equal names stays.
    fn add_dropins(&self, candidates: &mut BTreeMap<OsString, Candidate>, directory: &OsStr) {
        for dir in self.dirs.iter().filter(|dir| dir.names.contains(directory)) {
            let inside = dir.inside.join(directory);
            add_listing(
                candidates,
                self.tree.list(&inside),
                &inside,
                &self.tree.real(&inside),
                Candidate::File,
            );
        }
    }

    fn source(&mut self, candidate: Candidate) -> Option<Source> {
        let (path, contents, shared) = match candidate {
            Candidate::Broken(path, message) => {
                return Some(Source {
                    path,
                    text: Err(message),
                });
            }
            Candidate::Named(path) => {
                let contents = read_named(&path);
                (path, contents, false)
            }
            Candidate::File(inside) => {
                let path = self.tree.real(&inside);
                let shared = inside.parent().is_some_and(|dir| dir.ends_with(FOR_ALL));
                if let Some(text) = self.read.get(&path).filter(|_| shared) {
                    return Some(Source {
                        text: Ok(Rc::clone(text.as_ref()?)),
                        path,
                    });
                }
                let contents = self.tree.read(&inside);
                (path, contents, shared)
            }
        };
        let text = match contents {
            Err(message) => {
                return Some(Source {
                    path,
                    text: Err(message),
                });
            }
            Ok(Contents::Absent | Contents::Mask) => None,
            Ok(Contents::Text(bytes)) => Some(Rc::new(ini::parse(&bytes))),
        };
        if shared {
            self.read.insert(path.clone(), text.clone());
        }
        Some(Source {
            path,
            text: Ok(text?),
        })
    }
}

fn add_listing(
    candidates: &mut BTreeMap<OsString, Candidate>,
    listed: Result<Vec<OsString>, String>,
    directory: &Path,
    real: &Path,
    make: impl Fn(PathBuf) -> Candidate,
) {
    match listed {
        Ok(names) => {
            for name in names
                .into_iter()
                .filter(|name| stem(name, ".conf").is_some())
            {
                let path = directory.join(&name);
                candidates.entry(name).or_insert_with(|| make(path));
            }
        }
        // Under its path, which no file name equals.
        Err(message) => {
            let broken = Candidate::Broken(real.to_owned(), message);
            candidates.insert(real.as_os_str().to_owned(), broken);
        }
    }
}

/// Whether `path` is a link to a template: to a file of that name, wherever it lies and whether or not it is there.
fn leads_to(path: &Path, template: &OsStr) -> bool {
    std::fs::read_link(path)
        .is_ok_and(|to| to.file_name() == Some(&with_suffix(template, ".container")))
}

/// What stands before `suffix`; `None` for other and for hidden names.
pub(crate) fn stem(name: &OsStr, suffix: &str) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(suffix.as_bytes())?;
    (!stem.is_empty() && !stem.starts_with(b".")).then(|| OsString::from_vec(stem.to_owned()))
}

fn with_suffix(stem: &OsStr, suffix: &str) -> OsString {
    let mut name = stem.to_owned();
    name.push(suffix);
    name
}
