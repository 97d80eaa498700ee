//! Bad files and what is said about them: code, line and column, one row each.

use super::support::{CAMPAIGN, TOPOLOGY, compile_with, edit};
use hongbao_topology::{Problem, render};

/// The places as `code line:column`, with a `c` before the line for those in the campaign.
fn places(problems: &[Problem]) -> String {
    let place = |problem: &Problem| {
        let mark = if problem.file() == "topology.yaml" { "" } else { "c" };
        format!("{} {mark}{}:{}", problem.code(), problem.line(), problem.column())
    };
    problems.iter().map(place).collect::<Vec<_>>().join(", ")
}

fn check(rows: &[(&str, &str, &str)], broken: impl Fn(&str, &str) -> (String, String)) {
    let mut wrong = Vec::new();
    for (old, new, expected) in rows {
        let (topology, campaign) = broken(old, new);
        let found = match compile_with(&topology, &campaign, &[]) {
            Ok(_) => "accepted".to_owned(),
            Err(problems) => {
                let text = render(&problems);
                assert!(problems.iter().all(|problem| problem.help().is_some()), "no help: {text}");
                assert!(!text.contains("hunter2"), "a password is shown: {text}");
                println!("{old:?} -> {new:?}\n{text}");
                places(&problems)
            }
        };
        if found != *expected {
            wrong.push(format!("({old:?}, {new:?}, {found:?}), // expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_topology(rows: &[(&str, &str, &str)]) {
    check(rows, |old, new| (edit(TOPOLOGY, old, new), CAMPAIGN.to_owned()));
}

fn check_campaign(rows: &[(&str, &str, &str)]) {
    check(rows, |old, new| (TOPOLOGY.to_owned(), edit(CAMPAIGN, old, new)));
}

#[test]
fn the_base_is_right() {
    assert!(compile_with(TOPOLOGY, CAMPAIGN, &[]).is_ok());
}

#[test]
fn other_spellings_of_the_same_are_right() {
    let base = compile_with(TOPOLOGY, CAMPAIGN, &[]).unwrap();
    let cash = "  cash: {reward_types: [cash, cash.video], downstream: bank, rate: 300000/s, burst: 100}";
    for topology in [
        TOPOLOGY.replace('\n', "\r\n"),
        format!("\u{feff}{TOPOLOGY}"),
        format!("%YAML 1.2\n---\n{TOPOLOGY}...\n"),
        format!("# a comment with ${{NOT_SET}}\n\n{TOPOLOGY}\n# end"),
        edit(TOPOLOGY, "name: base", "\"name\": 'base'"),
        edit(TOPOLOGY, "segment_size: 64MiB", "segment_size: \"65536KiB\""),
        edit(TOPOLOGY, "rate: 400000/s", "rate: 400k/s"),
        edit(
            TOPOLOGY,
            cash,
            "  cash:\n    reward_types:\n    - cash\n    - cash.video\n    downstream: bank\n    rate: 300k/s\n    burst: 100",
        ),
    ] {
        match compile_with(&topology, CAMPAIGN, &[]) {
            Ok(found) => assert_eq!(found, base, "{topology}"),
            Err(problems) => panic!("{}", render(&problems)),
        }
    }
}

#[test]
fn not_the_yaml_that_is_read_here() {
    check_topology(&[
        ("name: base", "name: base: x", "E0101 2:11"),
        ("name: base", "name: [base", "E0101 3:11"),
        ("name: base", "\tname: base", "E0101 2:1"),
        ("name: base", "name: \"base", "E0101 2:7"),
        ("partitions: 8", "partitions: 8\npartitions: 9", "E0102 4:1"),
        ("  bank:", "  mall:", "E0102 12:3, E0130 27:56"),
        ("rate: 300000/s, burst: 100", "rate: 300000/s, burst: 100, burst: 100", "E0102 27:90"),
        // What stands behind a key the first time or the second has its own faults, and so has the rest.
        ("partitions: 8", "partitions: eight\npartitions: nine", "E0114 3:13, E0102 4:1, E0114 4:13"),
        (
            "name: base",
            "name: base\nviews: {wallet: {}, nothing: {}}\nname: Base",
            "E0110 3:21, E0102 4:1, E0117 4:7, E0102 32:1",
        ),
        ("name: base", "name: &name base", "E0103 2:7"),
        ("name: base", "name: *name", "E0103 2:7"),
        ("name: base", "name: !!str base", "E0103 2:7"),
        ("embedded: {}", "embedded: !map {}", "E0103 11:15"),
        ("http:\n  listen", "---\nhttp:\n  listen", "E0103 34:1"),
        ("name: base", "? [a]\n: b", "E0111 1:1, E0103 2:3"),
        ("name: base", "? |\n  a\n: b", "E0111 1:1, E0103 3:3"),
        ("name: base", ": base", "E0111 1:1, E0103 2:1"),
        ("name: base", "name: [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "E0104 2:22"),
        ("rate: 300000/s, burst: 100", "rate: ${R:-300000/s}, burst: 100", "E0101 27:69"),
    ]);
}

#[test]
fn keys_and_shapes() {
    check_topology(&[
        ("name: base", "nam: base", "E0110 2:1"),
        ("name: base", "name: base\nscenes: {}", "E0110 3:1"),
        ("segments:", "kafka:", "E0110 5:3"),
        ("segment_size", "segment-size", "E0110 6:5"),
        ("embedded: {}", "embedded: {rate: 5/s}", "E0110 11:16"),
        ("  mall:\n    http:", "  mall:\n    url: x\n    http:", "E0110 13:5"),
        ("wallet: {}", "wallet: {show: 1}", "E0110 31:12"),
        ("name: base\n", "", "E0111 1:1"),
        ("partitions: 8", "partitions:", "E0111 3:1"),
        ("partitions: 8", "partitions: ~", "E0111 3:1"),
        ("      url: http://127.0.0.1:9502/grant\n", "", "E0111 13:5"),
        ("      key_life: 24h\n", "", "E0111 13:5"),
        ("rate: 300000/s, burst: 100", "burst: 100", "E0111 27:3"),
        ("name: base", "name: [base]", "E0112 2:7"),
        ("name: base", "name: {a: b}", "E0112 2:7"),
        ("embedded: {}", "embedded:", "E0112 11:5"),
        ("embedded: {}", "embedded: true", "E0112 11:15"),
        ("[cash, cash.video]", "cash", "E0112 27:24"),
        ("[cash, coupon]", "{cash: 1}", "E0112 25:48"),
        ("    embedded: {}", "    embedded: {}\n    http: {}", "E0118 12:5"),
        ("    embedded: {}", "    {}", "E0118 10:3"),
        ("    embedded: {}", "    redis: {}", "E0110 11:5"),
        ("version: 1", "version: 2\nnonsense: 1", "E0119 1:10"),
        ("version: 1\n", "", "E0111 1:1"),
        ("[cash, coupon]", "[]", "E0120 25:48"),
    ]);
}

#[test]
fn values() {
    check_topology(&[
        ("name: base", "name: Base", "E0117 2:7"),
        ("name: base", "name: yes", "E0113 2:7"),
        ("name: base", "name: \"\"", "E0117 2:7"),
        ("partitions: 8", "partitions: eight", "E0114 3:13"),
        ("partitions: 8", "partitions: 8.0", "E0114 3:13"),
        ("partitions: 8", "partitions: 1_000", "E0114 3:13"),
        ("partitions: 8", "partitions: 0", "E0115 3:13"),
        ("partitions: 8", "partitions: 1025", "E0115 3:13"),
        ("partitions: 8", "partitions: -1", "E0114 3:13"),
        ("partitions: 8", "partitions: \"8\"", "E0112 3:13"),
        ("segment_size: 64MiB", "segment_size: 64MB", "E0114 6:19"),
        ("segment_size: 64MiB", "segment_size: 1MiB", "E0115 6:19"),
        ("max_delay: 5ms, max_bytes", "max_delay: 5, max_bytes", "E0114 7:23"),
        ("max_bytes: 1MiB", "max_bytes: 1B", "E0115 7:39"),
        ("# all is kept", "retention: 1s", "E0110 8:5"),
        ("url: http://127.0.0.1:9502/grant", "url: 127.0.0.1:9502/grant", "E0117 14:12"),
        ("url: http://127.0.0.1:9502/grant", "url: http://me:hunter2@127.0.0.1/", "E0121 14:12"),
        ("url: http://127.0.0.1:9502/grant", "url: ftp://me:hunter2@127.0.0.1/", "E0121 14:12"),
        ("url: http://127.0.0.1:9502/grant", "url: me:hunter2@127.0.0.1", "E0121 14:12"),
        ("url: http://127.0.0.1:9502/grant", "ulr: http://me:hunter2@127.0.0.1/", "E0110 14:7"),
        ("listen: 127.0.0.1:8080", "listen: http://me:hunter2@127.0.0.1:8080", "E0117 35:11"),
        ("9502/query", "9502/query?key=", "E0117 15:18"),
        ("mode: batch", "mode: bulk", "E0116 16:13"),
        ("max_items: 200", "max_items: 0", "E0115 17:26"),
        ("max_items: 200", "max_items: on", "E0114 17:26"),
        ("timeout: 800ms", "timeout: 0ms", "E0115 19:16"),
        ("key_life: 24h", "key_life: 24", "E0114 20:17"),
        ("key_life: 24h", "key_life: 3219ms", "E0144 20:17"),
        (
            "      timeout: 800ms\n      key_life: 24h",
            "      timeout: 5m\n      key_life: 1199s",
            "E0144 20:17",
        ),
        ("      timeout: 800ms\n      key_life: 24h", "      key_life: 3s", "E0144 19:17"),
        ("key_life: 24h", "key_life: 3220ms", "accepted"),
        ("key_life: 24h", "key_life: 0s", "accepted"),
        ("profile: flaky", "profile: flakey", "E0116 23:26"),
        ("seed: 7", "seed: -7", "E0114 23:39"),
        ("burst: 3000", "burst: 3000000", "E0140 25:36"),
        ("floor: 5%", "floor: 5", "E0114 25:71"),
        ("floor: 5%", "floor: 51%", "E0115 25:71"),
        ("rate: 20000/s", "rate: 20000", "E0114 28:65"),
        ("rate: 20000/s", "rate: 0/s", "E0115 28:65"),
        ("query_rate: 100/s", "query_rate: 1.5k/s", "E0114 28:86"),
        ("overdue_after: 15m", "overdue_after: 15min", "E0114 33:30"),
        ("listen: 127.0.0.1:8080", "listen: localhost:8080", "E0117 35:11"),
        ("listen: 127.0.0.1:8080\n  tokens_file: /run/secrets/tokens", "listen: 0.0.0.0:8080", "E0141 35:11"),
        ("max_connections: 100", "max_connections: 100000", "E0115 37:20"),
        ("request_timeout: 10s", "request_timeout: 10ms", "E0115 38:20"),
    ]);
}

#[test]
fn references() {
    check_topology(&[
        ("downstream: bank", "downstream: bnak", "E0130 27:56"),
        ("[cash, coupon]", "[cash, coupons]", "E0131 25:55"),
        ("[cash, coupon]", "[cash, coupon, cash]", "E0132 25:63"),
        ("pools:\n", "pools:\n  second: {rate: 5/s, rank: [cash]}\n", "E0132 26:49"),
        ("[pendant]", "[pendant, cash]", "E0133 29:35"),
        ("[pendant]", "[pendant, pendant]", "E0133 29:35"),
        ("[pendant]", "[pendnat]", "E0134 c7:3"),
        ("[cash, cash.video]", "[cash]", "E0134 c5:3"),
        ("  other: {", "  Other: {", "E0117 29:3"),
        ("  other: {", "  no: {", "E0113 29:3"),
    ]);
}

#[test]
fn campaigns() {
    check_campaign(&[
        ("activity: base", "activity: base base", "E0117 c2:11"),
        ("activity: base\n", "", "E0111 c1:1"),
        ("asset: CNY/2, max_minor: 20000", "asset: CNY, max_minor: 20000", "E0117 c4:17"),
        ("asset: CNY/2, max_minor: 20000", "asset: cny/2, max_minor: 20000", "E0117 c4:17"),
        ("asset: CNY/2, max_minor: 20000", "asset: CNY/2", "E0111 c4:3"),
        ("max_minor: 20000", "max_minor: 0", "E0115 c4:35"),
        ("max_minor: 20000", "max_minor: 9999999999999999", "E0115 c4:35"),
        ("max_minor: 20000", "max_minor: 200.00", "E0114 c4:35"),
        ("rain-1: {", "rain_1: {", "E0117 c9:3"),
        ("{reward_type: cash.video}", "{}", "E0111 c10:3"),
        ("{reward_type: cash.video}", "{reward_type: cash.vdieo}", "E0135 c10:26"),
        ("video-1:", "rain-1:", "E0102 c10:3"),
        ("text: \"Rain\"", "text: \"a\\nb\"", "E0117 c9:37"),
        ("text: \"Rain\"", "txt: \"Rain\"", "E0110 c9:31"),
        ("reconcile: false", "reconcile: no", "E0113 c11:49"),
        ("reconcile: false", "reconcile: \"false\"", "E0112 c11:49"),
        ("reconcile: false", "reconcile: maybe", "E0116 c11:49"),
        ("  pendant: {asset: PENDANT/0, max_minor: 1}\n", "", "E0135 c11:28"),
        ("{reward_type: pendant}", "{reward_type: pendant, rate: 5/s}", "E0110 c12:37"),
        ("version: 1", "version: 3", "E0119 c1:10"),
        ("version: 1", "version: one", "E0114 c1:10"),
    ]);
}
