//! Award in, verdict out, one line each.

use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::ext::ExtBuf;
use hongbao_schemas::refusal::Refusal;

use super::harness::{Harness, award, encoded};
use crate::intake::{Counts, Verdict};

/// Reads a table: a header, then one award and its verdict on each line; `-` is empty. Feeds the
/// awards in order, in batches of `batch` records, and returns the harness.
fn check(table: &str, batch: usize) -> Harness {
    let mut lines = table.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let columns = "order_no act_id activity_id scene_id reward_type reward_id amount verdict";
    assert_eq!(header.join(" "), columns);
    let mut harness = Harness::with_settings();
    let mut expected = vec![String::from("control")];
    for line in lines {
        let cells: Vec<String> =
            line.split_whitespace().map(|cell| if cell == "-" { "" } else { cell }.to_owned()).collect();
        let [order_no, act_id, activity_id, scene_id, reward_type, reward_id, amount, verdict] =
            <[String; 8]>::try_from(cells).unwrap();
        let amount_minor = amount.parse().unwrap();
        let award = AwardBuf {
            order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id,
            amount_minor,
            ..award()
        };
        harness.log.push(encoded(&award.as_award()));
        expected.push(verdict);
    }
    while harness.applied < harness.log.len() {
        harness.apply(batch);
    }
    let found: Vec<String> = harness.verdicts(0, harness.log.len()).into_iter().map(written_out).collect();
    assert_eq!(found, expected, "in batches of {batch}");
    harness
}

fn written_out(verdict: Verdict) -> String {
    match verdict {
        Verdict::Rejected(refusal) => refusal.code().to_owned(),
        other => other.as_str().to_owned(),
    }
}

const VERDICTS: &str = "
order_no          act_id  activity_id  scene_id  reward_type  reward_id  amount  verdict
a_rain_r1_cash_1  a       spring       rain      cash         -          100     accepted
a_rain_r1_cash_1  a       spring       rain      cash         -          100     duplicate
a_rain_r1_cash_1  a       spring       rain      cash         -          101     conflict
a_rain_r1_cash_1  a       spring       rain      cash         t1         100     conflict
a_rain_r1_cash_1  a       spring       rain      cash         -          100     duplicate
a_rain_r1_cash_2  a       spring       rain      cash         -          100     accepted
a_1_rain_r1_x_1   a_1     spring       rain      cash         -          200     accepted
a_film_r1_film_1  a       spring       film      film         t9         1       accepted
a_film_r1_film_1  a       spring       film      film         t8         1       conflict
a_film_r1_film_1  a       spring       film      film         t9         1       duplicate
";

/// Each refusal, then the same order number valid: a refused number is not used up. In the second
/// half every later check would fail too.
const REFUSALS: &str = "
order_no          act_id  activity_id  scene_id  reward_type  reward_id  amount  verdict
-                 a       spring       rain      cash         -          100     malformed_order_no
a_rain_r1_cash    a       spring       rain      cash         -          100     malformed_order_no
a_rain__cash_1    a       spring       rain      cash         -          100     malformed_order_no
a/rain_r1_cash_1  a       spring       rain      cash         -          100     malformed_order_no
b_rain_r2_cash_1  a       spring       rain      cash         -          100     order_no_act_id_mismatch
a_1_rain_r2_x_1   a       spring       rain      cash         -          100     order_no_act_id_mismatch
a_film_r2_cash_1  a       spring       rain      cash         -          100     order_no_scene_mismatch
a_rain_r2_cash_1  a       autumn       rain      cash         -          100     unknown_activity
a_rain_r2_cash_1  a       empty        rain      cash         -          100     unknown_scene
a_snow_r2_cash_1  a       spring       snow      cash         -          100     unknown_scene
a_rain_r2_cash_1  a       spring       rain      film         -          100     reward_type_mismatch
a_rain_r2_cash_1  a       spring       rain      cash         -          0       amount_not_positive
a_rain_r2_cash_1  a       spring       rain      cash         -          -1      amount_not_positive
a_rain_r2_cash_1  a       spring       rain      cash         -          201     amount_above_cap
a_rain_r2_cash_1  a       spring       rain      cash         -          201     amount_above_cap
a_rain_r2_cash_1  a       spring       rain      cash         -          200     accepted
a_rain_r2_cash_1  a       spring       rain      cash         -          201     amount_above_cap
a_rain_r2_cash_1  a       spring       rain      cash         -          200     duplicate
order             a       autumn       snow      none         -          0       malformed_order_no
b_snow_r3_cash_1  a       autumn       none      none         -          0       order_no_act_id_mismatch
a_snow_r3_cash_1  a       autumn       none      none         -          0       order_no_scene_mismatch
a_snow_r3_cash_1  a       autumn       snow      none         -          0       unknown_activity
a_snow_r3_cash_1  a       spring       snow      none         -          0       unknown_scene
a_rain_r3_cash_1  a       spring       rain      none         -          0       reward_type_mismatch
a_rain_r3_cash_1  a       spring       rain      cash         -          0       amount_not_positive
";

#[test]
fn every_award_gets_its_verdict_whatever_the_batch() {
    for batch in [1, 2, 7, 1_000] {
        check(VERDICTS, batch);
        check(REFUSALS, batch);
    }
}

#[test]
fn the_table_has_every_refusal() {
    for refusal in Refusal::ALL {
        assert!(REFUSALS.contains(refusal.code()), "{refusal}");
    }
}

#[test]
fn counts_are_those_of_the_table() {
    let counts = Counts { read: 10, accepted: 4, duplicate: 3, conflict: 3, ..Counts::default() };
    assert_eq!(check(VERDICTS, 3).board.counts(), counts);
    let counts = Counts { read: 25, accepted: 1, duplicate: 1, rejected: 23, ..Counts::default() };
    assert_eq!(check(REFUSALS, 3).board.counts(), counts);
}

#[test]
fn before_the_first_settings_every_activity_is_unknown() {
    let mut harness = Harness::new();
    assert_eq!(harness.feed_award(&award()), Verdict::Rejected(Refusal::UnknownActivity));
    let malformed = AwardBuf { order_no: "x".to_owned(), ..award() };
    assert_eq!(harness.feed_award(&malformed), Verdict::Rejected(Refusal::MalformedOrderNo));
}

#[test]
fn what_is_not_payload_may_differ_in_a_repeat() {
    let mut harness = Harness::with_settings();
    assert_eq!(harness.feed_award(&award()), Verdict::Accepted);
    let ext: ExtBuf = [("device", "d1")].into_iter().collect();
    let repeats = [
        AwardBuf { event_time_ms: 0, ..award() },
        AwardBuf { app: "toutiao".to_owned(), ..award() },
        AwardBuf { ext, ..award() },
    ];
    for repeat in repeats {
        assert_eq!(harness.feed_award(&repeat), Verdict::Duplicate, "{repeat:?}");
    }
}

#[test]
fn one_order_number_many_times_in_one_batch() {
    let same = encoded(&award().as_award());
    let other = encoded(&AwardBuf { amount_minor: 1, ..award() }.as_award());
    let mut harness = Harness::with_settings();
    let verdicts = harness.feed(&[other.clone(), same.clone(), other.clone(), same, other]);
    use Verdict::{Accepted, Conflict, Duplicate};
    assert_eq!(verdicts, [Accepted, Conflict, Duplicate, Conflict, Duplicate]);
}

#[test]
fn an_order_number_is_remembered_beyond_the_window() {
    let mut harness = Harness::with_settings();
    let numbered = |stage: u32| AwardBuf { order_no: format!("a_rain_r1_cash_{stage}"), ..award() };
    for stage in 0..100 {
        assert_eq!(harness.feed_award(&numbered(stage)), Verdict::Accepted);
        if stage % 10 == 0 {
            harness.commit();
        }
    }
    for stage in 0..100 {
        assert_eq!(harness.feed_award(&numbered(stage)), Verdict::Duplicate, "{stage}");
        let other = AwardBuf { amount_minor: 7, ..numbered(stage) };
        assert_eq!(harness.feed_award(&other), Verdict::Conflict, "{stage}");
    }
    let counters = harness.intake.seen_counters();
    assert!(counters.store_hits() >= 150, "old numbers are looked up by the batch");
}
