//! What was asked for: the spec and the unit properties of a run, or everything that is wrong with its options.
//!
//! Options that a declaration has a key for are read as an assignment of that key, so that both take the same values and
//! say the same about wrong ones. Pure: facts come in as [`Around`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use skep_spec::{
    Access, Adapt, Bind, Command, ContainerSpec, Missing, Namespace, Network, Root, Store, Streams,
    Users, Variable,
};

use crate::declaration::keys::{self, Section};
use crate::declaration::value::path::absolute;
use crate::declaration::{Declaration, Facts, LoadState, Setting};
use crate::problem::{Origin, ProblemList, quoted};
use crate::property::Property;
use crate::unit::live;
use crate::unit::render::devices_of;
use crate::validate::{root::check_tree, validate};
use crate::wanted::Wanted;

use super::RunArgs;
use super::namespace::{self, Kind};

/// What surrounds the caller.
pub(super) struct Around<'a> {
    /// Current directory.
    pub(super) directory: &'a Path,
    /// Environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The path without links and `..`, when it exists.
    pub(super) resolve: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// Where the streams of the command lead.
    pub(super) streams: Streams,
}

/// What shall run.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) spec: ContainerSpec,
    pub(super) properties: Vec<Property>,
    /// Paths that must exist, each with the option that names it.
    pub(super) sources: Vec<(&'static str, PathBuf)>,
}

/// An option as the assignment that it amounts to.
struct Assignment {
    option: &'static str,
    section: Section,
    key: String,
    value: String,
}

/// What is wrong, one line each.
type Problems = Vec<String>;

/// Reads the options. `like` is the declaration that they start from.
pub(super) fn request(
    arguments: &RunArgs,
    like: Option<&Wanted>,
    closure: Vec<PathBuf>,
    around: &Around<'_>,
    facts: &Facts,
) -> Result<Request, Problems> {
    let mut problems = Problems::new();
    let kinds = kinds(arguments, &mut problems);
    check_kinds(arguments, &kinds, &mut problems);
    let users = users(like, &kinds);
    let (assignments, sources) = assignments(arguments, users, around, &mut problems);
    let read = read(arguments, assignments, facts, &mut problems);
    let root = root(arguments, like, &kinds, around);
    if let Err(message) = check_root(arguments, &root) {
        problems.push(format!("--root: {message}"));
    }
    let environment = environment(arguments, around, &mut problems);
    let (Some(read), true) = (read, problems.is_empty()) else {
        return Err(problems);
    };
    let mut spec = match like {
        Some(like) => of_declaration(&like.spec),
        None => ContainerSpec::of(root.clone(), users),
    };
    spec.root = root;
    spec.users = users;
    let closure_binds = closure.iter().map(|path| exposed(path, users));
    let own = read.spec.binds.into_iter().chain(closure_binds).collect();
    mount(&mut spec, own, read.spec.temporary);
    spec.hostname = read.spec.hostname.or(spec.hostname);
    if !kinds.contains(&Kind::Uts) {
        spec.hostname = None;
    }
    spec.environment.extend(environment);
    // With --like the declaration says whether the network is the host's.
    if arguments.network || !kinds.contains(&Kind::Net) {
        spec.network = Network::Host;
    }
    spec.shared = shared(&kinds);
    spec.command = Some(command(arguments, &kinds, around));
    let mut properties = like.map(limits).unwrap_or_default();
    for property in read.properties {
        properties.retain(|other| other.name != property.name);
        properties.push(property);
    }
    properties.extend(devices_of(&spec));
    let closure = closure.into_iter().map(|path| ("--closure", path));
    let sources = sources.into_iter().chain(closure).collect();
    Ok(Request {
        spec,
        properties,
        sources,
    })
}

fn kinds(arguments: &RunArgs, problems: &mut Problems) -> BTreeSet<Kind> {
    let mut kinds = match arguments.namespaces.as_deref().map(namespace::parse) {
        None => namespace::all(),
        Some(Ok(kinds)) => kinds,
        Some(Err(message)) => {
            problems.push(format!("--namespaces: {message}"));
            namespace::all()
        }
    };
    if arguments.network {
        kinds.remove(&Kind::Net);
    }
    kinds
}

/// Options that need a namespace which was left out.
fn check_kinds(arguments: &RunArgs, kinds: &BTreeSet<Kind>, problems: &mut Problems) {
    let given = [
        ("--like", Kind::Mount, arguments.like.is_some()),
        ("--root", Kind::Mount, arguments.root.is_some()),
        ("--read-only", Kind::Mount, arguments.read_only),
        ("--share", Kind::Mount, !arguments.share.is_empty()),
        ("--expose", Kind::Mount, !arguments.expose.is_empty()),
        ("--closure", Kind::Mount, !arguments.closure.is_empty()),
        ("--tmpfs", Kind::Mount, !arguments.tmpfs.is_empty()),
        ("--hostname", Kind::Uts, arguments.hostname.is_some()),
    ];
    for (option, kind, _) in given
        .into_iter()
        .filter(|(_, kind, given)| *given && !kinds.contains(kind))
    {
        let name = if kind == Kind::Mount { "mount" } else { "uts" };
        problems.push(format!(
            "{option} needs a {name} namespace, which --namespaces leaves out"
        ));
    }
}

/// A range of its own is picked, unless the declaration has none to begin with.
fn users(like: Option<&Wanted>, kinds: &BTreeSet<Kind>) -> Users {
    match like.map(|like| like.spec.users) {
        _ if !kinds.contains(&Kind::User) => Users::Host,
        Some(users @ (Users::Identity | Users::Host)) => users,
        Some(Users::Private { .. }) | None => Users::Private { base: 0 },
    }
}

type Sources = Vec<(&'static str, PathBuf)>;

fn assignments(
    arguments: &RunArgs,
    users: Users,
    around: &Around<'_>,
    problems: &mut Problems,
) -> (Vec<Assignment>, Sources) {
    let mut all = Vec::new();
    let mut sources = Vec::new();
    let mut container = |option: &'static str, key: &str, value: String| {
        all.push(Assignment {
            option,
            section: Section::Container,
            key: key.to_owned(),
            value,
        });
    };
    match users {
        Users::Private { .. } => {}
        Users::Identity => container("--like", "PrivateUsers", "identity".to_owned()),
        Users::Host => container("--namespaces", "PrivateUsers", "no".to_owned()),
    }
    let mut targets = BTreeSet::new();
    for (option, key, values) in [
        ("--share", "Bind", &arguments.share),
        ("--expose", "BindReadOnly", &arguments.expose),
    ] {
        for text in values {
            let shared = match share(text, around) {
                Ok(shared) => shared,
                Err(message) => {
                    problems.push(format!("{option}: {message}"));
                    continue;
                }
            };
            if !targets.insert(shared.target.clone()) {
                problems.push(twice(option, &shared.target));
                continue;
            }
            container(option, key, shared.as_value());
            if !shared.optional {
                sources.push((option, PathBuf::from(shared.source)));
            }
        }
    }
    for text in &arguments.tmpfs {
        let path = text.split(':').next().unwrap_or_default();
        if !targets.insert(path.to_owned()) {
            problems.push(twice("--tmpfs", path));
            continue;
        }
        container("--tmpfs", "TemporaryFileSystem", percents(text));
    }
    if let Some(name) = &arguments.hostname {
        container("--hostname", "Hostname", percents(name));
    }
    for text in &arguments.property {
        match text.split_once('=') {
            Some((key, value)) => all.push(Assignment {
                option: "--property",
                section: section_of(key),
                key: key.to_owned(),
                value: value.trim().to_owned(),
            }),
            None => problems.push(format!("--property: not NAME=VALUE: {}", quoted(text))),
        }
    }
    (all, sources)
}

fn twice(option: &str, target: &str) -> String {
    format!(
        "{option}: something else is mounted at {} already",
        quoted(target)
    )
}

/// A setting of the unit stands in one of two sections.
fn section_of(key: &str) -> Section {
    match keys::find(Section::Unit, key) {
        Some(_) => Section::Unit,
        None => Section::Service,
    }
}

/// Specifiers are for declarations: a percent sign of an option is one.
fn percents(text: &str) -> String {
    text.replace('%', "%%")
}

/// `[-]SRC[=DST]`
struct Share {
    optional: bool,
    source: String,
    target: String,
}

fn share(text: &str, around: &Around<'_>) -> Result<Share, String> {
    let (optional, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (source, target) = match text.split_once('=') {
        Some((source, target)) => (source, Some(target)),
        None => (text, None),
    };
    if source.is_empty() {
        return Err(format!("source is empty: {}", quoted(text)));
    }
    let path = around.directory.join(source);
    // Where ".." leads depends on links.
    let path = match source.split('/').any(|name| name == "..") {
        true => (around.resolve)(&path)
            .ok_or_else(|| format!("{}: no such file or directory", quoted(source)))?,
        false => path,
    };
    let not_text = || format!("not UTF-8: {}", path.display());
    let source = absolute("source", path.to_str().ok_or_else(not_text)?)?;
    let target = match target {
        Some(target) => absolute("target", target)?,
        None => source.clone(),
    };
    Ok(Share {
        optional,
        source: source.to_string_lossy().into_owned(),
        target: target.to_string_lossy().into_owned(),
    })
}

impl Share {
    /// As `Bind=` wants it.
    fn as_value(&self) -> String {
        let escape = |path: &str| percents(&path.replace('\\', "\\\\").replace(':', "\\:"));
        let dash = if self.optional { "-" } else { "" };
        format!("{dash}{}:{}", escape(&self.source), escape(&self.target))
    }
}

/// Validates the assignments as if they stood in a declaration, one per line.
fn read(
    arguments: &RunArgs,
    assignments: Vec<Assignment>,
    facts: &Facts,
    problems: &mut Problems,
) -> Option<Wanted> {
    let mut declaration = Declaration {
        name: arguments.name.clone().unwrap_or_else(|| "run".to_owned()),
        source: PathBuf::from("options"),
        settings: Vec::new(),
        problems: ProblemList::default(),
    };
    let file = declaration.problems.add_file(&declaration.source);
    for (number, assignment) in assignments.iter().enumerate() {
        let origin = Origin {
            file,
            line: u32::try_from(number).unwrap_or(u32::MAX),
        };
        match keys::find(assignment.section, &assignment.key) {
            Some(row) => declaration.settings.push(Setting {
                origin,
                row,
                value: assignment.value.clone(),
            }),
            None => declaration
                .problems
                .error(origin, Some(&assignment.key), || {
                    keys::explain(assignment.section, &assignment.key)
                }),
        }
    }
    match validate(declaration, facts).state {
        LoadState::Valid(wanted) => Some(*wanted),
        LoadState::Masked | LoadState::Template => None,
        LoadState::Invalid {
            problems: found, ..
        } => {
            problems.extend(found.into_iter().map(|problem| {
                let assignment = problem
                    .line
                    .and_then(|line| assignments.get(usize::try_from(line).ok()?));
                match assignment {
                    Some(one) if one.option == "--property" => {
                        format!("--property: {}=: {}", one.key, problem.message)
                    }
                    Some(one) => format!("{}: {}", one.option, problem.message),
                    None => problem.message,
                }
            }));
            None
        }
    }
}

fn root(
    arguments: &RunArgs,
    like: Option<&Wanted>,
    kinds: &BTreeSet<Kind>,
    around: &Around<'_>,
) -> Root {
    let access = match (arguments.read_only, arguments.writable) {
        (true, _) => Access::ReadOnly,
        (_, true) => Access::Write,
        // The host's own files are as they are.
        _ if !kinds.contains(&Kind::Mount) => Access::Write,
        _ => Access::Ephemeral,
    };
    if let Some(like) = like {
        let declared = &like.spec.root;
        return Root {
            access: match declared.access {
                Access::Write => access,
                _ if arguments.read_only => Access::ReadOnly,
                other => other,
            },
            ..declared.clone()
        };
    }
    let path = arguments.root.as_deref();
    Root {
        path: path.map(|path| {
            let path = around.directory.join(path);
            (around.resolve)(&path).unwrap_or(path)
        }),
        template: None,
        access,
    }
}

/// What a declaration cannot have as its tree. One to start from has been checked.
fn check_root(arguments: &RunArgs, root: &Root) -> Result<(), String> {
    let (Some(_), Some(path)) = (&arguments.root, &root.path) else {
        return Ok(());
    };
    if path == Path::new("/") && arguments.writable {
        return Err("/ is always copy-on-write; remove --writable".to_owned());
    }
    check_tree(path)
}

fn environment(arguments: &RunArgs, around: &Around<'_>, problems: &mut Problems) -> Vec<Variable> {
    let mut variables = Vec::new();
    // Programs ask it what the terminal understands.
    if around.streams == Streams::Terminal
        && let Some(value) = (around.variable)("TERM")
    {
        let name = "TERM".to_owned();
        variables.push(Variable { name, value });
    }
    for text in &arguments.env {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), (around.variable)(text)),
        };
        match value {
            Some(value) => variables.push(Variable {
                name: name.to_owned(),
                value,
            }),
            None => problems.push(format!("--env: the caller has no variable {name}")),
        }
    }
    variables
}

/// A declared container without what only its init is concerned with.
fn of_declaration(declared: &ContainerSpec) -> ContainerSpec {
    // A closure is computed from the system.
    let system = match declared.store {
        Some(Store::Computed) => declared.system.clone(),
        _ => None,
    };
    ContainerSpec {
        init: None,
        parameters: Vec::new(),
        machine_id: None,
        kill_signal: None,
        notify_ready: None,
        adapt: Adapt {
            enabled: false,
            mask: Vec::new(),
            unmask: Vec::new(),
        },
        system,
        ..declared.clone()
    }
}

/// Adds mounts of the command line, which win over declared ones at the same place. Parents first: nothing hides another.
fn mount(spec: &mut ContainerSpec, own: Vec<Bind>, temporary: Vec<skep_spec::Tmpfs>) {
    let targets: BTreeSet<PathBuf> = own
        .iter()
        .map(|bind| &bind.target)
        .chain(temporary.iter().map(|tmpfs| &tmpfs.target))
        .cloned()
        .collect();
    spec.binds.retain(|bind| !targets.contains(&bind.target));
    spec.overlays
        .retain(|overlay| !targets.contains(&overlay.target));
    spec.temporary
        .retain(|tmpfs| !targets.contains(&tmpfs.target));
    let declared = std::mem::take(&mut spec.binds);
    spec.binds = own.into_iter().chain(declared).collect();
    spec.binds.sort_by(|a, b| a.target.cmp(&b.target));
    spec.temporary.extend(temporary);
    spec.temporary.sort_by(|a, b| a.target.cmp(&b.target));
    let private = matches!(spec.users, Users::Private { .. });
    for bind in &mut spec.binds {
        bind.idmap &= private;
    }
}

/// A store item. They are read-only and belong to root, inside too.
fn exposed(path: &Path, users: Users) -> Bind {
    Bind {
        source: path.to_owned(),
        target: path.to_owned(),
        read_only: true,
        missing: Missing::Fail,
        recursive: false,
        idmap: matches!(users, Users::Private { .. }),
        nosuid: true,
        nodev: true,
    }
}

fn shared(kinds: &BTreeSet<Kind>) -> Vec<Namespace> {
    [
        (Kind::Mount, Namespace::Mount),
        (Kind::Pid, Namespace::Pid),
        (Kind::Ipc, Namespace::Ipc),
        (Kind::Uts, Namespace::Uts),
        (Kind::Cgroup, Namespace::Cgroup),
    ]
    .into_iter()
    .filter(|(kind, _)| !kinds.contains(kind))
    .map(|(_, namespace)| namespace)
    .collect()
}

fn command(arguments: &RunArgs, kinds: &BTreeSet<Kind>, around: &Around<'_>) -> Command {
    let uid = arguments.uid.unwrap_or(0);
    let separate = (uid, arguments.gid.unwrap_or(uid));
    // The kernel spares the first process of a PID namespace the default action of signals: Ctrl-C would do nothing.
    let types_signals = around.streams == Streams::Terminal && kinds.contains(&Kind::Pid);
    Command {
        argv: arguments.command.clone(),
        user: arguments.user.unwrap_or(separate),
        directory: arguments.chdir.as_ref().map(PathBuf::from),
        init: arguments.init || types_signals,
        pid_file: arguments
            .pid_file
            .as_deref()
            .map(|path| around.directory.join(path)),
        streams: around.streams,
    }
}

/// Resource control of a declaration: a run of it has the same limits.
fn limits(like: &Wanted) -> Vec<Property> {
    let is_limit = |property: &&Property| live::can_change(property.name);
    like.properties.iter().filter(is_limit).cloned().collect()
}

#[cfg(test)]
mod tests;
