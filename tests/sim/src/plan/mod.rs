//! What happens in a world: an explicit list of operations and faults with their times. A plan is
//! all that a run needs, so it can be stored, cut down and played again.

mod generate;

use serde::{Deserialize, Serialize};

use crate::downstreams::fault::RequestFault;
use crate::options::{DownstreamOptions, Keys, Options};

pub use generate::generate;

/// A world and what happens in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the run is judged by.
    #[serde(default, skip_serializing_if = "Judge::is_strict")]
    pub judge: Judge,
    /// What the world is made of.
    pub options: Options,
    /// What happens, by time.
    pub steps: Vec<Step>,
}

/// The plan of a seed, judged by money. In every other one services know no keys, so that what is sent
/// twice is paid twice.
#[must_use]
pub fn of_money(seed: u64) -> Plan {
    let mut plan = Plan { judge: Judge::Money, ..generate(seed) };
    for downstream in plan.options.downstreams.iter_mut().filter(|_| seed % 2 == 1) {
        if let DownstreamOptions::Partner(partner) = downstream {
            (partner.keys, partner.caches_failures) = (Keys::None, false);
        }
    }
    plan
}

/// What a run is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The first invariant that is broken ends the run.
    #[default]
    Strict,
    /// A broken invariant is noted, and the run goes on to its end: what is told is whether money was
    /// doubled or lost ([`crate::oracles::money`]).
    Money,
}

impl Judge {
    /// Whether any broken invariant ends the run.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        *self == Self::Strict
    }
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// True time, in milliseconds since the start.
    pub at_ms: i64,
    /// What happens.
    pub op: Op,
}

/// An operation or a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields say it with their names; `docs/TESTING.md` lists the faults")]
pub enum Op {
    /// A client delivers an award.
    Award(AwardOp),
    /// A client delivers bytes that are no award.
    Bytes { partition: u16, kind: Poison },
    /// The operator changes the settings: the cap of cash, and whether films are given.
    Settings { cash_max_minor: i64, has_films: bool },
    /// The operator appends a part of the awards once more.
    Replay { partition: u16, from_permille: u32, count: u32 },
    /// The process ends at the `calls`-th point from now, of what was on its way to the log
    /// `keep_permille` survive, and another starts `down_ms` later; `again` is the same for the
    /// first points of that one, and if `reads` its reads are points too until it has caught up.
    Crash {
        calls: u64,
        keep_permille: u32,
        down_ms: i64,
        again: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reads: bool,
        audit: bool,
    },
    /// The process ends as it should.
    Stop { down_ms: i64 },
    /// The process is paused for so long, and not ended; another starts after `down_ms` on another
    /// machine, with copies of the stores or without any. Then it goes on beside it, `awake_ms` or until
    /// the `calls`-th point. `is_opening`: it is the next to start, paused before it has opened anything.
    /// The other machine's wall clock is ahead of the true time by `ahead_ms`.
    Zombie {
        for_ms: i64,
        awake_ms: i64,
        down_ms: i64,
        calls: Option<u64>,
        keep_permille: u32,
        is_empty: bool,
        is_opening: bool,
        #[serde(default)]
        ahead_ms: i64,
    },
    /// The wall clock of the machine that has taken over last jumps.
    Jump { by_ms: i64 },
    /// The wall clock stands still.
    Freeze { for_ms: i64 },
    /// The log has no room.
    LogFull { log: usize, partition: u16, for_ms: i64 },
    /// A sync fails.
    SyncFails { log: usize, partition: u16 },
    /// Syncs take long.
    SyncStalls { log: usize, partition: u16, for_ms: i64 },
    /// The log's bytes of a partition are damaged.
    LogDamaged { partition: u16 },
    /// At the next start the log of a partition lacks its last durable groups.
    LogLost { partition: u16, groups: usize },
    /// Of a partition's awards, or of its journal, only about the last `keep` records are left.
    Trimmed { partition: u16, is_journal: bool, keep: u64 },
    /// A store has no room.
    StoreFull { store: StoreName, for_ms: i64 },
    /// The next commit of a store fails, and with it the fold.
    StoreFails { store: StoreName },
    /// At the next start a store is as it was now.
    StoreOld { store: StoreName },
    /// At the next start a store is that of another partition.
    StoreForeign { store: StoreName, of: u16 },
    /// A store's bytes are damaged.
    StoreDamaged { store: StoreName },
    /// The next requests to a downstream go wrong.
    Requests { downstream: usize, fault: RequestFault, count: u32 },
    /// A downstream is out.
    Outage { downstream: usize, for_ms: i64 },
}

/// A store of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreName {
    /// Of an intake.
    Intake(u16),
    /// Of a partition's views.
    Views(u16),
    /// Of a ledger, with what its book says of a partition. Never another partition's, and never damaged.
    Accounts {
        /// The ledger.
        downstream: usize,
        /// The partition.
        partition: u16,
    },
}

impl StoreName {
    /// Its partition.
    #[must_use]
    pub fn partition(self) -> u16 {
        match self {
            Self::Intake(partition) | Self::Views(partition) | Self::Accounts { partition, .. } => partition,
        }
    }
}

/// An award as a client makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwardOp {
    /// Who gets it.
    pub person: u32,
    /// Index of the scene: cash, coupon, pendant, one that is not known.
    pub scene: u8,
    /// Which rain.
    pub rain: u32,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// Which reward.
    pub reward: u8,
    /// Which app sent it; says nothing about the payload.
    pub app: u8,
    /// What is wrong with it.
    #[serde(default)]
    pub twist: Twist,
}

/// What a client gets wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Twist {
    /// Nothing.
    #[default]
    None,
    /// The order number is another person's.
    ForeignOrderNo,
    /// The order number lacks a part.
    MalformedOrderNo,
    /// The activity is not known.
    UnknownActivity,
    /// The type is not the scene's.
    OtherType,
    /// It is delivered to another partition.
    WrongPartition,
}

/// Bytes that are no award.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// Nothing at all.
    Empty,
    /// Any bytes.
    Noise,
    /// The beginning of an award.
    CutAward,
    /// Settings with a seal of another key.
    ForgedSettings,
    /// A tick of another partition.
    ForeignTick,
    /// An old tick once more.
    OldTick,
}

impl Op {
    /// The name of its kind; of what takes effect later, if ever, that of its plan.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Award(_) => "award",
            Self::Bytes { .. } => "poison",
            Self::Settings { .. } => "settings",
            Self::Replay { .. } => "replay",
            Self::Crash { .. } => "crash.planned",
            Self::Stop { .. } => "stop.planned",
            Self::Zombie { .. } => "zombie.planned",
            Self::Jump { .. } => "clock_jump",
            Self::Freeze { .. } => "clock_freeze",
            Self::LogFull { .. } => "log_full.planned",
            Self::SyncFails { .. } => "sync_fails.planned",
            Self::SyncStalls { .. } => "sync_stalls.planned",
            Self::LogDamaged { .. } => "log_damaged.planned",
            Self::LogLost { .. } => "log_lost.planned",
            Self::Trimmed { .. } => "trimmed.planned",
            Self::StoreFull { .. } => "store_full.planned",
            Self::StoreFails { .. } => "store_fails.planned",
            Self::StoreOld { .. } => "store_old.planned",
            Self::StoreForeign { .. } => "store_foreign.planned",
            Self::StoreDamaged { .. } => "store_damaged.planned",
            Self::Requests { .. } => "requests.planned",
            Self::Outage { .. } => "outage.planned",
        }
    }
}
