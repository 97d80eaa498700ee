//! What stands in the journal and the lanes after a verdict.

use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::ext::ExtBuf;
use hongbao_schemas::journal::{Accepted, Conflict, Fact, Rejected, SettingsChanged, Ticked};
use hongbao_schemas::order::Order;
use hongbao_schemas::refusal::Refusal;

use super::harness::{Harness, award, encoded, settings, settings_json, tick};

fn journal(harness: &Harness) -> Vec<Fact<'_>> {
    harness.topic("journal").into_iter().map(|record| Fact::decode(record).unwrap()).collect()
}

fn film(stage: u32) -> AwardBuf {
    AwardBuf {
        order_no: format!("a_film_r1_film_{stage}"),
        scene_id: "film".to_owned(),
        reward_type: "film".to_owned(),
        reward_id: "t9".to_owned(),
        amount_minor: 1,
        ..award()
    }
}

#[test]
fn an_accepted_award_is_a_fact_and_an_order_with_the_same_sequence() {
    let ext: ExtBuf = [("device", "d1")].into_iter().collect();
    let first = AwardBuf { ext, ..award() };
    let second = AwardBuf { order_no: "a_rain_r2_cash_1".to_owned(), amount_minor: 7, ..award() };
    let mut harness = Harness::new();
    let records = [&first, &film(1), &second].map(|award| encoded(&award.as_award()));
    harness.feed(&[&[settings(1), tick(1, 5_000)][..], &records].concat());

    let accepted = |award, asset, lane, lane_seq, award_offset| {
        Fact::Accepted(Accepted { award, asset, lane, lane_seq, award_offset, at_ms: 5_000 })
    };
    let body = settings_json(1);
    let film = film(1);
    let expected = [
        Fact::SettingsChanged(SettingsChanged {
            number: 1,
            body: body.as_bytes(),
            award_offset: 0,
            at_ms: 0,
        }),
        Fact::Ticked(Ticked { at_ms: 5_000, award_offset: 1 }),
        accepted(first.as_award(), "CNY/2", "cash", 1, 2),
        accepted(film.as_award(), "COUPON/0", "coupon", 1, 3),
        accepted(second.as_award(), "CNY/2", "cash", 2, 4),
    ];
    assert_eq!(journal(&harness), expected);

    let orders = |topic| -> Vec<Order<'_>> {
        harness.topic(topic).into_iter().map(|record| Order::decode(record).unwrap()).collect()
    };
    let order = Order {
        order_no: "a_rain_r1_cash_1",
        act_id: "a",
        reward_type: "cash",
        reward_id: "",
        asset: "CNY/2",
        amount_minor: 100,
        accepted_at_ms: 5_000,
    };
    let second_order = Order { order_no: "a_rain_r2_cash_1", amount_minor: 7, ..order };
    assert_eq!(orders("orders.cash"), [order, second_order]);
    let film_order = Order {
        order_no: "a_film_r1_film_1",
        reward_type: "film",
        reward_id: "t9",
        asset: "COUPON/0",
        amount_minor: 1,
        ..order
    };
    assert_eq!(orders("orders.coupon"), [film_order]);
}

#[test]
fn refusals_and_conflicts_are_facts_and_duplicates_are_none() {
    let mut harness = Harness::new();
    let other = AwardBuf { amount_minor: 7, ..award() };
    let above = AwardBuf { amount_minor: 201, ..award() };
    let records = [&award(), &award(), &other, &above].map(|award| encoded(&award.as_award()));
    harness.feed(&[&[settings(1), tick(1, 5_000)][..], &records].concat());
    let facts = journal(&harness);
    let expected = [
        Fact::Conflict(Conflict::of(&other.as_award(), 4, 5_000)),
        Fact::Rejected(Rejected::of(&above.as_award(), Refusal::AmountAboveCap, 5, 5_000)),
    ];
    assert_eq!(facts[3..], expected);
    assert_eq!(harness.topic("orders.cash").len(), 1);
}

#[test]
fn topics_are_registered_in_the_order_of_reading() {
    use hongbao_engine::processor::Outputs;
    let mut outputs = Outputs::new();
    let plan = super::super::plan::Plan::compile(settings_json(1).as_bytes(), 1).unwrap();
    super::super::Topics::register(&mut outputs, &plan);
    let names: Vec<String> = outputs.topics_mut().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["journal", "dlq.intake", "orders.cash", "orders.coupon"]);
}
