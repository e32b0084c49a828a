//! Ports of the host that lead to containers, what a container cannot send, and what the rules of others do to both.

#[path = "ports/around.rs"]
mod around;
#[path = "ports/beside.rs"]
mod beside;
#[path = "ports/fence.rs"]
mod fence;
#[path = "ports/frames.rs"]
mod frames;
#[path = "ports/lead.rs"]
mod lead;
#[path = "ports/removal.rs"]
mod removal;

use std::process::ExitCode;

use skep_tests::trial::{self, Test};

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("ports_lead_inside", lead::everywhere),
        ("ports_are_given_once", lead::once),
        ("fence_in_a_bridge", fence::bridge),
        ("fence_of_a_pair", fence::pair),
        ("beside_rules_of_others", beside::others),
        ("forwarding_for_containers_only", beside::forwarding),
        ("rules_go_with_the_killed", removal::killed),
        ("rules_without_nft", removal::without),
        ("rules_of_others_stay", removal::of_others_stay),
    ];
    trial::main(trial::everywhere(tests))
}
