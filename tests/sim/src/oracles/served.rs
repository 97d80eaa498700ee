//! What readers get while a process runs is what the journal says up to the watermark that they are
//! told. `hongbao check` asks views that it opens itself, so it sees nothing of what is kept in memory.

use std::collections::BTreeMap;

use hongbao_audit::JournalAudit;
use hongbao_audit::journal::{Person, Sums};
use hongbao_processors::views::{Totals, ViewsReader};

use crate::operator::LANES;

use super::Violation;

/// Compares totals by reward type, and of each partition one wallet, wherever the views stand exactly
/// where the model does (I15, I16, I18).
///
/// # Errors
/// The violation.
pub(super) fn check(
    reader: &ViewsReader,
    totals: &Totals,
    journals: &[JournalAudit<'_>],
) -> Result<(), Violation> {
    let mut is_same = true;
    for (partition, audit) in (0_u16..).zip(journals) {
        let stands = reader.folded(partition).is_ok_and(|folded| folded == audit.folded());
        // What waits for a missing fact is in neither, but in the watermark.
        if stands && audit.waiting_at(audit.folded()).is_none() {
            wallet(reader, audit)?;
        } else {
            is_same = false;
        }
    }
    if is_same { compare(totals, journals) } else { Ok(()) }
}

fn compare(totals: &Totals, journals: &[JournalAudit<'_>]) -> Result<(), Violation> {
    let mut expected: BTreeMap<(&str, &str), Sums> = BTreeMap::new();
    for (group, sums) in journals.iter().flat_map(|audit| audit.journal.totals()) {
        let row = expected.entry((&group.reward_type, &group.asset)).or_default();
        row.accepted_count += sums.accepted_count;
        row.accepted_minor += sums.accepted_minor;
        row.credited_count += sums.credited_count;
        row.credited_minor += sums.credited_minor;
    }
    let found = totals.rows.iter().map(|row| {
        let sums = Sums {
            accepted_count: row.accepted_count,
            accepted_minor: row.accepted_minor,
            credited_count: row.credited_count,
            credited_minor: row.credited_minor,
        };
        ((row.reward_type.as_deref().unwrap_or_default(), row.asset.as_str()), sums)
    });
    let found: BTreeMap<(&str, &str), Sums> = found.collect();
    if found != expected {
        let what = format!("totals are served as {found:?}, the journal says {expected:?}");
        return Err(Violation::new("I18", what));
    }
    let times_ms = journals.iter().map(|audit| audit.journal.now_ms);
    let as_of_ms = times_ms.filter(|now_ms| *now_ms != 0).min().unwrap_or(0);
    if totals.as_of_ms != as_of_ms {
        let stated = totals.as_of_ms;
        let what = format!("totals are served as of {stated}, the journals go up to {as_of_ms}");
        return Err(Violation::new("I18", what));
    }
    Ok(())
}

/// Of the person with the last award of a lane, or of another one: who it is changes with the journal.
fn asked<'j>(audit: &'j JournalAudit<'_>) -> Option<&'j Person> {
    let (journal, turn) = (&audit.journal, audit.folded() as usize);
    let last = journal.orders_of_lane(LANES[turn % LANES.len()]).last();
    match last.filter(|_| turn % 2 == 0) {
        Some(order) => journal.person(&order.act_id),
        None => journal.people().get(turn / 2 % journal.people().len().max(1)),
    }
}

fn wallet(reader: &ViewsReader, audit: &JournalAudit<'_>) -> Result<(), Violation> {
    let Some(person) = asked(audit) else { return Ok(()) };
    let act_id = &person.act_id;
    let wallet = reader.wallet(act_id, None);
    let wallet = wallet.map_err(|error| Violation::new("V2", format!("no wallet of {act_id}: {error}")))?;
    let found = wallet.balances.iter().map(|sum| (&*sum.asset, sum.income_minor(), sum.credited_minor));
    let found: Vec<_> = found.collect();
    let sums = person.balances.iter();
    let expected: Vec<_> =
        sums.map(|(asset, sum)| (&**asset, sum.income_minor, sum.credited_minor)).collect();
    if found != expected || wallet.folded != audit.folded() {
        let (folded, stands) = (wallet.folded, audit.folded());
        return Err(Violation::new(
            "I15",
            format!("{act_id} is served {found:?} at {folded}, the journal says {expected:?} at {stands}"),
        ));
    }
    let least = |sum: &hongbao_processors::views::AssetBalance| {
        sum.pending_minor.min(sum.credited_minor).min(sum.available_minor()).min(sum.balance_minor())
    };
    match wallet.balances.iter().find(|sum| least(sum) < 0) {
        None => Ok(()),
        Some(sum) => Err(Violation::new("I16", format!("{act_id} is served {sum:?}"))),
    }
}
