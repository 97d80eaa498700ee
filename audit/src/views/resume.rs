//! What a sink would be told of a lane when it opens: an order that is missing there is never sent
//! again, one too many is sent twice (I6, I10).

use std::collections::{BTreeMap, BTreeSet};

use hongbao_processors::views::ReadError;

use crate::Report;

use super::Check;

/// Time of the first intent, whether an attempt runs, and whether one before it is unresolved.
type Attempt = (i64, bool, bool);

/// Compares where a lane stands.
pub(super) fn check(check: &Check<'_>, lane: &str, report: &mut Report) -> Result<(), ReadError> {
    let found = check.reader.lane_state(check.partition.0, lane)?;
    let opening = check.journal.openings.get(&format!("sink.{lane}"));
    let (epoch, writer) = (opening.map_or(0, |opening| opening.epoch), opening.map(|opening| opening.writer));
    check.same(&format!("writer of lane {lane}"), &(found.epoch, found.writer), &(epoch, writer), report);

    let orders = || (1_u64..).zip(check.journal.orders_of_lane(lane));
    let next_seq = orders().count() as u64 + 1;
    let low_water = orders().find(|(_, order)| !order.is_ended()).map_or(next_seq, |(seq, _)| seq);
    let marks = (found.next_seq, found.low_water);
    check.same(&format!("marks of lane {lane}"), &marks, &(next_seq, low_water), report);

    let above = orders().filter(|(seq, order)| *seq > low_water && order.is_ended());
    let above: BTreeSet<u64> = above.map(|(seq, _)| seq).collect();
    let stated: BTreeSet<u64> = found.ended.iter().flat_map(|(first, count)| *first..first + count).collect();
    let differ: Vec<&u64> = stated.symmetric_difference(&above).take(1).collect();
    check.same(&format!("ended orders of lane {lane}, first difference"), &differ, &Vec::new(), report);

    let mut sent: BTreeMap<u64, Attempt> = BTreeMap::new();
    for range in &found.sent {
        let attempt = (range.first_intent_at_ms, range.in_flight, range.unknown.is_some());
        sent.extend((range.first..range.first + range.count).map(|seq| (seq, attempt)));
    }
    let open = orders().filter(|(_, order)| !order.is_ended() && (order.in_flight || order.unresolved));
    let open: BTreeMap<u64, Attempt> = open
        .map(|(seq, order)| (seq, (order.first_intent_at_ms, order.in_flight, order.unresolved)))
        .collect();
    let differs = |seq: &&u64| sent.get(seq) != open.get(seq);
    let differ = sent.keys().chain(open.keys()).find(differs);
    let told = differ.map(|seq| (seq, sent.get(seq)));
    check.same(
        &format!("unresolved orders of lane {lane}"),
        &told,
        &differ.map(|seq| (seq, open.get(seq))),
        report,
    );
    Ok(())
}
