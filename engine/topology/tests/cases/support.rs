//! A small configuration that uses every key, and a way to break it in one place.

use hongbao_topology::{File, Problem, Topology, compile};

/// Uses every key of a topology.
pub const TOPOLOGY: &str = include_str!("../base/topology.yaml");
/// Uses every key of a campaign.
pub const CAMPAIGN: &str = include_str!("../base/campaign.yaml");

/// Compiles a topology and one campaign with variables.
pub fn compile_with(
    topology: &str,
    campaign: &str,
    variables: &[(&str, &str)],
) -> Result<Topology, Vec<Problem>> {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let topology = File { name: "topology.yaml", text: topology };
    compile(topology, &[File { name: "campaigns/base.yaml", text: campaign }], &lookup)
}

/// The text with `old` replaced by `new`; `old` stands in it exactly once.
pub fn edit(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old:?} must stand exactly once");
    text.replace(old, new)
}
