//! The launcher: from a spec file to a booted OS.
//!
//! `spec + HostFacts + TreeFacts -> LaunchPlan -> exec -> supervise -> Exit | Reboot`. What decides (`plan`,
//! `supervise::state`) does no I/O; what does I/O (`host`, `tree`, `exec`, `supervise`) decides nothing. One thread, no
//! async runtime, no D-Bus. Unsafe code lives in `sys` alone.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod attach;
pub mod cgroup;
pub mod cli;
pub mod document;
pub mod exec;
pub mod handed;
pub mod host;
pub mod image;
pub mod join;
pub mod load;
pub mod lock;
pub mod log;
pub mod net;
pub mod plan;
pub mod prepare;
pub mod register;
pub mod run;
pub mod step;
pub mod store;
pub mod streams;
pub mod supervise;
pub mod sync;
pub mod sys;
pub mod template;
pub mod tree;
