//! The files that are shipped compile, say what the documents say, and survive being shown.

use hongbao_topology::{DownstreamKind, File, Topology, compile, render, show, show_files};

const TOPOLOGY: &str = include_str!("../../../../topology.yaml");
const CAMPAIGN: &str = include_str!("../../../../campaigns/spring-2027.yaml");
const EXAMPLE: &str = include_str!("../base/example.yaml");
const EXAMPLE_CAMPAIGN: &str = include_str!("../base/example-campaign.yaml");
const DEMO: &str = include_str!("../../../../demo/topology.yaml");
const DEMO_CAMPAIGN: &str = include_str!("../../../../demo/campaigns/spring-2027.yaml");

fn compiled(topology: &str, campaign: &str) -> Topology {
    let campaign = File { name: "campaigns/spring-2027.yaml", text: campaign };
    let topology = File { name: "topology.yaml", text: topology };
    compile(topology, &[campaign], &|_| None).unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

#[test]
fn the_default_needs_nothing_installed() {
    let topology = compiled(TOPOLOGY, CAMPAIGN);
    assert_eq!((topology.name(), topology.partitions()), ("spring-2027", 4));
    let embedded = |name: &str| topology.downstream(name).map(|found| found.kind().clone());
    for lane in topology.lanes() {
        assert_eq!(embedded(lane.downstream()), Some(DownstreamKind::Embedded), "{}", lane.name());
    }
    assert_eq!(topology.http().listen().to_string(), "127.0.0.1:8080");
    assert_eq!(topology.http().tokens_file(), None);
}

#[test]
fn the_default_gives_every_reward_type_of_r11() {
    let topology = compiled(TOPOLOGY, CAMPAIGN);
    let settings = topology.settings(1);
    assert!(settings.reward_types.len() >= 14, "{}", settings.reward_types.len());
    let scenes = &settings.activities["spring-2027"].scenes;
    for id in settings.reward_types.keys() {
        assert!(scenes.values().any(|scene| scene.reward_type == *id), "no scene gives {id}");
    }
    assert_eq!(scenes["rain-1"].reward_type, "cash");
    assert_eq!(scenes["film-1"].reward_type, "coupon.film");
    assert!(scenes["rain-1"].reconcile && !scenes["film-1"].reconcile);
    assert_eq!(settings.reward_types["cash"].max_minor, 20_000);
    assert_eq!(settings.reward_types["cash"].lane, "cash");
    assert!(settings.to_json().is_ok());
}

#[test]
fn cash_comes_first_in_both() {
    for (topology, campaign) in [(TOPOLOGY, CAMPAIGN), (DEMO, DEMO_CAMPAIGN)] {
        let topology = compiled(topology, campaign);
        let cash = topology.lane_of("cash").unwrap();
        assert_eq!((cash.pool(), cash.rank()), (Some("payment"), Some(1)));
    }
}

#[test]
fn the_demo_bears_less_than_its_rain() {
    const RAIN_PER_SECOND: u64 = 20_000;
    let topology = compiled(DEMO, DEMO_CAMPAIGN);
    let rates: Vec<_> = topology.lanes().iter().map(|lane| (lane.name(), lane.rate_per_second())).collect();
    assert_eq!(rates, [("cash", 4000), ("coupon", 1500), ("other", 2000)]);
    assert!(rates.iter().map(|(_, rate)| rate).sum::<u64>() < RAIN_PER_SECOND / 2);
    let kinds = topology.downstreams().iter().map(|found| found.kind().as_str());
    assert!(kinds.clone().all(|kind| kind == "simulated"), "{:?}", kinds.collect::<Vec<_>>());
}

/// The example that users and clients are given, word for word.
#[test]
fn the_documented_example_compiles() {
    let topology = compiled(EXAMPLE, EXAMPLE_CAMPAIGN);
    assert_eq!(topology.lane_of("cash.video").map(|lane| lane.name()), Some("cash"));
    let settings = topology.settings(1);
    assert_eq!(settings.reward_types.len(), 2, "only what is declared can be given");
}

#[test]
fn what_is_shown_compiles_to_the_same() {
    for (topology, campaign) in [(TOPOLOGY, CAMPAIGN), (DEMO, DEMO_CAMPAIGN)] {
        let topology = compiled(topology, campaign);
        let [shown, shown_campaign] = &show_files(&topology)[..] else { panic!("two files") };
        assert_eq!(compiled(&shown.text, &shown_campaign.text), topology, "{}", show(&topology));
    }
}
