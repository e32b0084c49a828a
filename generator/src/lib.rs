//! Declares system containers to systemd.
//!
//! Data flows one way: declaration text becomes a [`wanted::Wanted`], that becomes a [`unit::UnitDraft`] and a spec file,
//! [`reconcile`] compares the drafts with what systemd has loaded, and [`apply`] carries the difference out over D-Bus.
//! What decides does no I/O; only [`manager`] knows D-Bus.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod apply;
mod base64;
pub mod cli;
pub mod declaration;
pub mod digest;
mod distinct;
pub mod ends;
pub mod import;
pub mod manager;
pub mod name;
pub mod problem;
pub mod property;
pub mod ranges;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod runs;
#[cfg(test)]
mod sample;
pub mod specfile;
pub mod tree;
pub mod unit;
pub mod validate;
pub mod wanted;
