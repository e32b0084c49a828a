//! The options of `skep run`, as clap reads them.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::super::names::{chdir, container, ids, inherited, run_name};

/// How a command shall run in a container of its own.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct RunArgs {
    /// Take a declaration as a base; its tree is copy-on-write
    #[arg(long, value_name = "CONTAINER", value_parser = container)]
    pub(super) like: Option<String>,
    // The same id as the option of all other verbs, which it stands in for.
    /// Tree or disk image, copy-on-write; default: an empty one
    #[arg(long, id = "root", value_name = "DIR|IMAGE", value_hint = ValueHint::AnyPath, conflicts_with = "like")]
    pub(super) root: Option<PathBuf>,
    /// Changes of the tree stay
    #[arg(long, requires = "root")]
    pub(super) writable: bool,
    /// The tree cannot be changed
    #[arg(long, conflicts_with = "writable")]
    pub(super) read_only: bool,
    /// Host path that the command sees and may change; a leading "-": when it exists
    #[arg(long, value_name = "SRC[=DST]", allow_hyphen_values = true, value_hint = ValueHint::AnyPath)]
    pub(super) share: Vec<String>,
    /// Host path that the command sees and cannot change
    #[arg(long, value_name = "SRC[=DST]", allow_hyphen_values = true, value_hint = ValueHint::AnyPath)]
    pub(super) expose: Vec<String>,
    /// Store paths, as "guix gc -R" and "nix-store -qR" print them
    #[arg(long, value_name = "PATHS|@FILE")]
    pub(super) closure: Vec<String>,
    /// An empty directory in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(super) tmpfs: Vec<String>,
    /// Namespaces of its own: user,mount,pid,net,ipc,uts,cgroup, all, none; "-net" leaves one out
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(super) namespaces: Option<String>,
    /// Use the host's network
    #[arg(long)]
    pub(super) network: bool,
    /// User id inside
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..65536))]
    pub(super) uid: Option<u32>,
    /// Group id inside; default: the user id
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..65536))]
    pub(super) gid: Option<u32>,
    /// Both ids at once, as of exec and shell
    #[arg(long, value_name = "UID[:GID]", value_parser = ids, conflicts_with_all = ["uid", "gid"])]
    pub(super) user: Option<(u32, u32)>,
    /// Environment variable, or the name of one of the caller's
    #[arg(long, value_name = "NAME=VALUE|NAME", value_parser = inherited)]
    pub(super) env: Vec<String>,
    /// Directory inside to start in
    #[arg(long, value_name = "DIR", value_parser = chdir)]
    pub(super) chdir: Option<String>,
    /// Host name inside; default: the name of the run
    #[arg(long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// A small init is PID 1, which reaps orphans and forwards signals
    #[arg(long)]
    pub(super) init: bool,
    /// File that holds the first process's PID while it runs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pid_file: Option<PathBuf>,
    /// Setting of the unit, one of a declaration's Service or Unit section
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) property: Vec<String>,
    /// Name of the run, for "skep exec"
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    pub(super) name: Option<String>,
    /// Give it a terminal; default when standard input and output are one
    #[arg(long, conflicts_with_all = ["pipe", "no_block"])]
    pub(super) pty: bool,
    /// Give it pipes
    #[arg(long)]
    pub(super) pipe: bool,
    /// Wait for the end and return its status; this is the default
    #[arg(long, conflicts_with = "no_block")]
    pub(super) wait: bool,
    /// Print the unit's name once it runs; its output goes to the journal
    #[arg(long)]
    pub(super) no_block: bool,
    /// Say nothing but errors
    #[arg(long)]
    pub(super) quiet: bool,
    /// Command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub(super) command: Vec<String>,
}
