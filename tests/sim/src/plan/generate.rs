//! A plan from a seed. Each kind of fault is on in half of all worlds; where it is on, how often it
//! comes is drawn by magnitude.

use crate::downstreams::fault::RequestFault;
use crate::options::{DownstreamOptions, LogProfile, Options, draw, is_handover};
use crate::random::Random;

use super::{AwardOp, Judge, Op, Plan, Poison, Step, StoreName, Twist};

/// Fewest and most awards of a world, duplicates not included.
const AWARDS: (u64, u64) = (20, 250);
/// Points after which a process ends while it opens, at most.
const OPENING_POINTS_MAX: u64 = 120;

/// When awards come where lanes are handed over: from then on, for so long.
const RUSH_MS: (i64, i64) = (1_000, 500);

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64) -> Plan {
    let options = draw(seed);
    let duration_ms = Random::of(seed, "duration").magnitude(1_000, 40_000).cast_signed();
    let mut steps = Vec::new();
    if is_handover(seed) {
        // Much comes at once, to limits that have long had nothing to do.
        awards(seed, &options, RUSH_MS.1, &mut steps);
        steps.iter_mut().for_each(|step| step.at_ms += RUSH_MS.0);
    } else {
        awards(seed, &options, duration_ms, &mut steps);
    }
    let mut faults =
        Faults { random: Random::of(seed, "faults"), options: &options, duration_ms, steps: &mut steps };
    faults.process();
    faults.clock();
    faults.log();
    faults.stores();
    faults.operator();
    for index in 0..options.downstreams.len() {
        faults.downstream(index);
    }
    faults.ruin();
    faults.random = Random::of(seed, "zombies");
    faults.zombies();
    faults.random = Random::of(seed, "retention");
    faults.retention();
    faults.random = Random::of(seed, "openings");
    faults.openings();
    faults.random = Random::of(seed, "statuses");
    faults.statuses();
    faults.random = Random::of(seed, "accounts");
    faults.accounts();
    steps.sort_by_key(|step| step.at_ms);
    Plan { judge: Judge::Strict, options, steps }
}

fn awards(seed: u64, options: &Options, duration_ms: i64, steps: &mut Vec<Step>) {
    let random = &mut Random::of(seed, "clients");
    let people = random.magnitude(2, 100);
    let hot_permille = if random.chance(300) { 500 } else { 0 };
    let duplicates = if random.chance(800) { random.magnitude(10, 600) } else { 0 };
    let conflicts = if random.chance(500) { random.magnitude(5, 200) } else { 0 };
    let twists = if random.chance(500) { random.magnitude(5, 200) } else { 0 };
    let bursts = random.chance(300);
    let mut made: Vec<AwardOp> = Vec::new();
    for rain in 0..random.magnitude(AWARDS.0, AWARDS.1) as u32 {
        let mut at_ms = random.below(duration_ms.cast_unsigned()).cast_signed();
        if bursts {
            at_ms -= at_ms % 1_000;
        }
        let award = award(random, options, rain, people, hot_permille, twists);
        steps.push(Step { at_ms, op: Op::Award(award) });
        if random.chance(duplicates) {
            let again = AwardOp { app: award.app + 1, ..award };
            let soon = random.chance(600);
            let after_ms = if soon { random.below(50) } else { random.below(duration_ms.cast_unsigned()) };
            steps.push(Step { at_ms: at_ms + after_ms.cast_signed(), op: Op::Award(again) });
        }
        if random.chance(conflicts) {
            let first = *random.pick(if made.is_empty() { std::slice::from_ref(&award) } else { &made });
            let other = if random.chance(500) {
                AwardOp { amount_minor: first.amount_minor % 1_000 + 1, ..first }
            } else {
                AwardOp { reward: first.reward + 1, ..first }
            };
            let after_ms = random.below(2_000).cast_signed();
            steps.push(Step { at_ms: at_ms + after_ms, op: Op::Award(other) });
        }
        made.push(award);
    }
    if random.chance(500) {
        let kinds = [
            Poison::Empty,
            Poison::Noise,
            Poison::CutAward,
            Poison::ForgedSettings,
            Poison::ForeignTick,
            Poison::OldTick,
        ];
        for _ in 0..random.magnitude(1, 30) {
            let at_ms = random.below(duration_ms.cast_unsigned()).cast_signed();
            let partition = random.below(u64::from(options.partitions)) as u16;
            steps.push(Step { at_ms, op: Op::Bytes { partition, kind: *random.pick(&kinds) } });
        }
    }
}

fn award(random: &mut Random, options: &Options, rain: u32, people: u64, hot: u64, twists: u64) -> AwardOp {
    let scene = match random.below(100) {
        0..55 => 0,
        55..78 => 1,
        78..98 => 2,
        _ => 3,
    };
    let huge = options.cash_max_minor == i64::MAX && random.chance(500);
    let amount_minor = match random.below(100) {
        _ if huge => i64::MAX - random.below(3).cast_signed(),
        0 => 0,
        1 => -5,
        2 => options.cash_max_minor,
        3 if options.cash_max_minor < i64::MAX => options.cash_max_minor + 1,
        _ if scene == 0 => random.within(1, 2_000).cast_signed(),
        _ => 1,
    };
    let kinds = [
        Twist::ForeignOrderNo,
        Twist::MalformedOrderNo,
        Twist::UnknownActivity,
        Twist::OtherType,
        Twist::WrongPartition,
    ];
    AwardOp {
        person: if random.chance(hot) { 0 } else { random.below(people) as u32 },
        scene,
        rain,
        amount_minor,
        reward: random.below(3) as u8,
        app: 0,
        twist: if random.chance(twists) { *random.pick(&kinds) } else { Twist::None },
    }
}

struct Faults<'a> {
    random: Random,
    options: &'a Options,
    duration_ms: i64,
    steps: &'a mut Vec<Step>,
}

impl Faults<'_> {
    /// How often a kind comes: not at all in half of all worlds.
    fn count(&mut self, most: u64) -> u64 {
        if self.random.chance(500) { self.random.magnitude(1, most) } else { 0 }
    }

    fn at(&mut self) -> i64 {
        self.random.below(self.duration_ms.cast_unsigned()).cast_signed()
    }

    fn push(&mut self, op: Op) {
        let at_ms = self.at();
        self.steps.push(Step { at_ms, op });
    }

    fn partition(&mut self) -> u16 {
        self.random.below(u64::from(self.options.partitions)) as u16
    }

    fn store(&mut self) -> StoreName {
        let partition = self.partition();
        if self.random.chance(500) { StoreName::Intake(partition) } else { StoreName::Views(partition) }
    }

    fn process(&mut self) {
        for _ in 0..self.count(30) {
            let op = Op::Crash {
                calls: self.random.magnitude(1, 300),
                keep_permille: *self.random.pick(&[0, 300, 500, 1_000]),
                down_ms: self.random.magnitude(1, 3_000).cast_signed(),
                again: self.random.chance(300).then(|| self.random.magnitude(1, 40)),
                reads: false,
                audit: self.random.chance(150),
            };
            self.push(op);
        }
        for _ in 0..self.count(4) {
            let down_ms = self.random.magnitude(1, 3_000).cast_signed();
            self.push(Op::Stop { down_ms });
        }
    }

    /// Half of the processes that end soon after their start do so at any call, reads included.
    fn openings(&mut self) {
        for step in &mut *self.steps {
            if let Op::Crash { again: Some(points), reads, .. } = &mut step.op
                && self.random.chance(500)
            {
                (*points, *reads) = (self.random.magnitude(1, OPENING_POINTS_MAX), true);
            }
        }
    }

    fn clock(&mut self) {
        for _ in 0..self.count(6) {
            let by_ms = self.random.magnitude(1, 4 * 3_600_000).cast_signed();
            let by_ms = if self.random.chance(500) { by_ms } else { -by_ms };
            self.push(Op::Jump { by_ms });
        }
        for _ in 0..self.count(3) {
            let for_ms = self.random.magnitude(100, 20_000).cast_signed();
            self.push(Op::Freeze { for_ms });
        }
    }

    fn log(&mut self) {
        for _ in 0..self.count(6) {
            let (log, partition) = (self.log_index(), self.partition());
            let for_ms = self.random.magnitude(10, 5_000).cast_signed();
            self.push(Op::LogFull { log, partition, for_ms });
        }
        for _ in 0..self.count(4) {
            let (log, partition) = (self.log_index(), self.partition());
            self.push(Op::SyncFails { log, partition });
        }
        for _ in 0..self.count(6) {
            let (log, partition) = (self.log_index(), self.partition());
            let for_ms = self.random.magnitude(10, 5_000).cast_signed();
            self.push(Op::SyncStalls { log, partition, for_ms });
        }
    }

    /// 0 is the main log, others are ledgers' books.
    fn log_index(&mut self) -> usize {
        if self.random.chance(800) {
            0
        } else {
            1 + self.random.below(self.options.downstreams.len() as u64) as usize
        }
    }

    fn stores(&mut self) {
        for _ in 0..self.count(4) {
            let store = self.store();
            let for_ms = self.random.magnitude(10, 5_000).cast_signed();
            self.push(Op::StoreFull { store, for_ms });
        }
        for _ in 0..self.count(4) {
            let store = self.store();
            self.push(Op::StoreOld { store });
        }
        for _ in 0..self.count(4) {
            let store = self.store();
            self.push(Op::StoreFails { store });
        }
    }

    /// The same faults of the stores of ledgers.
    fn accounts(&mut self) {
        let is_ledger =
            |downstream: &DownstreamOptions| matches!(downstream, DownstreamOptions::Ledger { .. });
        for downstream in 0..self.options.downstreams.len() {
            if !is_ledger(&self.options.downstreams[downstream]) {
                continue;
            }
            for kind in 0..3_u8 {
                for _ in 0..self.count(4) {
                    let store = StoreName::Accounts { downstream, partition: self.partition() };
                    let for_ms = self.random.magnitude(10, 5_000).cast_signed();
                    self.push(match kind {
                        0 => Op::StoreFull { store, for_ms },
                        1 => Op::StoreFails { store },
                        _ => Op::StoreOld { store },
                    });
                }
            }
        }
    }

    fn operator(&mut self) {
        for _ in 0..self.count(5) {
            let most = self.options.cash_max_minor;
            let cash_max_minor = if self.random.chance(500) { most } else { 1_000 };
            let has_films = self.random.chance(700);
            self.push(Op::Settings { cash_max_minor, has_films });
        }
        for _ in 0..self.count(3) {
            let partition = self.partition();
            let from_permille = self.random.below(1_000) as u32;
            let count = self.random.magnitude(1, 200) as u32;
            self.push(Op::Replay { partition, from_permille, count });
        }
    }

    fn downstream(&mut self, downstream: usize) {
        let DownstreamOptions::Partner(partner) = self.options.downstreams[downstream] else { return };
        let late_max_ms = partner.late_max_ms().max(1);
        let late = |random: &mut Random| random.magnitude(1, late_max_ms);
        let retry_ms = |random: &mut Random| random.chance(500).then(|| random.below(3));
        for kind in 0..17_u8 {
            for _ in 0..self.count(12) {
                let random = &mut self.random;
                let fault = match kind {
                    0 => RequestFault::FailBefore,
                    1 => RequestFault::FailAfter,
                    2 => RequestFault::LoseRequest,
                    3 => RequestFault::LoseAnswer,
                    4 => RequestFault::Late(late(random)),
                    5 => RequestFault::Throttle(retry_ms(random)),
                    6 => RequestFault::Unavailable(retry_ms(random)),
                    7 => RequestFault::Refuse,
                    8 => RequestFault::Partial,
                    9 => RequestFault::ThrottleItems,
                    10 => RequestFault::Pending(late(random)),
                    11 => RequestFault::CutAnswer,
                    12 => RequestFault::Nonsense,
                    13 => RequestFault::Slow(random.magnitude(1, 3_000)),
                    14 => RequestFault::Conflict,
                    15 => RequestFault::RejectItems,
                    _ if random.chance(700) => RequestFault::TooLarge,
                    _ => RequestFault::Unauthorized,
                };
                let count = random.magnitude(1, 10) as u32;
                self.push(Op::Requests { downstream, fault, count });
            }
        }
        for _ in 0..self.count(3) {
            let for_ms = self.random.magnitude(100, 20_000).cast_signed();
            self.push(Op::Outage { downstream, for_ms });
        }
    }

    /// Statuses that services should not answer with, and do.
    fn statuses(&mut self) {
        for downstream in 0..self.options.downstreams.len() {
            if !matches!(self.options.downstreams[downstream], DownstreamOptions::Partner(_)) {
                continue;
            }
            for _ in 0..self.count(6) {
                let status = *self.random.pick(&[302, 308, 400, 403, 404, 405, 413, 422, 502, 502]);
                let may_have_done = matches!(status, 302 | 308 | 502);
                let fault = match may_have_done && self.random.chance(500) {
                    true => RequestFault::StatusAfter(status),
                    false => RequestFault::Status(status),
                };
                let count = self.random.magnitude(1, 4) as u32;
                self.push(Op::Requests { downstream, fault, count });
            }
        }
    }

    /// As rare as ruin, for the same reason, where somebody has still to read what is trimmed.
    fn retention(&mut self) {
        if self.random.chance(50) {
            let (partition, is_journal) = (self.partition(), self.random.chance(500));
            let keep = self.random.magnitude(1, 200) - 1;
            self.push(Op::Trimmed { partition, is_journal, keep });
        }
    }

    /// Where several processes can write the log, and what is downstream is not a ledger of their own,
    /// which one process locks.
    fn zombies(&mut self) {
        let is_partner = |downstream: &DownstreamOptions| matches!(downstream, DownstreamOptions::Partner(_));
        if self.options.log != LogProfile::Broker || !self.options.downstreams.iter().all(is_partner) {
            return;
        }
        let is_handover = is_handover(self.options.seed);
        let mut clocks = Random::of(self.options.seed, "clocks of other machines");
        let count = if is_handover || self.random.chance(800) { self.random.magnitude(1, 8) } else { 0 };
        for _ in 0..count {
            let (down_ms, for_ms) = self.asleep(is_handover);
            let op = Op::Zombie {
                for_ms: for_ms.cast_signed(),
                awake_ms: self.random.magnitude(10, 5_000).cast_signed(),
                down_ms: down_ms.cast_signed(),
                calls: self.random.chance(300).then(|| self.random.magnitude(1, 200)),
                keep_permille: *self.random.pick(&[0, 300, 500, 1_000]),
                is_empty: self.random.chance(200),
                is_opening: self.random.chance(250),
                ahead_ms: ahead_ms(&mut clocks),
            };
            let at_ms = match is_handover {
                true => RUSH_MS.0 + self.random.below(2 * RUSH_MS.1.cast_unsigned()).cast_signed(),
                false => self.at(),
            };
            self.steps.push(Step { at_ms, op });
        }
    }

    /// After how long the other one starts, and the zombie is awake again: before the other one has
    /// opened, while it opens, or long after.
    fn asleep(&mut self, is_handover: bool) -> (u64, u64) {
        let most_ms = *self.random.pick(&[20, 20, 300, 300, 5_000, 20_000]);
        if is_handover && self.random.chance(700) {
            // Within the second in which limits count, or when keys are forgotten.
            let has_limits = self.options.lanes.iter().any(|lane| lane.rate.is_some());
            let (least_ms, most_ms) = if has_limits { (50, 600) } else { (1_000, 5_000) };
            return (self.random.magnitude(1, 30), self.random.magnitude(least_ms, most_ms));
        }
        (self.random.magnitude(1, 200), self.random.magnitude(1, most_ms))
    }

    /// What no system survives: the partition must halt and say so, and others go on. Rare, since
    /// nothing more is learnt of that partition.
    fn ruin(&mut self) {
        if !self.random.chance(100) {
            return;
        }
        let partition = self.partition();
        let op = match self.random.below(4) {
            0 => Op::LogDamaged { partition },
            1 => Op::LogLost { partition, groups: self.random.magnitude(1, 20) as usize },
            2 => Op::StoreForeign { store: self.store(), of: self.partition() },
            _ => Op::StoreDamaged { store: self.store() },
        };
        self.push(op);
    }
}

/// Clocks of machines mostly agree, and sometimes not at all.
fn ahead_ms(random: &mut Random) -> i64 {
    let most_ms = *random.pick(&[1, 20, 20, 500, 5_000, 100_000_000]);
    let ahead_ms = (random.magnitude(1, most_ms) - 1).cast_signed();
    if random.chance(500) { ahead_ms } else { -ahead_ms }
}
