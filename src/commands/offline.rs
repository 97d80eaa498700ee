//! Commands that need no server: validate, graph, config show.

use std::path::Path;

use anyhow::anyhow;
use hongbao_topology::{Problem, Topology};

use crate::cli::{Global, GraphFormat, Output};
use crate::exit::{CONFIGURATION, Failure, OK, Outcome};
use crate::output::{print_json, print_lines};

/// The topology that a file describes, with variables from the environment. Every error is printed
/// at once, with file, line and column.
pub fn load(config: &Path) -> Result<Topology, Failure> {
    load_quietly(config).map_err(|problems| invalid(&config.display().to_string(), &problems))
}

#[expect(clippy::disallowed_methods, reason = "the composition root gives the environment to the compiler")]
fn load_quietly(config: &Path) -> Result<Topology, Vec<Problem>> {
    hongbao_topology::load(config, &|name| std::env::var(name).ok())
}

/// Prints all problems and says how many there are, and in which files.
pub fn invalid(file: &str, problems: &[Problem]) -> Failure {
    eprintln!("{}", hongbao_topology::render(problems));
    let mut files: Vec<(&str, usize)> = Vec::new();
    for problem in problems {
        match files.iter_mut().find(|(name, _)| *name == problem.file()) {
            Some((_, count)) => *count += 1,
            None => files.push((problem.file(), 1)),
        }
    }
    let errors = |count: usize| if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
    let each: Vec<String> = files.iter().map(|(name, count)| format!("{name}: {}", errors(*count))).collect();
    let message = match each.as_slice() {
        [] => format!("{file}: not valid"),
        [one] => one.clone(),
        many => format!("{} ({})", errors(problems.len()), many.join(", ")),
    };
    Failure::new(CONFIGURATION, anyhow!(message))
}

/// `hongbao validate`.
pub fn validate(global: &Global) -> Outcome {
    let topology = match load_quietly(&global.config) {
        Ok(topology) => topology,
        Err(problems) if global.output == Output::Text => {
            return Err(invalid(&global.config.display().to_string(), &problems));
        }
        Err(problems) => {
            let errors = problems.iter().map(|problem| {
                serde_json::json!({
                    "code": problem.code().as_str(), "file": problem.file(), "line": problem.line(),
                    "column": problem.column(), "message": problem.message(), "help": problem.help(),
                })
            });
            let found = serde_json::json!({"valid": false, "errors": errors.collect::<Vec<_>>()});
            print_json(&found, global.output)?;
            return Ok(CONFIGURATION);
        }
    };
    let scenes: usize = topology.campaigns().iter().map(|campaign| campaign.scenes().len()).sum();
    let (lanes, campaigns) = (topology.lanes().len(), topology.campaigns().len());
    match global.output {
        Output::Text => print_lines(&[format!(
            "{}: ok, lanes: {lanes}, campaigns: {campaigns}, scenes: {scenes}",
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
pub fn graph(global: &Global, format: Option<GraphFormat>) -> Outcome {
    let topology = load(&global.config)?;
    let usual = if global.output == Output::Text { GraphFormat::Text } else { GraphFormat::Json };
    let format = format.unwrap_or(usual);
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
    if global.output != Output::Text {
        let settings = topology.settings(0);
        let lanes = topology.lanes().iter().map(|lane| {
            serde_json::json!({
                "lane": lane.name(), "reward_types": lane.reward_types(), "downstream": lane.downstream(),
                "rate_per_second": lane.rate_per_second(), "burst": lane.burst(),
                "query_rate_per_second": lane.query_rate_per_second(), "pool": lane.pool(), "rank": lane.rank(),
            })
        });
        let shown = serde_json::json!({
            "name": topology.name(), "partitions": topology.partitions(), "listen": topology.http().listen(),
            "lanes": lanes.collect::<Vec<_>>(), "reward_types": settings.reward_types,
            "activities": settings.activities, "yaml": hongbao_topology::show(&topology),
        });
        print_json(&shown, global.output)?;
        return Ok(OK);
    }
    print_lines(&[hongbao_topology::show(&topology).trim_end().to_owned()])?;
    Ok(OK)
}
