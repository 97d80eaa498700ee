//! `docs/CONFIGURATION.md` says what the compiler does: every key, default, limit and code.

use crate::keys::{CAMPAIGN, SECTIONS, Section};
use crate::units::{show_duration, show_rate, show_size};
use crate::{
    BILL_TEXT_CHARS_MAX, Code, DEPTH_MAX, FILE_BYTES_MAX, ID_BYTES_MAX, NAME_BYTES_MAX, PROBLEMS_MAX, limits,
};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../../docs/CONFIGURATION.md");

/// The table rows that begin with `key`.
fn rows(key: &str) -> Vec<&'static str> {
    let begin = format!("| `{key}` |");
    DOCUMENT.lines().filter(|line| line.starts_with(&begin)).collect()
}

/// A key as the document names it.
fn documented(section: &Section, key: &str) -> String {
    let path = section.path.split(' ').next().unwrap_or_default();
    match path {
        "topology.yaml" => key.to_owned(),
        path if path == CAMPAIGN.path => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

#[test]
fn every_key_has_a_row_and_every_row_has_a_key() {
    let keys: Vec<String> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| documented(section, key))).collect();
    for key in &keys {
        let expected = keys.iter().filter(|other| *other == key).count();
        assert_eq!(rows(key).len(), expected, "{key}");
    }
    let header = "| key | value | default | from, to |";
    let mut in_table = false;
    for line in DOCUMENT.lines() {
        in_table = line == header || (in_table && line.starts_with('|'));
        if let Some(key) =
            line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).filter(|_| in_table)
        {
            assert!(keys.iter().any(|known| known == key), "`{key}` is documented and not known");
        }
    }
}

#[test]
fn every_code_has_a_row() {
    for code in Code::ALL {
        let begin = format!("| {code} | ");
        assert_eq!(DOCUMENT.lines().filter(|line| line.starts_with(&begin)).count(), 1, "{code}");
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| E0")).count();
    assert_eq!(rows, Code::ALL.len());
}

/// A default and the bounds as the document writes them.
type Figures<T> = (&'static str, (T, T, T));

#[test]
fn defaults_and_limits_are_stated_as_they_are() {
    let durations: [Figures<Duration>; 5] = [
        ("log.segments.sync.max_delay", limits::SYNC_MAX_DELAY),
        ("downstreams.<name>.http.batch.max_delay", limits::BATCH_DELAY),
        ("downstreams.<name>.http.timeout", limits::TIMEOUT),
        ("views.reconcile.overdue_after", limits::OVERDUE_AFTER),
        ("http.request_timeout", limits::REQUEST_TIMEOUT),
    ];
    let sizes: [Figures<u64>; 2] = [
        ("log.segments.segment_size", limits::SEGMENT_SIZE_BYTES),
        ("log.segments.sync.max_bytes", limits::SYNC_MAX_BYTES),
    ];
    let numbers: [Figures<u64>; 3] = [
        ("downstreams.<name>.http.batch.max_items", limits::BATCH_ITEMS),
        ("downstreams.<name>.http.max_in_flight", limits::IN_FLIGHT),
        ("http.max_connections", limits::CONNECTIONS),
    ];
    let mut expected: Vec<(&str, String)> = Vec::new();
    let quoted = |value: String| format!("`{value}`");
    for (key, (default, least, most)) in durations {
        let [default, least, most] = [default, least, most].map(|value| quoted(show_duration(value)));
        expected.push((key, format!("| {default} | {least} to {most} |")));
    }
    for (key, (default, least, most)) in sizes {
        let [default, least, most] = [default, least, most].map(|value| quoted(show_size(value)));
        expected.push((key, format!("| {default} | {least} to {most} |")));
    }
    for (key, (default, least, most)) in numbers {
        expected.push((key, format!("| `{default}` | {least} to {most} |")));
    }
    let (least, most) = limits::RATE_PER_SECOND;
    let rates = format!("| `{}` to `{}` |", show_rate(least), show_rate(most));
    expected.extend(
        ["pools.<name>.rate", "lanes.<name>.rate", "lanes.<name>.query_rate"].map(|key| (key, rates.clone())),
    );
    let (least, most) = limits::KEY_LIFE;
    let lives = format!("| `{}` to `{}` |", show_duration(least), show_duration(most));
    expected.push(("downstreams.<name>.http.key_life", lives));
    expected.extend([
        ("partitions", format!("| 1 to {} |", limits::PARTITIONS_MAX)),
        ("lanes", format!("| 1 to {} |", limits::LANES_MAX)),
        ("pools.<name>.floor", format!("| `0%`: none | `0%` to `{}%` |", limits::FLOOR_PERCENT_MAX)),
        ("downstreams.<name>.simulated.seed", format!("| `{}` |", limits::SEED)),
        ("http.listen", format!("| `{}` |", limits::LISTEN)),
        ("reward_types.<id>.max_minor", format!("| {} to {} |", limits::MAX_MINOR.0, limits::MAX_MINOR.1)),
        ("scenes", format!("| 1 to {} |", limits::SCENES_MAX)),
    ]);
    for (key, text) in expected {
        assert!(rows(key).iter().all(|row| row.contains(&text)), "{key}: {text}\n{:?}", rows(key));
    }
    assert_eq!(limits::BURST_DIVISOR, 50, "the document says a fiftieth");
}

#[test]
fn other_limits_are_stated_as_they_are() {
    let text = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    let profiles = limits::SIMULATED_PROFILES.iter().map(|profile| format!("`{profile}`"));
    for stated in [
        format!("at most {NAME_BYTES_MAX} bytes | `cash`"),
        format!("at most {NAME_BYTES_MAX} bytes | `rain-1`"),
        format!("at most {ID_BYTES_MAX} bytes | `coupon.film`"),
        format!("at most {BILL_TEXT_CHARS_MAX} characters"),
        format!("A file has at most {} MiB", FILE_BYTES_MAX >> 20),
        format!("nested at most {DEPTH_MAX} levels"),
        format!("At most {PROBLEMS_MAX} problems"),
        format!("at least {} times `timeout` and `batch.max_delay` together", limits::KEY_LIFE_REQUESTS_MIN),
        format!("One file per activity, at most {}", limits::CAMPAIGNS_MAX),
    ]
    .into_iter()
    .chain(profiles)
    {
        assert!(text.contains(&stated), "{stated}");
    }
}

/// The worked example: three lines from the document, put into the shipped file.
#[test]
fn the_worked_example_works() {
    let shipped = include_str!("../../../topology.yaml");
    let campaign = crate::File { name: "c.yaml", text: include_str!("../../../campaigns/spring-2027.yaml") };
    let blocks: Vec<&str> =
        DOCUMENT.split("```").skip(1).step_by(2).map(|block| &block["yaml\n".len()..]).collect();
    let [downstream, lane] = blocks[..] else { panic!("two blocks, found {}", blocks.len()) };
    assert_eq!(downstream.lines().count() + lane.lines().count(), 3);
    let text = shipped.replacen("downstreams:\n", &format!("downstreams:\n{downstream}"), 1);
    let (before, coupon) = text.split_once("  coupon:\n").unwrap();
    let coupon = coupon.replacen("    downstream: bank\n", lane, 1);
    let text = format!("{before}  coupon:\n{coupon}");
    let topology = crate::compile(crate::File { name: "t.yaml", text: &text }, &[campaign], &|_| None);
    let topology = topology.unwrap_or_else(|problems| panic!("{}", crate::render(&problems)));
    let coupon = topology.lane("coupon").unwrap().downstream();
    assert_eq!((coupon, topology.downstream(coupon).unwrap().kind().as_str()), ("mall", "http"));
    assert_eq!(topology.lane("cash").unwrap().downstream(), "bank");
}
