//! What folds show to readers: each answer is of one point of the journal, sums never go back, and
//! whoever watches a verdict gets one answer (I15, I18, I1).

use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::OwnedFrame;
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::{Applied, Store};
use hongbao_engine::thread;
use hongbao_interleavings::explore;
use hongbao_processors::intake::{Intake, IntakeBoard, IntakeSpec};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_schemas::award::Award;
use hongbao_schemas::control::ControlKey;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::{Accepted, CreditFact, CreditStage, RangesBuf, SeqRange};
use parking_lot::Mutex;

const ORDERS: i64 = 4;
const AMOUNT: i128 = 5;

fn award(order_no: &str) -> Award<'_> {
    Award {
        order_no,
        act_id: "u",
        activity_id: "a",
        scene_id: "s",
        reward_type: "cash",
        reward_id: "",
        amount_minor: AMOUNT as i64,
        event_time_ms: 1_801_915_260_000,
        app: "",
        ext: Ext::EMPTY,
    }
}

fn frame(first_offset: u64, records: &[Vec<u8>]) -> OwnedFrame {
    let mut frame = OwnedFrame { first_offset, ..OwnedFrame::default() };
    for record in records {
        frame.bytes.extend_from_slice(record);
        frame.ends.push(frame.bytes.len() as u32);
    }
    frame
}

fn accepted(seq: i64) -> Vec<u8> {
    let order_no = format!("u_s_{seq}_t_1");
    let fact = Accepted {
        award: award(&order_no),
        asset: "CNY/2",
        lane: "cash",
        lane_seq: seq,
        award_offset: seq,
        at_ms: 1_801_915_260_000,
    };
    let mut out = Vec::new();
    fact.encode(&mut out);
    out
}

fn credited(stage: CreditStage, seq: i64) -> Vec<u8> {
    let mut ranges = RangesBuf::new();
    ranges.push(SeqRange::new(seq, 1).unwrap());
    let mut out = Vec::new();
    let at_ms = 1_801_915_260_000;
    CreditFact { stage, lane: "cash", at_ms, ranges: ranges.as_ranges(), reason: "" }.encode(&mut out);
    out
}

/// Batches of facts as a task would apply them: each order is accepted, sent and credited.
fn journal() -> Vec<Vec<Vec<u8>>> {
    let one = |seq| {
        [vec![accepted(seq)], vec![credited(CreditStage::Started, seq), credited(CreditStage::Credited, seq)]]
    };
    (1..=ORDERS).flat_map(one).collect()
}

fn fold(store: &Arc<dyn Store>, mut views: Views) {
    let mut offset = 0;
    for (number, batch) in journal().iter().enumerate() {
        views.apply(&[frame(offset, batch).view()], &mut Outputs::new()).unwrap();
        offset += batch.len() as u64;
        if number % 3 == 2 {
            let frozen = views.freeze().unwrap();
            let mut runs = frozen().unwrap();
            runs.retain(|run| !run.is_empty());
            store.commit(&runs, Applied { offset, last_record_crc: 0 }).unwrap();
            views.committed();
        }
    }
}

#[test]
fn answers_of_the_views_are_of_one_point_and_never_go_back() {
    explore(|| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let reader = Arc::new(ViewsReader::new(1));
        let limits = ViewsLimits { users_max: 1, recent_orders_max: 1, known_users_bytes: 4096 };
        let views = Views::open(0, Arc::clone(&store), limits, &reader).unwrap();
        let shared = Arc::new(Mutex::new((0, 0)));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, shared) = (Arc::clone(&reader), Arc::clone(&shared));
                thread::spawn(move || {
                    for _ in 0..3 {
                        let before = *shared.lock();
                        let totals = reader.totals(&[]).unwrap();
                        let row = totals.rows.first().cloned().unwrap_or_default();
                        let now = (row.accepted_count, row.credited_count);
                        assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} then {now:?} (I18)");
                        assert_eq!(row.accepted_minor, i128::from(now.0) * AMOUNT);
                        assert!(now.1 <= now.0, "credited before it was accepted (I9)");
                        let mut latest = shared.lock();
                        *latest = (latest.0.max(now.0), latest.1.max(now.1));
                        drop(latest);

                        let wallet = reader.wallet("u", None).unwrap();
                        if let Some(balance) = wallet.balances.first() {
                            let accepted = i128::from(wallet.folded.div_ceil(3)) * AMOUNT;
                            assert_eq!(balance.income_minor(), accepted, "at {} (I15)", wallet.folded);
                            let ended = i128::from(wallet.folded / 3) * AMOUNT;
                            assert_eq!(balance.credited_minor, ended, "at {} (I15)", wallet.folded);
                        }
                        let page = reader.entries("u", 10, None).unwrap();
                        assert!(page.entries.len() >= usize::from(now.0 > 0));
                    }
                })
            })
            .collect();
        let folding = thread::spawn(move || fold(&store, views));
        folding.join().unwrap();
        readers.into_iter().for_each(|thread| thread.join().unwrap());
        let totals = reader.totals(&[]).unwrap();
        assert_eq!(totals.rows[0].credited_count, ORDERS as u64);
    });
}

#[test]
fn every_watch_is_answered_once() {
    explore(|| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let board = Arc::new(IntakeBoard::new());
        let spec = IntakeSpec {
            partition: Partition(0),
            partitions: 1,
            control_key: ControlKey::new([7; 32]),
            seen: SeenLimits { window_keys_max: 16 },
            board: Arc::clone(&board),
        };
        let mut outputs = Outputs::new();
        let mut intake = Intake::open(spec, store, &mut outputs).unwrap();
        let answers = Arc::new(Mutex::new(vec![0; 3]));
        let watchers: Vec<_> = (0..3_u64)
            .map(|first| {
                let (board, answers) = (Arc::clone(&board), Arc::clone(&answers));
                thread::spawn(move || {
                    let counted = Arc::clone(&answers);
                    let answer = move |verdicts: Vec<_>| {
                        assert!(verdicts.len() == 2 && verdicts.iter().all(Option::is_some), "{verdicts:?}");
                        counted.lock()[first as usize] += 1;
                    };
                    // A watch that is dropped is given up: the last one keeps its watch till the end.
                    let watch = board.watch(first, 2, Box::new(answer));
                    let counts = board.counts();
                    assert_eq!(counts.sum(), counts.read, "I1");
                    watch
                })
            })
            .collect();
        let folding = thread::spawn(move || {
            for offset in 0..4 {
                let mut record = Vec::new();
                award(&format!("u_s_{offset}_t_1")).encode(&mut record);
                intake.apply(&[frame(offset, &[record]).view()], &mut outputs).unwrap();
            }
        });
        let watches: Vec<_> = watchers.into_iter().map(|thread| thread.join().unwrap()).collect();
        folding.join().unwrap();
        assert_eq!(*answers.lock(), [1, 1, 1]);
        drop(watches);
        assert_eq!((board.applied(), board.counts().read), (4, 4));
    });
}
