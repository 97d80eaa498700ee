//! The flow as a graph: sources, topics, processors, sinks, downstreams, views; in formats for
//! documents (mermaid), drawings (dot), programs (json) and terminals (text). Equal topologies
//! give equal text.

use crate::model::{Lane, Topology};
use crate::units::{show_duration, show_rate};
use std::fmt::Write;
use std::str::FromStr;

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// A mermaid flowchart, as Markdown viewers draw it.
    Mermaid,
    /// Graphviz.
    Dot,
    /// One JSON object: `{"name","partitions","nodes":[{"id","kind","label"}],"edges":[{"from","to"}]}`.
    Json,
    /// Lines for a terminal.
    Text,
}

impl GraphFormat {
    /// Every format with its word.
    pub const ALL: [(&'static str, GraphFormat); 4] = [
        ("mermaid", GraphFormat::Mermaid),
        ("dot", GraphFormat::Dot),
        ("json", GraphFormat::Json),
        ("text", GraphFormat::Text),
    ];
}

/// A word that is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown graph format `{0}`: use mermaid, dot, json or text")]
pub struct UnknownFormat(String);

impl FromStr for GraphFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<GraphFormat, UnknownFormat> {
        let found = GraphFormat::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, format)| *format).ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

/// Writes the graph of a topology.
#[must_use]
pub fn graph(topology: &Topology, format: GraphFormat) -> String {
    match format {
        GraphFormat::Mermaid => mermaid(&Graph::of(topology)),
        GraphFormat::Dot => dot(topology, &Graph::of(topology)),
        GraphFormat::Json => json(topology, &Graph::of(topology)),
        GraphFormat::Text => text(topology),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Source,
    Topic,
    Processor,
    Sink,
    Downstream,
    View,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Topic => "topic",
            Kind::Processor => "processor",
            Kind::Sink => "sink",
            Kind::Downstream => "downstream",
            Kind::View => "view",
        }
    }
}

#[derive(Debug)]
struct Vertex {
    kind: Kind,
    name: String,
    /// What is worth knowing besides the name.
    details: Vec<String>,
}

impl Vertex {
    fn id(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.name)
    }

    fn label(&self, separator: &str) -> String {
        let lines = std::iter::once(self.name.clone()).chain(self.details.iter().cloned());
        lines.collect::<Vec<_>>().join(separator)
    }
}

#[derive(Debug, Default)]
struct Graph {
    vertices: Vec<Vertex>,
    edges: Vec<(usize, usize)>,
}

impl Graph {
    fn of(topology: &Topology) -> Graph {
        let mut graph = Graph::default();
        let producers = graph.add(Kind::Source, "producers", vec!["library, API, produce".to_owned()]);
        let partitions = format!("{} partitions", topology.partitions());
        let awards = graph.add(Kind::Topic, "awards", vec![partitions]);
        let intake = graph.add(Kind::Processor, "intake", vec![]);
        let journal = graph.add(Kind::Topic, "journal", vec![]);
        let dead = graph.add(Kind::Topic, "dlq.intake", vec![]);
        graph.edges.extend([(producers, awards), (awards, intake), (intake, journal), (intake, dead)]);
        let downstreams: Vec<(usize, &str)> = topology
            .downstreams()
            .iter()
            .map(|downstream| {
                let kind = downstream.kind().as_str().to_owned();
                (graph.add(Kind::Downstream, downstream.name(), vec![kind]), downstream.name())
            })
            .collect();
        for lane in topology.lanes() {
            let orders = graph.add(Kind::Topic, &format!("orders.{}", lane.name()), vec![]);
            let sink = graph.add(Kind::Sink, &format!("sink.{}", lane.name()), vec![limits(lane)]);
            graph.edges.extend([(intake, orders), (orders, sink), (sink, journal)]);
            let target = downstreams.iter().find(|(_, name)| *name == lane.downstream());
            graph.edges.extend(target.map(|(downstream, _)| (sink, *downstream)));
        }
        let overdue = show_duration(topology.views().reconcile_overdue_after());
        for (view, details) in
            [("wallet", vec![]), ("totals", vec![]), ("reconcile", vec![format!("overdue after {overdue}")])]
        {
            let view = graph.add(Kind::View, view, details);
            graph.edges.push((journal, view));
        }
        graph
    }

    fn add(&mut self, kind: Kind, name: &str, details: Vec<String>) -> usize {
        self.vertices.push(Vertex { kind, name: name.to_owned(), details });
        self.vertices.len() - 1
    }

    fn edge_ids(&self) -> impl Iterator<Item = (String, String)> {
        self.edges
            .iter()
            .filter_map(|(from, to)| Some((self.vertices.get(*from)?.id(), self.vertices.get(*to)?.id())))
    }
}

/// The limits of a lane in a few words.
fn limits(lane: &Lane) -> String {
    let rate = show_rate(lane.rate_per_second());
    match (lane.pool(), lane.rank()) {
        (Some(pool), Some(rank)) => format!("{rate}, pool {pool}, rank {rank}"),
        _ => rate,
    }
}

fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    for (index, vertex) in graph.vertices.iter().enumerate() {
        let label = vertex.label("<br/>");
        let (open, close) = match vertex.kind {
            Kind::Topic => ("[(", ")]"),
            Kind::Source | Kind::Downstream => ("([", "])"),
            Kind::Processor | Kind::Sink => ("[", "]"),
            Kind::View => ("[/", "/]"),
        };
        line(&mut out, format_args!("  n{index}{open}\"{label}\"{close}"));
    }
    for (from, to) in &graph.edges {
        line(&mut out, format_args!("  n{from} --> n{to}"));
    }
    out
}

fn dot(topology: &Topology, graph: &Graph) -> String {
    let mut out = String::new();
    line(&mut out, format_args!("digraph \"{}\" {{", topology.name()));
    line(&mut out, format_args!("  rankdir=LR;"));
    for vertex in &graph.vertices {
        let shape = match vertex.kind {
            Kind::Topic => "cylinder",
            Kind::Source | Kind::Downstream => "ellipse",
            Kind::Processor | Kind::Sink => "box",
            Kind::View => "note",
        };
        let label = vertex.label("\\n");
        line(&mut out, format_args!("  \"{}\" [shape={shape}, label=\"{label}\"];", vertex.id()));
    }
    for (from, to) in graph.edge_ids() {
        line(&mut out, format_args!("  \"{from}\" -> \"{to}\";"));
    }
    out.push_str("}\n");
    out
}

/// Names, kinds and figures only: nothing in them needs an escape in JSON, mermaid or dot, since
/// the compiler lets no quote, backslash or control character into a name.
fn json(topology: &Topology, graph: &Graph) -> String {
    let nodes = graph.vertices.iter().map(|vertex| {
        let (id, kind, label) = (vertex.id(), vertex.kind.as_str(), vertex.label(", "));
        format!("{{\"id\":\"{id}\",\"kind\":\"{kind}\",\"label\":\"{label}\"}}")
    });
    let nodes = nodes.collect::<Vec<_>>().join(",");
    let edges = graph.edge_ids().map(|(from, to)| format!("{{\"from\":\"{from}\",\"to\":\"{to}\"}}"));
    let edges = edges.collect::<Vec<_>>().join(",");
    let (name, partitions) = (topology.name(), topology.partitions());
    format!("{{\"name\":\"{name}\",\"partitions\":{partitions},\"nodes\":[{nodes}],\"edges\":[{edges}]}}\n")
}

fn text(topology: &Topology) -> String {
    let mut out = String::new();
    let (name, partitions) = (topology.name(), topology.partitions());
    let plural = if partitions == 1 { "" } else { "s" };
    line(&mut out, format_args!("{name}: {partitions} partition{plural} of every topic, by act_id"));
    line(&mut out, format_args!("\nproducers (library, API, produce)\n  -> awards\nintake"));
    line(&mut out, format_args!("  <- awards\n  -> journal"));
    for lane in topology.lanes() {
        let types = lane.reward_types().join(", ");
        line(&mut out, format_args!("  -> orders.{}  ({types})", lane.name()));
    }
    line(&mut out, format_args!("  -> dlq.intake"));
    for lane in topology.lanes() {
        let kind = topology.downstream(lane.downstream()).map_or("", |found| found.kind().as_str());
        let name = lane.name();
        line(&mut out, format_args!("sink.{name}  ({})", limits(lane)));
        line(&mut out, format_args!("  <- orders.{name}\n  -> {} ({kind})\n  -> journal", lane.downstream()));
    }
    let overdue = show_duration(topology.views().reconcile_overdue_after());
    line(&mut out, format_args!("views\n  <- journal"));
    line(&mut out, format_args!("  => wallet, totals, reconcile (overdue after {overdue})"));
    out
}

/// Writing to a `String` cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    if out.write_fmt(text).is_ok() {
        out.push('\n');
    }
}
