//! All errors at once, several campaigns, variables, and what settings and pictures come out.

use super::support::{CAMPAIGN, TOPOLOGY, compile_with, edit};
use hongbao_topology::{
    Code, Delivery, DownstreamKind, File, GraphFormat, Problem, Topology, compile, graph, is_loopback,
    render, show_files,
};
use std::time::Duration;

fn base() -> Topology {
    compile_with(TOPOLOGY, CAMPAIGN, &[]).unwrap()
}

fn codes(problems: &[Problem]) -> Vec<(&str, &str, u32)> {
    let code = |problem: &Problem| problem.code().as_str();
    problems.iter().map(|problem| (code(problem), problem.file(), problem.line())).collect()
}

#[test]
fn all_errors_of_all_files_come_at_once_and_in_order() {
    let mut topology = TOPOLOGY.to_owned();
    for (old, new) in [
        ("name: base", "nmae: base"),
        ("segment_size: 64MiB", "segment_size: 64MB"),
        ("key_life: 24h", "key_life: soon"),
        ("profile: flaky", "profil: flaky"),
        ("floor: 5%", "floor: 500%"),
        ("downstream: mall", "downstream: moll"),
        ("reconcile: {overdue_after: 15m}", "reconcile: 15m"),
        ("listen: 127.0.0.1:8080", "listen: ${NOT_SET}"),
    ] {
        topology = edit(&topology, old, new);
    }
    let campaign = edit(CAMPAIGN, "max_minor: 20000", "max_minor: 2e4");
    let campaign = edit(&campaign, "reconcile: false", "reconcile: off");
    let campaign = edit(&campaign, "{reward_type: pendant}", "{reward_type: pendants}");
    let (t, c) = ("topology.yaml", "campaigns/base.yaml");
    let expected = [
        ("E0110", t, 2),
        ("E0114", t, 6),
        ("E0114", t, 20),
        ("E0110", t, 23),
        ("E0115", t, 25),
        ("E0130", t, 28),
        ("E0112", t, 33),
        ("E0105", t, 35),
        ("E0114", c, 4),
        ("E0113", c, 11),
        ("E0135", c, 12),
    ];
    let problems = compile_with(&topology, &campaign, &[]).unwrap_err();
    assert_eq!(codes(&problems), expected, "{}", render(&problems));
    assert_eq!(render(&problems).matches("\nerror[").count() + 1, expected.len());
}

#[test]
fn a_file_that_cannot_be_read_does_not_drown_the_others() {
    let problems = compile_with(TOPOLOGY, "activity: [", &[]).unwrap_err();
    assert_eq!(codes(&problems), [("E0101", "campaigns/base.yaml", 1)], "{}", render(&problems));
    let problems = compile_with("", "activity: base", &[]).unwrap_err();
    let expected = [
        ("E0120", "topology.yaml", 0),
        ("E0111", "campaigns/base.yaml", 1),
        ("E0111", "campaigns/base.yaml", 1),
    ];
    assert_eq!(codes(&problems), expected, "{}", render(&problems));
}

#[test]
fn several_campaigns() {
    let second = |text: &str| {
        let files =
            [File { name: "campaigns/b.yaml", text }, File { name: "campaigns/a.yaml", text: CAMPAIGN }];
        compile(File { name: "topology.yaml", text: TOPOLOGY }, &files, &|_| None)
    };
    let head = "version: 1\nactivity: second\n";
    let rows = [
        ("scenes:\n  x-1: {reward_type: cash}\n", ""),
        ("reward_types: {cash: {asset: CNY/2, max_minor: 20000}}\nscenes: {x-1: {reward_type: cash}}\n", ""),
        (
            "reward_types: {cash: {asset: CNY/2, max_minor: 30000}}\nscenes: {x-1: {reward_type: cash}}\n",
            "E0137 3",
        ),
        (
            "reward_types: {cash: {asset: USD/2, max_minor: 20000}}\nscenes: {x-1: {reward_type: cash}}\n",
            "E0137 3",
        ),
        ("scenes:\n  rain-1: {reward_type: cash}\n", "E0136 4"),
        ("scenes:\n  x-1: {reward_type: gift}\n", "E0135 4"),
        (
            "reward_types: {gift: {asset: CNY/2, max_minor: 1}}\nscenes: {x-1: {reward_type: gift}}\n",
            "E0134 3",
        ),
        ("scenes: {}\n", "E0120 3"),
    ];
    for (body, expected) in rows {
        let found = second(&format!("{head}{body}")).map_err(|problems| {
            let place = |problem: &Problem| format!("{} {}", problem.code(), problem.line());
            assert!(
                problems.iter().all(|problem| problem.file() == "campaigns/b.yaml"),
                "{}",
                render(&problems)
            );
            problems.iter().map(place).collect::<Vec<_>>().join(", ")
        });
        match found {
            Ok(topology) => {
                assert_eq!(expected, "", "{body}");
                let files: Vec<&str> = topology.campaigns().iter().map(|campaign| campaign.file()).collect();
                assert_eq!(files, ["campaigns/a.yaml", "campaigns/b.yaml"], "by name, not as given");
                assert_eq!(topology.settings(1).activities.len(), 2);
            }
            Err(found) => assert_eq!(found, expected, "{body}"),
        }
    }
    let twice = second(&format!("{}scenes: {{x-1: {{reward_type: cash}}}}", "version: 1\nactivity: base\n"));
    assert_eq!(codes(&twice.unwrap_err()), [("E0138", "campaigns/b.yaml", 2)]);
}

#[test]
fn no_campaign_and_too_many() {
    let topology = File { name: "topology.yaml", text: TOPOLOGY };
    let problems = compile(topology, &[], &|_| None).unwrap_err();
    assert_eq!(codes(&problems), [("E0142", "topology.yaml", 0)]);
    let names: Vec<String> = (0..300).map(|n| format!("campaigns/{n:03}.yaml")).collect();
    let many: Vec<File<'_>> = names.iter().map(|name| File { name, text: CAMPAIGN }).collect();
    let problems = compile(topology, &many, &|_| None).unwrap_err();
    assert_eq!(problems.iter().filter(|problem| problem.code() == Code::TooBig).count(), 1);
}

#[test]
fn variables_give_values_and_never_structure() {
    let listen = |value: &str| edit(TOPOLOGY, "listen: 127.0.0.1:8080", &format!("listen: {value}"));
    let compiled = |value: &str, variables: &[(&str, &str)]| {
        let result = compile_with(&listen(value), CAMPAIGN, variables);
        result.map(|topology| topology.http().listen().to_string()).map_err(|problems| {
            let place = |problem: &Problem| {
                format!("{} {}:{} {}", problem.code(), problem.line(), problem.column(), problem.message())
            };
            problems.iter().map(place).collect::<Vec<_>>().join("; ")
        })
    };
    let set = [("ADDR", "127.0.0.1:9"), ("PORT", "7"), ("BAD", "s3cret"), ("EMPTY", ""), ("YES", "yes")];
    let cases = [
        ("${ADDR}", Ok("127.0.0.1:9")),
        ("127.0.0.1:${PORT}", Ok("127.0.0.1:7")),
        ("${NONE:-127.0.0.1:5}", Ok("127.0.0.1:5")),
        ("${EMPTY:-127.0.0.1:5}", Ok("127.0.0.1:5")),
        ("${EMPTY}", Ok("127.0.0.1:8080")),
        ("${NONE:-}", Ok("127.0.0.1:8080")),
        ("${NONE}", Err("E0105 35:11 the variable `NONE` is not set")),
        ("${NONE:?an address}", Err("E0105 35:11 the variable `NONE` is not set: an address")),
        ("${ADDR-x}", Err("E0106 35:11 `${ADDR-x}` is not a variable")),
        ("\"${ADDR}\"", Err("E0107 35:11 `${ADDR}` is quoted, so it is not expanded")),
        ("'${ADDR}'", Err("E0107 35:11 `${ADDR}` is quoted, so it is not expanded")),
        (
            "${BAD}",
            Err("E0117 35:11 `listen` of `http`: the value of `${BAD}` is not an address to listen on"),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(compiled(value, &set), expected.map(str::to_owned).map_err(str::to_owned), "{value}");
    }
    let name = |value: &str| {
        let text = edit(TOPOLOGY, "name: base", &format!("name: {value}"));
        compile_with(&text, CAMPAIGN, &[("NAME", "a: b\nlanes: {}"), ("YES", "yes")])
    };
    assert_eq!(codes(&name("${NAME}").unwrap_err()), [("E0117", "topology.yaml", 2)]);
    assert_eq!(name("${YES}").unwrap().name(), "yes", "no other tool reads a variable's value");
    let key = edit(TOPOLOGY, "name: base", "${NAME}: base\nname: base");
    let found = compile_with(&key, CAMPAIGN, &[("NAME", "name")]).unwrap_err();
    assert!(codes(&found).contains(&("E0108", "topology.yaml", 2)));
}

#[test]
fn what_a_variable_holds_is_not_shown() {
    let variables = [("SECRET", "hunter2")];
    for old in
        ["name: base", "partitions: 8", "mode: batch", "key_life: 24h", "url: http://127.0.0.1:9502/grant"]
    {
        let key = old.split(':').next().unwrap();
        // The second one begins with a space: `url` is also the end of `query_url`.
        let new = format!("{key}: x!${{SECRET}}");
        let text = TOPOLOGY.replacen(&format!(" {old}"), &format!(" {new}"), 1);
        let text = if text == TOPOLOGY { edit(TOPOLOGY, old, &new) } else { text };
        let shown = render(&compile_with(&text, CAMPAIGN, &variables).unwrap_err());
        assert!(shown.contains("${SECRET}") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn an_empty_value_of_a_required_key_is_a_problem() {
    let text = edit(TOPOLOGY, "name: base", "name: ${EMPTY:-}");
    let problems = compile_with(&text, CAMPAIGN, &[]).unwrap_err();
    assert_eq!(codes(&problems), [("E0111", "topology.yaml", 2)]);
}

#[test]
fn values_and_defaults() {
    let topology = base();
    assert_eq!((topology.name(), topology.partitions()), ("base", 8));
    let segments = topology.segments();
    assert_eq!((segments.segment_size_bytes(), segments.sync_max_bytes()), (64 << 20, 1 << 20));
    let Some(DownstreamKind::Http(mall)) = topology.downstream("mall").map(|found| found.kind()) else {
        panic!("mall is over HTTP")
    };
    assert_eq!((mall.url(), mall.delivery()), ("http://127.0.0.1:9502/grant", Delivery::Batch));
    assert_eq!((mall.batch_items_max(), mall.in_flight_max()), (200, 64));
    assert_eq!((mall.timeout(), mall.key_life()), (Duration::from_millis(800), Duration::from_hours(24)));
    assert_eq!(mall.bearer_file(), Some("/run/secrets/mall"));
    let lane = |name: &str| topology.lane(name).unwrap().clone();
    assert_eq!((lane("cash").burst(), lane("cash").query_rate_per_second()), (100, 300_000));
    assert_eq!((lane("coupon").burst(), lane("coupon").query_rate_per_second()), (400, 100));
    assert_eq!((lane("coupon").pool(), lane("coupon").rank()), (Some("payment"), Some(2)));
    assert_eq!((lane("other").pool(), lane("other").rank()), (None, None));
    let pool = &topology.pools()[0];
    assert_eq!((pool.burst(), pool.floor_percent()), (3000, 5));

    let short = "version: 1\nname: s\npartitions: 1\ndownstreams: {a: {embedded: {}}, \
                 b: {http: {url: \"http://b\", key_life: 0s}}}\n\
                 lanes: {x: {reward_types: [cash], downstream: b, rate: 7/s}}\n";
    let campaign = "version: 1\nactivity: s\nreward_types: {cash: {asset: CNY/2, max_minor: 1}}\n\
                    scenes: {r: {reward_type: cash}}\n";
    let topology = compile_with(short, campaign, &[]).unwrap();
    assert_eq!(topology.segments().segment_size_bytes(), 256 << 20);
    assert_eq!(topology.lanes()[0].burst(), 1);
    assert_eq!(topology.views().reconcile_overdue_after(), Duration::from_mins(15));
    assert!(is_loopback(topology.http().listen()) && topology.http().tokens_file().is_none());
    let scene = &topology.settings(3).activities["s"].scenes["r"];
    assert_eq!((scene.text.as_str(), scene.reconcile), ("", true));
}

#[test]
fn settings_are_what_the_folds_need() {
    let settings = base().settings(7);
    assert_eq!((settings.number, settings.name.as_str()), (7, "base"));
    assert_eq!(settings.reconcile_overdue_after_ms, 900_000);
    let cash = &settings.reward_types["cash.video"];
    assert_eq!((cash.asset.as_str(), cash.max_minor, cash.lane.as_str()), ("CNY/2", 5000, "cash"));
    let film = &settings.activities["base"].scenes["film-1"];
    assert_eq!((film.reward_type.as_str(), film.reconcile), ("coupon.film", false));
    assert_eq!(settings.to_json().unwrap(), base().settings(7).to_json().unwrap());
}

#[test]
fn what_is_shown_compiles_to_the_same_and_hides_queries() {
    let topology = base();
    let [shown, campaign] = &show_files(&topology)[..] else { panic!("two files") };
    assert_eq!(compile_with(&shown.text, &campaign.text, &[]).unwrap(), topology, "{}", shown.text);
    assert!(
        shown.text.contains("    burst: 400\n") && shown.text.contains("bearer_file: \"/run/secrets/mall\"")
    );
    let url = edit(TOPOLOGY, "9502/grant", "9502/grant?token=${TOKEN}");
    let topology = compile_with(&url, CAMPAIGN, &[("TOKEN", "hunter2")]).unwrap();
    let shown = &show_files(&topology)[0].text;
    assert!(shown.contains("grant?REDACTED") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn graphs() {
    let topology = base();
    let text = graph(&topology, GraphFormat::Text);
    for line in [
        "  -> orders.cash  (cash, cash.video)",
        "sink.cash  (300000/s, pool payment, rank 1)",
        "  -> mall (http)",
        "  => wallet, totals, reconcile (overdue after 15m)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&graph(&topology, GraphFormat::Json)).unwrap();
    let ids: Vec<&str> =
        json["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let edge = |from: &str, to: &str| {
        json["edges"].as_array().unwrap().iter().any(|edge| edge["from"] == from && edge["to"] == to)
    };
    let path = [
        "source:producers",
        "topic:awards",
        "processor:intake",
        "topic:orders.coupon",
        "sink:sink.coupon",
        "topic:journal",
        "view:wallet",
    ];
    assert!(path.windows(2).all(|pair| edge(pair[0], pair[1])), "{json}");
    assert!(edge("sink:sink.coupon", "downstream:mall") && edge("processor:intake", "topic:dlq.intake"));
    assert!(!edge("sink:sink.coupon", "downstream:bank"));
    assert!(ids.iter().collect::<std::collections::BTreeSet<_>>().len() == ids.len(), "ids are distinct");
    let edges = json["edges"].as_array().unwrap().len();
    let mermaid = graph(&topology, GraphFormat::Mermaid);
    assert!(mermaid.starts_with("flowchart LR\n"));
    assert_eq!(mermaid.matches(" --> ").count(), edges);
    let dot = graph(&topology, GraphFormat::Dot);
    assert!(dot.starts_with("digraph \"base\" {\n") && dot.ends_with("}\n"));
    assert_eq!((dot.matches(" -> ").count(), dot.matches("[shape=").count()), (edges, ids.len()));
    for (word, format) in GraphFormat::ALL {
        assert_eq!(word.parse(), Ok(format));
    }
    assert!("svg".parse::<GraphFormat>().is_err());
}
