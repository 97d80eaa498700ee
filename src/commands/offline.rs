//! Commands that need no server: validate, graph, config show.

use std::path::Path;

use anyhow::anyhow;
use hongbao_topology::{Problem, Topology};

use crate::cli::{Global, GraphFormat, Output};
use crate::exit::{CONFIGURATION, Failure, OK, Outcome};
use crate::output::{print_json, print_lines};

/// The topology that a file describes, with variables from the environment. Every error is printed
/// at once, with file, line and column.
#[expect(clippy::disallowed_methods, reason = "the composition root gives the environment to the compiler")]
pub fn load(config: &Path) -> Result<Topology, Failure> {
    hongbao_topology::load(config, &|name| std::env::var(name).ok())
        .map_err(|problems| invalid(&config.display().to_string(), &problems))
}

/// Prints all problems and says how many there are.
pub fn invalid(file: &str, problems: &[Problem]) -> Failure {
    eprintln!("{}", hongbao_topology::render(problems));
    let count = problems.len();
    let errors = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
    Failure::new(CONFIGURATION, anyhow!("{file}: {errors}"))
}

/// `hongbao validate`.
pub fn validate(global: &Global) -> Outcome {
    let topology = load(&global.config)?;
    let scenes: usize = topology.campaigns().iter().map(|campaign| campaign.scenes().len()).sum();
    let (lanes, campaigns) = (topology.lanes().len(), topology.campaigns().len());
    match global.output {
        Output::Text => print_lines(&[format!(
            "{}: ok, {lanes} lanes, {campaigns} campaigns, {scenes} scenes",
            global.config.display()
        )])?,
        output => print_json(
            &serde_json::json!({"valid": true, "lanes": lanes, "campaigns": campaigns, "scenes": scenes}),
            output,
        )?,
    }
    Ok(OK)
}

/// `hongbao graph`.
pub fn graph(global: &Global, format: GraphFormat) -> Outcome {
    let topology = load(&global.config)?;
    let format = match format {
        GraphFormat::Mermaid => hongbao_topology::GraphFormat::Mermaid,
        GraphFormat::Dot => hongbao_topology::GraphFormat::Dot,
        GraphFormat::Json => hongbao_topology::GraphFormat::Json,
        GraphFormat::Text => hongbao_topology::GraphFormat::Text,
    };
    print_lines(&[hongbao_topology::graph(&topology, format).trim_end().to_owned()])?;
    Ok(OK)
}

/// `hongbao config show`.
pub fn config_show(global: &Global) -> Outcome {
    let topology = load(&global.config)?;
    print_lines(&[hongbao_topology::show(&topology).trim_end().to_owned()])?;
    Ok(OK)
}
