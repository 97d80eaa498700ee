//! Single answers, read as a person would.

use hongbao_schemas::journal::CreditStage::{Credited, Refused, Started, Unknown};
use hongbao_schemas::order_state::OrderState;

use super::journal::{AUTUMN, CASH, FILM, Journal, START_MS, settings};
use super::rig::{Rig, TINY};
use crate::views::{ReadError, ViewsLimits, ViewsReader, WALLET_ITEMS_MAX};

#[test]
fn an_order_tells_its_story() {
    let mut journal = Journal::default();
    let order_no = "u_rain_r1_cash_1";
    journal.reject(order_no, "u", "unknown_scene");
    journal.accept("v", CASH, 1);
    assert_eq!(journal.accept("u", CASH, 88).replace("_2", "_1"), order_no);
    let order_no = "u_rain_r1_cash_2";
    journal.credit(Started, "cash", &[(1, 2)], 5, "");
    journal.credit(Unknown, "cash", &[(2, 1)], 6, "no answer");
    journal.conflict(order_no, "u", 99);
    journal.conflict(order_no, "u", 98);
    journal.credit(Refused, "cash", &[(2, 1)], 7, "account closed");
    let tell = |rig: &Rig| {
        let order = rig.reader.order(order_no).unwrap().unwrap();
        assert_eq!((order.state, order.amount_minor, &*order.act_id), (OrderState::Refused, 88, "u"));
        order
            .timeline
            .into_iter()
            .map(|step| format!("{} {} {} {}", step.at_ms - START_MS, step.position, step.stage, step.detail))
            .collect::<Vec<_>>()
    };
    let story = [
        "0 journal/0@2 accepted cash, order 2",
        "5 journal/0@3 started ",
        "6 journal/0@4 unknown no answer",
        "0 journal/0@6 conflict came 2 times with another payload, last: spring rain cash 98",
        "7 journal/0@7 refused account closed",
    ];
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    assert_eq!(tell(&rig), story, "from memory");
    rig.commit();
    assert_eq!(tell(&rig), story, "from the store");
    let refused = rig.reader.order("u_rain_r1_cash_1").unwrap().unwrap();
    assert_eq!((refused.state, &*refused.timeline[0].detail), (OrderState::Rejected, "unknown_scene"));
}

#[test]
fn an_order_is_found_among_many_of_one_person() {
    let mut journal = Journal::default();
    let orders: Vec<String> = (0..3000).map(|_| journal.accept("u", CASH, 1)).collect();
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply(&journal.records, 1000);
    rig.commit();
    rig.apply_all(&journal.records);
    for order_no in [&orders[0], &orders[999], &orders[1000], &orders[1500], &orders[2999]] {
        assert_eq!(&rig.reader.order(order_no).unwrap().unwrap().order_no, order_no);
    }
    assert_eq!(rig.reader.order("u_rain_r1_cash_3000").unwrap(), None);
}

#[test]
fn refused_order_numbers_are_found_where_they_came_in() {
    let reader = ViewsReader::new(3);
    let mut rigs = Vec::new();
    for partition in 0..3_u16 {
        let store = std::sync::Arc::new(hongbao_engine::memory::store::MemoryStore::new());
        rigs.push(crate::views::Views::open(partition, store, ViewsLimits::default(), &reader).unwrap());
    }
    let mut journal = Journal::default();
    journal.reject("u_rain_r1_cash_7", "somebody-else", "order_no_act_id_mismatch");
    journal.reject("nonsense", "somebody-else", "malformed_order_no");
    for views in &mut rigs[2..] {
        let mut batch = hongbao_engine::records::ReadBatch::new();
        let frame = batch.next_frame();
        for record in &journal.records {
            frame.bytes.extend_from_slice(record);
            frame.ends.push(frame.bytes.len() as u32);
        }
        let frames: Vec<_> = batch.frames().collect();
        let mut outputs = hongbao_engine::processor::Outputs::new();
        hongbao_engine::processor::Processor::apply(views, &frames, &mut outputs).unwrap();
    }
    for order_no in ["u_rain_r1_cash_7", "nonsense"] {
        let order = reader.order(order_no).unwrap().unwrap();
        assert_eq!((order.state, &*order.act_id), (OrderState::Rejected, "somebody-else"), "{order_no}");
        assert!(order.timeline[0].position.starts_with("journal/2@"));
    }
    assert_eq!(reader.order("more nonsense").unwrap(), None);
}

#[test]
fn partitions_that_are_not_open_say_so() {
    let reader = ViewsReader::new(1);
    assert_eq!(reader.wallet("u", None), Err(ReadError::NotOpen(0)));
    assert_eq!(reader.totals(&[]), Err(ReadError::NotOpen(0)));
    assert_eq!(reader.folded(0), Err(ReadError::NotOpen(0)));
    assert_eq!(reader.folded(1), Err(ReadError::NotOpen(1)));
    let rig = Rig::new(ViewsLimits::default());
    assert_eq!(rig.reader.folded(0), Ok(0));
    let store = rig.store.clone();
    assert!(crate::views::Views::open(7, store, ViewsLimits::default(), &rig.reader).is_err());
}

#[test]
fn items_and_entries_come_in_pages() {
    let mut journal = Journal::default();
    journal.settings(&settings(&[], 0));
    let mut items = Vec::new();
    for order in 0..WALLET_ITEMS_MAX + 50 {
        items.push(journal.accept("u", FILM, 1));
        journal.accept("v", FILM, 1);
        if order % 3 == 0 {
            journal.accept("u", AUTUMN, 1);
        }
    }
    items.reverse();
    let mut rig = Rig::new(TINY);
    while rig.applied < journal.records.len() {
        let end = (rig.applied + 200).min(journal.records.len());
        rig.apply(&journal.records, end);
        rig.commit();
    }
    let first = rig.reader.wallet("u", None).unwrap();
    let cursor = first.items_next_cursor.unwrap();
    // What comes meanwhile moves no page.
    journal.accept("u", FILM, 1);
    rig.apply_all(&journal.records);
    let second = rig.reader.wallet("u", Some(&cursor)).unwrap();
    assert_eq!((first.items.len(), second.items.len()), (WALLET_ITEMS_MAX, 50));
    assert_eq!(second.items_next_cursor, None);
    let listed: Vec<String> = first.items.into_iter().chain(second.items).map(|item| item.order_no).collect();
    assert_eq!(listed, items);
    let entries = rig.reader.entries("u", 1, None).unwrap();
    assert_eq!(entries.entries[0].kind, "award");
    assert_eq!(entries.entries[0].text, "text of film");
    let entry_cursor = entries.next_cursor.unwrap();
    for (act_id, cursor) in [
        ("v", cursor.as_str()),
        ("v", &entry_cursor),
        ("u", &entry_cursor),
        ("u", "junk"),
        ("u", "i00000001ffffffffffff"),
    ] {
        assert_eq!(rig.reader.wallet(act_id, Some(cursor)), Err(ReadError::BadCursor), "{act_id} {cursor}");
    }
    assert_eq!(rig.reader.entries("v", 1, Some(&entry_cursor)), Err(ReadError::BadCursor));
    let to_money = entry_cursor.replace('e', "i");
    assert_eq!(rig.reader.wallet("u", Some(&to_money)), Err(ReadError::BadCursor), "no item is there");
    assert_eq!(rig.reader.entries("u", 0, None).unwrap().entries.len(), 1, "at least one");
}

#[test]
fn the_first_writer_of_the_highest_epoch_owns_a_lane() {
    let mut journal = Journal::default();
    let rig = || {
        let mut rig = Rig::new(ViewsLimits::default());
        rig.commit();
        rig
    };
    let mut rig = rig();
    // (writer, epoch, owner's epoch, owner)
    for (writer, epoch, owner_epoch, owner) in
        [(1, 1, 1, 1), (2, 1, 1, 1), (3, 4, 4, 3), (4, 2, 4, 3), (5, 5, 5, 5)]
    {
        journal.opened("sink.cash", writer, epoch);
        rig.apply_all(&journal.records);
        rig.commit();
        rig = rig.crash();
        let state = rig.reader.lane_state(0, "cash").unwrap();
        assert_eq!((state.epoch, state.writer), (owner_epoch, Some([owner; 16])), "{writer} {epoch}");
        assert_eq!(state.folded, journal.records.len() as u64);
    }
    assert_eq!(rig.reader.lane_state(0, "coupon").unwrap().writer, None);
}

#[test]
fn credited_orders_of_a_person_without_awards_here_are_nobodys() {
    let mut journal = Journal::default();
    journal.accept("u", CASH, 3);
    journal.credit(Credited, "cash", &[(1, 1)], 0, "");
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    let wallet = rig.reader.wallet("w", None).unwrap();
    assert!(wallet.balances.is_empty() && wallet.items.is_empty() && wallet.items_next_cursor.is_none());
    assert_eq!((wallet.as_of_ms, wallet.folded), (START_MS, 2));
}
