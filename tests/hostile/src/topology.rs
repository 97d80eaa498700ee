//! The topology compiler.

use hongbao_schemas::settings::Settings;
use hongbao_topology::{File, GraphFormat, PROBLEMS_MAX, graph, render, show};

use crate::meter::{Bound, bounded};

const TOPOLOGY: &str = include_str!("../../../engine/topology/tests/base/topology.yaml");
const CAMPAIGN: &str = include_str!("../../../engine/topology/tests/base/campaign.yaml");

/// Nodes of a tree, and for each problem sentences with an excerpt.
const COMPILE: Bound = Bound { factor: 512, base: 1 << 20 };

/// A topology; behind a zero byte, a campaign. What is missing is taken from the samples.
pub(crate) fn compile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (topology, campaign) = match text.split_once('\0') {
        None => (&*text, CAMPAIGN),
        Some(("", campaign)) => (TOPOLOGY, campaign),
        Some(both) => both,
    };
    let lookup = |name: &str| match name {
        "A" => Some("x".to_owned()),
        "B" => Some("5ms".to_owned()),
        "C" => Some(String::new()),
        _ => None,
    };
    let file = File { name: "topology.yaml", text: topology };
    let campaigns = [File { name: "campaigns/base.yaml", text: campaign }];
    let input_bytes = topology.len() + campaign.len();
    match bounded(COMPILE, input_bytes, || hongbao_topology::compile(file, &campaigns, &lookup)) {
        Err(problems) => {
            assert!((1..=PROBLEMS_MAX + 1).contains(&problems.len()), "violation: {}", problems.len());
            for problem in &problems {
                let text = if problem.file() == "topology.yaml" { topology } else { campaign };
                let lines = text.matches(['\n', '\r']).count() + 1;
                assert!(problem.line() as usize <= lines, "violation: line {} of {lines}", problem.line());
            }
            let shown = render(&problems).len();
            assert!(shown <= problems.len() * 4096 + 64, "violation: {shown} bytes of problems");
        }
        Ok(compiled) => {
            let settings = compiled.settings(1);
            let again = settings.to_json().ok().and_then(|json| Settings::from_json(&json).ok());
            assert!(again.as_ref() == Some(&settings), "violation: settings that cannot travel");
            drop((
                show(&compiled),
                graph(&compiled, GraphFormat::Mermaid),
                graph(&compiled, GraphFormat::Dot),
            ));
        }
    }
}
