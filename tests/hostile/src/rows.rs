//! Rows of stores that are read back, and what is folded over them. Rows reach a fold only through
//! a store that has checked its own sums; still they must not break it.

use std::sync::Arc;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::{Envelope, Frame, OwnedFrame, RecordBuf};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_processors::intake::{Intake, IntakeBoard, IntakeSpec};
use hongbao_processors::views::{GroupBy, Views, ViewsLimits, ViewsReader};
use hongbao_schemas::control::{ControlKey, Input, decode_input};
use hongbao_schemas::journal::Fact;
use hongbao_schemas::order::Order;
use hongbao_schemas::record::RecordKind;
use hongbao_sinks::ledger::{LedgerDownstream, LedgerLimits, LedgerSpec};

use crate::meter::{Bound, bounded};

/// A fold's tables, and a row of a few bytes as a struct.
const FOLD: Bound = Bound { factor: 256, base: 8 << 20 };

/// An input: rows with their keys, and records, whose key is empty.
#[derive(Default)]
struct Script<'a> {
    rows: Vec<(&'a [u8], &'a [u8])>,
    records: Vec<&'a [u8]>,
}

/// Packs rows, and records with empty keys, into an input. Keys have at most 255 bytes, values at
/// most 65,535; longer ones are left out.
#[must_use]
pub fn pack(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in rows {
        let (Ok(key_len), Ok(value_len)) = (u8::try_from(key.len()), u16::try_from(value.len())) else {
            continue;
        };
        out.push(key_len);
        out.extend_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    out
}

fn unpack(mut bytes: &[u8]) -> Script<'_> {
    let mut script = Script::default();
    while let Some(([key_len, low, high], rest)) = bytes.split_first_chunk::<3>() {
        let key = rest.len().min(usize::from(*key_len));
        let (key, rest) = rest.split_at(key);
        let value = rest.len().min(usize::from(u16::from_le_bytes([*low, *high])));
        let (value, rest) = rest.split_at(value);
        if key.is_empty() {
            script.records.push(value)
        } else {
            script.rows.push((key, value))
        }
        bytes = rest;
    }
    // For a key given twice the first one counts.
    script.rows.sort_by_key(|(key, _)| *key);
    script.rows.dedup_by_key(|(key, _)| *key);
    script
}

fn store(script: &Script<'_>, applied: u64) -> Arc<dyn Store> {
    let mut rows = Rows::new();
    script.rows.iter().for_each(|(key, value)| rows.put(key, value));
    let store = MemoryStore::new();
    let committed = store.commit(&[rows], Applied { offset: applied, last_record_crc: 0 });
    assert!(committed.is_ok(), "violation: {committed:?}");
    Arc::new(store)
}

fn frame(records: &[&[u8]], first_offset: u64) -> OwnedFrame {
    let mut frame = OwnedFrame { first_offset, ..OwnedFrame::default() };
    for record in records {
        frame.bytes.extend_from_slice(record);
        frame.ends.push(frame.bytes.len() as u32);
    }
    frame
}

/// Commits what a fold has set aside; false when it could not be built.
fn commit(fold: &mut dyn Processor, store: &dyn Store, offset: u64) -> bool {
    let Ok(frozen) = fold.freeze() else { return false };
    let Ok(mut runs) = frozen() else { return false };
    runs.retain(|run| !run.is_empty());
    let committed = store.commit(&runs, Applied { offset, last_record_crc: 0 });
    assert!(committed.is_ok(), "violation: rows that no store takes: {committed:?}");
    fold.committed();
    true
}

/// Asks everything that the rows may be asked.
fn ask(reader: &ViewsReader, script: &Script<'_>) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or("u");
    for (key, _) in &script.rows {
        let Some((kind, rest)) = key.split_first_chunk::<2>() else { continue };
        match kind {
            b"us" => {
                let wallet = reader.wallet(text(rest), None);
                let cursor = wallet.ok().and_then(|wallet| wallet.items_next_cursor);
                drop(reader.wallet(text(rest), cursor.as_deref()));
                let page = reader.entries(text(rest), 2, None).ok();
                let cursor = page.and_then(|page| page.next_cursor);
                drop(reader.entries(text(rest), 50, cursor.as_deref()));
            }
            b"ar" | b"cf" => drop(reader.order(text(rest))),
            b"or" => {
                let parts: Vec<&str> = text(rest).split('\0').collect();
                if let [scene, act, rain, award_type, stage] = parts[..] {
                    drop(reader.order(&[act, scene, rain, award_type, stage].join("_")));
                }
            }
            _ => (),
        }
    }
    drop((reader.totals(&[]), reader.totals(&[GroupBy::SceneId]), reader.lanes(), reader.reconcile()));
    drop((reader.lane_state(0, "cash"), reader.lane_state(0, "coupon"), reader.contradictions()));
}

pub(crate) fn views(bytes: &[u8]) {
    let script = unpack(bytes);
    let limits = ViewsLimits { users_max: 8, recent_orders_max: 8, known_users_bytes: 4096 };
    bounded(FOLD, bytes.len(), || {
        let store = store(&script, u64::from(!script.rows.is_empty()));
        let reader = ViewsReader::new(1);
        let Ok(mut views) = Views::open(0, Arc::clone(&store), limits, &reader) else { return };
        ask(&reader, &script);
        let from = reader.folded(0).unwrap_or_default();
        // Far from the end of the numbers: what was folded before had offsets below these.
        if from > u64::MAX / 2 {
            return;
        }
        let frame = frame(&script.records, from);
        let folded = views.apply(&[frame.view()], &mut Outputs::new()).is_ok();
        ask(&reader, &script);
        let end = from + script.records.len() as u64;
        if folded && commit(&mut views, &*store, end) {
            ask(&reader, &script);
            let again = Views::open(0, store, limits, &ViewsReader::new(1));
            assert!(again.is_ok(), "violation: its own rows cannot be read: {:?}", again.err());
        }
    });
}

pub(crate) fn intake(bytes: &[u8]) {
    let script = unpack(bytes);
    bounded(FOLD, bytes.len(), || {
        let store = store(&script, 0);
        let open = |outputs: &mut Outputs| {
            let spec = IntakeSpec {
                partition: Partition(0),
                partitions: 1,
                control_key: ControlKey::new([7; 32]),
                seen: SeenLimits { window_keys_max: 16 },
                board: Arc::new(IntakeBoard::new()),
            };
            let board = Arc::clone(&spec.board);
            Intake::open(spec, Arc::clone(&store), outputs).map(|intake| (intake, board))
        };
        let mut outputs = Outputs::new();
        let Ok((mut intake, board)) = open(&mut outputs) else { return };
        let before = board.counts();
        let frame = frame(&script.records, 0);
        if intake.apply(&[frame.view()], &mut outputs).is_err() {
            return;
        }
        let counts = board.counts();
        let read = counts.read.wrapping_sub(before.read);
        let key = ControlKey::new([7; 32]);
        let control = |record: &&&[u8]| matches!(decode_input(record, &key), Ok(Input::Control(_)));
        let decided = script.records.len() - script.records.iter().filter(control).count();
        assert!(read == decided as u64, "violation: {read} verdicts for {decided} records (I1)");
        assert!(counts.sum() == counts.read, "violation: {counts:?} (I1)");
        outputs_are_records(&outputs);
        if commit(&mut intake, &*store, script.records.len() as u64) {
            let again = open(&mut Outputs::new());
            assert!(again.is_ok(), "violation: its own rows cannot be read: {:?}", again.err());
        }
    });
}

/// Everything that a fold writes can be read, in its topic.
fn outputs_are_records(outputs: &Outputs) {
    for topic in outputs.topics() {
        for index in 0..topic.records.len() {
            let record = topic.records.get(index).unwrap_or_default();
            let good = match &*topic.name {
                "journal" => Fact::decode(record).is_ok(),
                "dlq.intake" => RecordKind::of(record) == Ok(RecordKind::DeadLetter),
                _ => Order::decode(record).is_ok_and(|order| order.amount_minor > 0),
            };
            assert!(good, "violation: {} gets what is none of its records", topic.name);
        }
    }
}

pub(crate) fn ledger(bytes: &[u8]) {
    let script = unpack(bytes);
    bounded(FOLD, bytes.len(), || {
        let store = store(&script, 0);
        let log = Arc::new(MemoryLog::new(1, Arc::new(ManualClock::at(0))));
        let mut records = RecordBuf::new();
        script.records.iter().for_each(|record| records.push(record));
        if !records.is_empty() {
            let book = Frame { topic: "book", envelope: Envelope::PRODUCER, records: &records };
            let appended = log.append(Partition(0), &[book]);
            assert!(appended.is_ok(), "violation: {appended:?}");
        }
        let limits = LedgerLimits { commit_postings: 2, window_keys_max: 16 };
        let spec = LedgerSpec { log, stores: vec![store], wake: Arc::new(|| ()), limits };
        // Dropped, it commits what it folded and ends its threads.
        if let Ok(ledger) = LedgerDownstream::open(spec) {
            let status = ledger.status();
            drop(ledger);
            let halted = status.halted().unwrap_or_default();
            assert!(!halted.contains("panic"), "violation: {halted}");
        }
    });
}
