//! Crashes at any point between a decision and its commit: no order is credited twice, and nothing
//! that was answered is lost (I10, I25).

use std::collections::HashMap;

use hongbao_engine::log::Position;
use proptest::prelude::*;

use super::*;
use crate::downstream::{Outcome, Outcomes, Told};

#[derive(Clone, Debug)]
enum Op {
    /// Orders, each with one of a few amounts, so that some repeat and some conflict.
    Credit(Vec<(u64, i64)>),
    /// Decides and dies before the append.
    CreditAndCrash(Vec<(u64, i64)>),
    Ask(u64, i64),
    Sync(usize),
    Commit(bool),
    RunCommits,
    /// So many groups beyond the durable ones happen to have reached the device.
    Crash(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let one = || (0_u64..25, prop::sample::select(vec![5_i64, 5, 5, 5, 6, 0]));
    let some = move || prop::collection::vec(one(), 1..6);
    prop_oneof![
        6 => some().prop_map(Op::Credit),
        1 => some().prop_map(Op::CreditAndCrash),
        2 => one().prop_map(|(n, amount)| Op::Ask(n, amount)),
        4 => (1_usize..4).prop_map(Op::Sync),
        3 => any::<bool>().prop_map(Op::Commit),
        3 => Just(Op::RunCommits),
        2 => (0_usize..3).prop_map(Op::Crash),
    ]
}

/// An answer that is given once the book is durable up to the position.
enum Answer {
    Sent(Vec<(u64, Record, Outcome)>),
    Asked(u64, Record, Told),
}

struct World {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    process: Process,
    /// What the ledger should take for credited, undurable postings included.
    credited: HashMap<u64, Record>,
    open: Vec<(Position, Answer)>,
    /// What was answered as credited, and by how many answers as credited just then.
    answered: HashMap<u64, (Record, u32)>,
    rejected: Vec<(u64, Record)>,
}

impl World {
    fn new() -> Self {
        let (log, store) = (manual_log(1), Arc::new(MemoryStore::new()));
        let process = Process::open(&log, &store, small()).unwrap();
        let (credited, open) = (HashMap::new(), Vec::new());
        Self { log, store, process, credited, open, answered: HashMap::new(), rejected: Vec::new() }
    }

    /// The naive ledger.
    fn decide(&mut self, n: u64, amount: i64) -> Outcome {
        let record = cash(n, amount);
        match self.credited.get(&n) {
            _ if amount <= 0 => Outcome::Rejected("amount_not_positive".into()),
            Some(seen) if *seen == record => Outcome::AlreadyCredited,
            Some(_) => Outcome::Conflict("order_conflict".into()),
            None => {
                self.credited.insert(n, record);
                Outcome::Credited
            }
        }
    }

    fn credit(&mut self, orders: &[(u64, i64)]) -> Answer {
        let records: Vec<Record> = orders.iter().map(|(n, amount)| cash(*n, *amount)).collect();
        let expected: Vec<Outcome> = orders.iter().map(|(n, amount)| self.decide(*n, *amount)).collect();
        let found = match self.process.shard.credit(&batch(P0, &records)).unwrap() {
            Outcomes::Each(each) => each,
            Outcomes::All(outcome) => vec![outcome; records.len()],
            Outcomes::Split(reason) => panic!("{reason}"),
        };
        assert_eq!(found, expected, "{orders:?}");
        Answer::Sent(orders.iter().zip(records).zip(found).map(|((o, r), out)| (o.0, r, out)).collect())
    }

    fn ask(&mut self, n: u64, amount: i64) -> Answer {
        let record = cash(n, amount);
        let expected = match self.credited.get(&n) {
            Some(seen) if *seen == record => Told::Credited,
            Some(_) => Told::Conflict("order_conflict".into()),
            None => Told::Absent,
        };
        assert_eq!(self.process.shard.ask(&record).unwrap(), expected);
        Answer::Asked(n, record, expected)
    }

    fn open_answer(&mut self, answer: Answer) {
        self.open.push((self.process.shard.position(), answer));
    }

    fn crash(&mut self, reached_device: usize) {
        self.log.sync_groups(P0, reached_device);
        self.log.crash();
        // Answers may have been given just before.
        self.answer();
        self.open.clear();
        self.process = Process::open(&self.log, &self.store, small()).unwrap();
        let number = |order: &Order<'_>| order.order_no.split('_').nth(2).unwrap().parse().unwrap();
        let book = book(&self.log);
        self.credited = book.iter().map(|r| (number(&Order::decode(r).unwrap()), r.clone())).collect();
    }

    fn answer(&mut self) {
        let shard = &self.process.shard;
        let is_durable = |position: Position| shard.is_durable(position).unwrap();
        for (_, answer) in self.open.extract_if(.., |(position, _)| is_durable(*position)) {
            let mut credited = |n, record, now| {
                let seen = self.answered.entry(n).or_insert((record, 0));
                seen.1 += now;
                assert!(seen.1 <= 1, "order {n} credited twice");
            };
            match answer {
                Answer::Asked(n, record, Told::Credited) => credited(n, record, 0),
                Answer::Asked(n, record, Told::Conflict(_)) => self.rejected.push((n, record)),
                Answer::Asked(..) => {}
                Answer::Sent(each) => {
                    for (n, record, outcome) in each {
                        match outcome {
                            Outcome::Credited => credited(n, record, 1),
                            Outcome::AlreadyCredited => credited(n, record, 0),
                            _ => self.rejected.push((n, record)),
                        }
                    }
                }
            }
        }
    }

    /// Everything that must hold at any time.
    fn check(&self) {
        check_store(&self.log, P0, &self.store);
        let book = book(&self.log);
        rows_of(&book);
        for (n, (record, _)) in &self.answered {
            assert!(book.contains(record), "order {n} was answered and is not in the book");
        }
        for (n, record) in &self.rejected {
            assert!(!book.contains(record), "order {n} was rejected and is in the book");
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Credit(orders) => {
                let answer = self.credit(orders);
                self.process.shard.append().unwrap();
                self.open_answer(answer);
            }
            Op::CreditAndCrash(orders) => {
                self.credit(orders);
                self.crash(1);
            }
            Op::Ask(n, amount) => {
                let answer = self.ask(*n, *amount);
                self.open_answer(answer);
            }
            Op::Sync(groups) => self.log.sync_groups(P0, *groups),
            Op::Commit(now) => {
                self.process.shard.commit(&self.process.committer, *now).unwrap();
            }
            Op::RunCommits => {
                self.process.committer.run_ready();
            }
            Op::Crash(reached_device) => self.crash(*reached_device),
        }
        self.answer();
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn nothing_is_credited_twice_and_no_answer_is_lost(ops in prop::collection::vec(op(), 1..50)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.log.sync();
        world.answer();
        assert!(world.open.is_empty(), "every answer is given once all is durable");
        world.process.commit_all();
        world.check();
        prop_assert_eq!(world.store.applied().unwrap().offset as usize, world.credited.len());
    }
}
