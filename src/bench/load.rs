//! Awards for benchmarks: 2 to 3 million people, two scenes, and a stated share of duplicates.

use std::sync::Arc;

use anyhow::Context;
use hongbao_engine::log::Log;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_processors::controls::ControlWriter;
use hongbao_processors::intake::AWARDS;
use hongbao_schemas::award::Award;
use hongbao_schemas::control::ControlKey;
use hongbao_schemas::ext::Ext;
use hongbao_topology::{File, Topology};

use crate::cli::Mix;

const PEOPLE: u64 = 2_500_000;
/// Awards a frame, as a busy producer sends them.
const FRAME_RECORDS: usize = 1000;
/// "Recent" means within this many awards of all partitions together.
const RECENT: u64 = 1_000_000;
const EVENT_TIME_MS: i64 = 1_801_000_000_000;

/// A topology whose lanes are as fast as the ledger.
const TOPOLOGY: &str = "
version: 1
name: bench
partitions: 4
log:
  segments: {segment_size: 256MiB, sync: {max_delay: 5ms, max_bytes: 16MiB}}
downstreams:
  bank:
    embedded: {}
lanes:
  cash: {reward_types: [cash], downstream: bank, rate: 100M/s}
  coupon: {reward_types: [coupon.film], downstream: bank, rate: 100M/s}
views:
  reconcile: {overdue_after: 15m}
";
const CAMPAIGN: &str = "
version: 1
activity: bench
reward_types:
  cash: {asset: CNY/2, max_minor: 20000}
  coupon.film: {asset: COUPON/0, max_minor: 1}
scenes:
  rain-1: {reward_type: cash, text: rain}
  film-1: {reward_type: coupon.film, text: film}
";

/// The topology of all benchmarks.
pub fn topology() -> anyhow::Result<Arc<Topology>> {
    let file = File { name: "bench.yaml", text: TOPOLOGY };
    let campaign = File { name: "campaigns/bench.yaml", text: CAMPAIGN };
    let compiled = hongbao_topology::compile(file, &[campaign], &|_| None);
    Ok(Arc::new(compiled.map_err(|problems| anyhow::anyhow!(hongbao_topology::render(&problems)))?))
}

/// Spreads numbers without state: SplitMix64's finaliser.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Makes awards by index.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Duplicates of the last million, in thousandths.
    pub recent_permille: u64,
    /// Duplicates of any age, in thousandths.
    pub any_age_permille: u64,
}

impl Load {
    /// Without duplicates.
    pub const FRESH: Self = Self { recent_permille: 0, any_age_permille: 0 };

    /// The mix that the command line names.
    pub fn of(mix: Mix) -> Self {
        match mix {
            Mix::Recent => Self { recent_permille: 80, any_age_permille: 10 },
            Mix::Hard => Self { recent_permille: 0, any_age_permille: 90 },
        }
    }

    /// The index whose award is delivered at `index`: mostly itself.
    fn role(self, index: u64) -> u64 {
        let draw = mixed(index ^ 0x5bd1_e995_0000_0000);
        let (roll, pick) = (draw % 1000, draw >> 16);
        if index > 0 && roll < self.recent_permille {
            index - 1 - pick % RECENT.min(index)
        } else if index > 0 && roll < self.recent_permille + self.any_age_permille {
            pick % index
        } else {
            index
        }
    }

    /// The person and the award at `index`.
    pub fn award(self, index: u64, text: &mut Texts) -> Award<'_> {
        use std::fmt::Write;
        let index = self.role(index);
        let draw = mixed(index);
        let cash = draw & 1 == 0;
        let (scene_id, kind) = if cash { ("rain-1", "cash") } else { ("film-1", "film") };
        text.act_id.clear();
        text.order_no.clear();
        // Writing to a string cannot fail.
        write!(text.act_id, "{}", 1_000_000_000 + (draw >> 8) % PEOPLE).unwrap_or_default();
        write!(text.order_no, "{}_{scene_id}_{}_{kind}_1", text.act_id, index).unwrap_or_default();
        Award {
            order_no: &text.order_no,
            act_id: &text.act_id,
            activity_id: "bench",
            scene_id,
            reward_type: if cash { "cash" } else { "coupon.film" },
            reward_id: if cash { "" } else { "f1" },
            amount_minor: if cash { 1 + (draw >> 40).cast_signed() % 1000 } else { 1 },
            event_time_ms: EVENT_TIME_MS + (index / 1000).cast_signed(),
            app: "",
            ext: Ext::EMPTY,
        }
    }
}

/// Reused texts of an award.
#[derive(Debug, Default)]
pub struct Texts {
    act_id: String,
    order_no: String,
}

/// Frames of awards by partition, ready to append.
pub struct Frames {
    pub frames: Vec<(Partition, RecordBuf)>,
}

impl Frames {
    /// The awards `from..to`, in frames of about a thousand, in the order of their filling.
    pub fn make(load: Load, from: u64, to: u64, partitions: u16) -> Self {
        let mut open: Vec<RecordBuf> = (0..partitions).map(|_| RecordBuf::new()).collect();
        let mut frames = Vec::new();
        let mut text = Texts::default();
        for index in from..to {
            let award = load.award(index, &mut text);
            let partition = partition_of(award.act_id.as_bytes(), partitions);
            let records = &mut open[usize::from(partition.0)];
            records.push_with(|bytes| award.encode(bytes));
            if records.len() == FRAME_RECORDS {
                frames.push((partition, std::mem::take(records)));
            }
        }
        let rest = open.into_iter().enumerate().filter(|(_, records)| !records.is_empty());
        frames.extend(rest.map(|(index, records)| (Partition(index as u16), records)));
        Self { frames }
    }

    /// Appends everything to `awards`.
    pub fn append(&self, log: &dyn Log) -> anyhow::Result<()> {
        Self::append_each(self.frames.iter(), log)
    }

    /// Appends some of the frames.
    pub fn append_each<'a>(
        frames: impl Iterator<Item = &'a (Partition, RecordBuf)>,
        log: &dyn Log,
    ) -> anyhow::Result<()> {
        for (partition, records) in frames {
            let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records };
            log.append(*partition, &[frame]).context("append")?;
        }
        Ok(())
    }
}

/// Puts the topology's settings in force in every partition.
pub fn publish_settings(log: &dyn Log, topology: &Topology, key: &ControlKey) -> anyhow::Result<()> {
    let body = topology.settings(1).to_json()?;
    for partition in (0..log.partitions()).map(Partition) {
        ControlWriter { log, key }.settings(partition, 1, &body, EVENT_TIME_MS)?;
    }
    Ok(())
}

/// Waits until everything appended is durable.
pub fn wait_durable(log: &dyn Log) -> anyhow::Result<()> {
    let mut ends = Vec::new();
    for partition in (0..log.partitions()).map(Partition) {
        // An empty group has no position of its own: one more record marks the end.
        let mut records = RecordBuf::new();
        records.push(b"end");
        let frame = Frame { topic: "bench", envelope: Envelope::PRODUCER, records: &records };
        ends.push((partition, log.append(partition, &[frame])?.position));
    }
    for (partition, end) in ends {
        loop {
            let seen = log.progress().version();
            if log.durable(partition)? >= end {
                break;
            }
            log.progress().wait(seen, std::time::Duration::from_millis(20));
        }
    }
    Ok(())
}
