//! Runs nft(8).

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::step::{At, StepError};

/// Gives nft a script, which it takes as a whole or not at all.
pub(super) fn run(script: &str) -> Result<(), StepError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("nft");
    command
        .args(["-f", "-"])
        // A unit's PATH may be without the directories of administrators' programs.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return Err(StepError::new("the program nft is missing", "").cure(
                "install nftables; Network=nat, Network=veth and Port= need it (fence=no spares a veth it)",
            ));
        }
        other => other.at("execute", "nft")?,
    };
    if let Some(mut input) = child.stdin.take() {
        // One that ends before it has read everything says why itself.
        let _ = input.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().at("wait for", "nft")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty());
    let said = crate::log::printable(said.unwrap_or("no reason given"), 300);
    Err(StepError::new("the packet filter refused its rules:", said)
        .cure("nft needs nf_tables with NAT and the netdev family in the kernel"))
}
