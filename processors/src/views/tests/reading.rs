//! Readers while the fold and its commits go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hongbao_schemas::journal::CreditStage::{Credited, Started};
use hongbao_schemas::order_state::OrderState;

use super::journal::{CASH, FILM, Journal};
use super::rig::{Rig, TINY};
use crate::views::{ENTRIES_MAX, ViewsReader};

/// Tells readers that the fold has ended, also when it failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A wallet and the statement behind it, each of one point of the journal.
fn look(reader: &ViewsReader, act_id: &str, last_count: usize) -> usize {
    let wallet = reader.wallet(act_id, None).unwrap();
    let credited: i64 = wallet
        .items
        .iter()
        .filter(|item| item.state == OrderState::Credited)
        .map(|item| item.amount_minor)
        .sum();
    let all: i64 = wallet.items.iter().map(|item| item.amount_minor).sum();
    if let Some(pieces) = wallet.balances.iter().find(|balance| &*balance.asset == "COUPON/0") {
        assert_eq!((pieces.credited_minor, pieces.income_minor()), (credited.into(), all.into()), "I15");
    }
    let statement = reader.entries(act_id, ENTRIES_MAX, None).unwrap();
    assert!(statement.entries.len() >= last_count, "an entry was gone for a while");
    let newest = statement.entries.first().map(|entry| entry.order_no.clone());
    if let Some(order_no) = newest {
        assert!(reader.order(&order_no).unwrap().is_some(), "{order_no}");
    }
    statement.entries.len()
}

#[test]
fn readers_see_everything_at_all_times() {
    let mut journal = Journal::default();
    for round in 0..60_u64 {
        for order in 0..18 {
            journal.accept(["u", "v", "w"][order % 3], [CASH, FILM][order % 2], 1 + order as i64);
        }
        for lane in ["cash", "coupon"] {
            journal.credit(Started, lane, &[(round * 9 + 1, 9)], 0, "");
            journal.credit(Credited, lane, &[(round * 9 + 3, 7)], 0, "");
        }
    }
    let mut rig = Rig::new(TINY);
    let reader = std::sync::Arc::clone(&rig.reader);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for act_id in ["u", "v", "w"] {
            let (reader, done) = (&reader, &done);
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    count = look(reader, act_id, count);
                }
                assert_eq!(look(reader, act_id, count), 360);
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                let rows = reader.totals(&[]).unwrap().rows;
                let sum = rows.iter().map(|row| row.accepted_minor + row.credited_minor).sum();
                assert!(sum >= last, "I18");
                last = sum;
            }
        });
        let _ending = Ending(&done);
        for end in 1..=journal.records.len() {
            rig.apply(&journal.records, end);
            match end % 7 {
                1 => rig.freeze(),
                3 => rig.write(),
                6 => rig.committed(),
                _ => {}
            }
        }
    });
}
