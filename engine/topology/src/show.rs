//! The configuration as it is understood: after interpolation, defaults filled in, every value in
//! one spelling. What it writes compiles to an equal topology again, but for the queries of URLs,
//! which may hold secrets and are cut. Files with secrets are named, never opened.

use crate::model::{Campaign, Downstream, DownstreamKind, HttpDownstream, Lane, Pool, Segments, Topology};
use crate::text::is_boolean_word;
use crate::units::{show_duration, show_rate, show_size};

/// One normalised file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownFile {
    /// The file's name; for the topology `topology.yaml`.
    pub name: String,
    /// Its text, valid YAML.
    pub text: String,
}

/// The normalised files: the topology first, then the campaigns.
#[must_use]
pub fn show_files(topology: &Topology) -> Vec<ShownFile> {
    let first = ShownFile { name: "topology.yaml".to_owned(), text: topology_text(topology) };
    let campaigns = topology.campaigns().iter();
    let campaigns = campaigns
        .map(|campaign| ShownFile { name: campaign.file().to_owned(), text: campaign_text(campaign) });
    std::iter::once(first).chain(campaigns).collect()
}

/// All normalised files as one stream of YAML documents, each below a comment with its name.
#[must_use]
pub fn show(topology: &Topology) -> String {
    let files = show_files(topology);
    let documents = files.iter().map(|file| format!("# {}\n{}", one_line(&file.name), file.text));
    documents.collect::<Vec<_>>().join("---\n")
}

fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lines of `key: value`, indented.
#[derive(Debug, Default)]
struct Lines {
    out: String,
    depth: usize,
}

impl Lines {
    fn put(&mut self, key: &str, value: &str) {
        self.out.extend(std::iter::repeat_n("  ", self.depth));
        self.out.push_str(key);
        self.out.push(':');
        if !value.is_empty() {
            self.out.push(' ');
            self.out.push_str(value);
        }
        self.out.push('\n');
    }

    /// Scalar text, quoted where it must be.
    fn text(&mut self, key: &str, value: &str) {
        self.put(key, &quoted(value));
    }

    fn within(&mut self, key: &str, write: impl FnOnce(&mut Lines)) {
        self.put(&quoted(key), "");
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }
}

fn topology_text(topology: &Topology) -> String {
    let mut lines = Lines::default();
    lines.put("version", "1");
    lines.text("name", topology.name());
    lines.put("partitions", &topology.partitions().to_string());
    lines.within("log", |lines| lines.within("segments", |lines| segments(lines, topology.segments())));
    lines.within("downstreams", |lines| {
        topology.downstreams().iter().for_each(|downstream| show_downstream(lines, downstream));
    });
    if !topology.pools().is_empty() {
        lines.within("pools", |lines| topology.pools().iter().for_each(|pool| show_pool(lines, pool)));
    }
    lines.within("lanes", |lines| topology.lanes().iter().for_each(|lane| show_lane(lines, lane)));
    lines.within("views", |lines| {
        lines.put("wallet", "{}");
        lines.put("totals", "{}");
        lines.within("reconcile", |lines| {
            lines.put("overdue_after", &show_duration(topology.views().reconcile_overdue_after()));
        });
    });
    lines.within("http", |lines| {
        let http = topology.http();
        lines.text("listen", &http.listen().to_string());
        if let Some(path) = http.tokens_file() {
            lines.text("tokens_file", path);
        }
        lines.put("max_connections", &http.max_connections().to_string());
        lines.put("request_timeout", &show_duration(http.request_timeout()));
    });
    lines.out
}

fn segments(lines: &mut Lines, segments: &Segments) {
    lines.put("segment_size", &show_size(segments.segment_size_bytes()));
    lines.within("sync", |lines| {
        lines.put("max_delay", &show_duration(segments.sync_max_delay()));
        lines.put("max_bytes", &show_size(segments.sync_max_bytes()));
    });
}

fn show_downstream(lines: &mut Lines, downstream: &Downstream) {
    lines.within(downstream.name(), |lines| match downstream.kind() {
        DownstreamKind::Embedded => lines.put("embedded", "{}"),
        DownstreamKind::Http(http) => lines.within("http", |lines| show_http(lines, http)),
        DownstreamKind::Simulated(simulated) => lines.within("simulated", |lines| {
            lines.text("profile", simulated.profile());
            lines.put("seed", &simulated.seed().to_string());
        }),
    });
}

fn show_http(lines: &mut Lines, http: &HttpDownstream) {
    lines.text("url", &without_query(http.url()));
    if let Some(url) = http.query_url() {
        lines.text("query_url", url);
    }
    lines.put("mode", http.delivery().as_str());
    lines.within("batch", |lines| {
        lines.put("max_items", &http.batch_items_max().to_string());
        lines.put("max_delay", &show_duration(http.batch_delay_max()));
    });
    lines.put("max_in_flight", &http.in_flight_max().to_string());
    lines.put("timeout", &show_duration(http.timeout()));
    lines.put("key_life", &show_duration(http.key_life()));
    if let Some(path) = http.bearer_file() {
        lines.text("bearer_file", path);
    }
}

/// A query may carry a token.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(before, _)| format!("{before}?REDACTED"))
}

fn show_pool(lines: &mut Lines, pool: &Pool) {
    lines.within(pool.name(), |lines| {
        lines.put("rate", &show_rate(pool.rate_per_second()));
        lines.put("burst", &pool.burst().to_string());
        lines.put("rank", &list(pool.rank()));
        lines.put("floor", &format!("{}%", pool.floor_percent()));
    });
}

fn show_lane(lines: &mut Lines, lane: &Lane) {
    lines.within(lane.name(), |lines| {
        lines.put("reward_types", &list(lane.reward_types()));
        lines.text("downstream", lane.downstream());
        lines.put("rate", &show_rate(lane.rate_per_second()));
        lines.put("burst", &lane.burst().to_string());
        lines.put("query_rate", &show_rate(lane.query_rate_per_second()));
    });
}

fn campaign_text(campaign: &Campaign) -> String {
    let mut lines = Lines::default();
    lines.put("version", "1");
    lines.text("activity", campaign.activity());
    if !campaign.reward_types().is_empty() {
        lines.within("reward_types", |lines| {
            for reward_type in campaign.reward_types() {
                lines.within(reward_type.id(), |lines| {
                    lines.text("asset", reward_type.asset().as_str());
                    lines.put("max_minor", &reward_type.max_minor().to_string());
                });
            }
        });
    }
    lines.within("scenes", |lines| {
        for scene in campaign.scenes() {
            lines.within(scene.id(), |lines| {
                lines.text("reward_type", scene.reward_type());
                lines.text("text", scene.text());
                lines.put("reconcile", if scene.reconcile() { "true" } else { "false" });
            });
        }
    });
    lines.out
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// Text that reads back as itself, here and in other YAML tools. Plain only when it begins with a
/// letter and holds nothing that YAML could give a meaning to.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
        && !is_boolean_word(text)
        && !text.eq_ignore_ascii_case("null");
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for char in text.replace("${", "$${").chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Line ends and marks to some readers.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04X}", char as u32));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_quoted_where_other_readers_would_see_something_else() {
        let cases = [
            ("cash", "cash"),
            ("coupon.film", "coupon.film"),
            ("CNY/2", "CNY/2"),
            ("yes", "\"yes\""),
            ("null", "\"null\""),
            ("2027", "\"2027\""),
            ("1e5", "\"1e5\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("say \"hi\" \\ ${X}", "\"say \\\"hi\\\" \\\\ $${X}\""),
            ("新年", "\"新年\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn queries_of_urls_are_cut() {
        assert_eq!(without_query("http://a/x?token=s"), "http://a/x?REDACTED");
        assert_eq!(without_query("http://a/x"), "http://a/x");
    }

    /// A campaign with one scene, whose id and text are given as YAML.
    fn campaign(id: &str, text: &str) -> String {
        format!(
            "version: 1\nactivity: a\nreward_types: {{t: {{asset: A/0, max_minor: 1}}}}\n\
             scenes:\n  {id}:\n    reward_type: t\n    text: {text}\n"
        )
    }

    proptest! {
        #[test]
        fn any_id_and_text_reads_back(id in "[A-Za-z0-9.:-]{1,48}", text in "\\PC{0,60}|[${}\"\\\\ a:#\u{2028}\u{feff}\u{200d}-]{0,30}") {
            let topology = "version: 1\nname: t\npartitions: 1\ndownstreams: {b: {embedded: {}}}\n\
                            lanes: {l: {reward_types: [t], downstream: b, rate: 1/s}}\n";
            let topology = crate::File { name: "t", text: topology };
            let written = campaign(&quoted(&id), &quoted(&text));
            let compiled = crate::compile(topology, &[crate::File { name: "c", text: &written }], &|_| None);
            let compiled = compiled.map_err(|problems| TestCaseError::fail(crate::render(&problems)))?;
            let scene = &compiled.campaigns()[0].scenes()[0];
            prop_assert_eq!((scene.id(), scene.text()), (id.as_str(), text.as_str()));
        }
    }
}
