//! Harness of skep: building and packaging, test hosts, checks, and what boot tests are written with.
//!
//! A *test host* is a machine in namespaces: real systemd as PID 1, its own cgroup tree, network and mounts, with the
//! package installed. Nothing in here is shipped.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod bench;
pub mod command;
pub mod guest;
pub mod host;
pub mod interface;
pub mod leak;
pub mod parity;
pub mod place;
pub mod progress;
pub mod quiet;
pub mod results;
pub mod suite;
pub mod terminal;
pub mod tool;
pub mod tree;
pub mod trial;
pub mod tryout;
pub mod wait;
