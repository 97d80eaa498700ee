//! The rules of intake, written down a second time and as plainly as they read: what becomes of
//! each record of `awards`, and what intake writes about it, byte for byte.

use std::collections::{BTreeMap, HashMap};

use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::Offset;
use hongbao_schemas::award::Award;
use hongbao_schemas::control::{Control, ControlKey, ControlKind, Input, decode_input};
use hongbao_schemas::dead_letter::DeadLetter;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::{Accepted, Conflict, Fact, Rejected, SettingsChanged, Ticked};
use hongbao_schemas::order::Order;
use hongbao_schemas::refusal::Refusal;
use hongbao_schemas::settings::{RewardType, Settings};

/// The topic of awards.
pub const AWARDS: &str = "awards";
/// The topic of facts.
pub const JOURNAL: &str = "journal";
/// The topic of records that were not decided.
pub const DEAD_LETTERS: &str = "dlq.intake";
/// What intake is called as a writer.
pub const INTAKE: &str = "intake";

const ORDER_NO_BYTES_MAX: usize = 128;
const LANE_BYTES_MAX: usize = 57;
const TICK_STEP_MS_MAX: i64 = 5 * 60 * 1000;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// First of its order number.
    Accepted,
    /// Again, with the same payload.
    Duplicate,
    /// Again, with another payload.
    Conflict,
    /// Refused.
    Rejected,
    /// Put aside with a code.
    Undecodable,
    /// Time or settings: no award.
    Control,
}

/// Awards by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub read: u64,
    /// By [`Verdict::Accepted`].
    pub accepted: u64,
    /// By [`Verdict::Duplicate`].
    pub duplicate: u64,
    /// By [`Verdict::Conflict`].
    pub conflict: u64,
    /// By [`Verdict::Rejected`].
    pub rejected: u64,
    /// By [`Verdict::Undecodable`].
    pub undecodable: u64,
}

impl Counts {
    fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Duplicate => &mut self.duplicate,
            Verdict::Conflict => &mut self.conflict,
            Verdict::Rejected => &mut self.rejected,
            Verdict::Undecodable => &mut self.undecodable,
            Verdict::Control => return,
        } += 1;
        self.read += 1;
    }
}

/// The award that used an order number up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// Where it stands.
    pub award_offset: Offset,
    /// What a repeat is compared with by intake, which does not keep the payload itself.
    pub digest: [u8; 16],
    /// What a repeat is compared with here: the award without order number, time, app and `ext`.
    payload: Box<[u8]>,
}

/// A record that intake must have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where to.
    pub topic: String,
    /// As which of its records there, from 1.
    pub seq: u64,
    /// About which record of `awards`.
    pub award_offset: Offset,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// The fold of one partition of `awards`.
#[derive(Debug)]
pub struct Verdicts {
    partition: Partition,
    partitions: u16,
    control_key: ControlKey,
    /// Time as of the last tick, in milliseconds since the Unix epoch; 0 before the first.
    pub now_ms: i64,
    /// Number of the last tick.
    pub tick_number: i64,
    /// Number of the settings in force.
    pub settings_number: i64,
    /// The settings in force, as they came.
    pub settings_json: Option<Vec<u8>>,
    settings: Option<Settings>,
    /// Awards so far.
    pub counts: Counts,
    /// Order numbers that were used up.
    pub orders: HashMap<Box<str>, First>,
    /// Records written so far, by topic.
    pub written: BTreeMap<String, u64>,
}

impl Verdicts {
    /// Before the first record. `control_key` tells which control records are genuine.
    #[must_use]
    pub fn new(partition: Partition, partitions: u16, control_key: ControlKey) -> Self {
        Self {
            partition,
            partitions,
            control_key,
            now_ms: 0,
            tick_number: 0,
            settings_number: 0,
            settings_json: None,
            settings: None,
            counts: Counts::default(),
            orders: HashMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Takes the next record of `awards` and replaces `out` with what intake writes about it.
    pub fn take(&mut self, offset: Offset, record: &[u8], out: &mut Vec<Expected>) -> Verdict {
        out.clear();
        let verdict = match decode_input(record, &self.control_key) {
            Ok(Input::Award(award))
                if partition_of(award.act_id.as_bytes(), self.partitions) == self.partition =>
            {
                self.award(offset, &award, out)
            }
            Ok(Input::Control(control)) if control.partition == self.partition.0 => {
                self.control(offset, record, &control, out)
            }
            Ok(_) => self.put_aside(offset, record, "wrong_partition", out),
            Err(error) => self.put_aside(offset, record, error.code(), out),
        };
        self.counts.count(verdict);
        verdict
    }

    fn award(&mut self, offset: Offset, award: &Award<'_>, out: &mut Vec<Expected>) -> Verdict {
        let (award_offset, at_ms) = (offset.cast_signed(), self.now_ms);
        let (asset, lane) = match self.rule(award) {
            Ok(kind) => (kind.asset.as_str().to_owned(), kind.lane.clone()),
            Err(refusal) => {
                let fact = Fact::Rejected(Rejected::of(award, refusal, award_offset, at_ms));
                self.write(JOURNAL, offset, out, |bytes| fact.encode(bytes));
                return Verdict::Rejected;
            }
        };
        let payload = payload_of(award);
        if let Some(first) = self.orders.get(award.order_no) {
            if *first.payload == *payload {
                return Verdict::Duplicate;
            }
            let fact = Fact::Conflict(Conflict::of(award, award_offset, at_ms));
            self.write(JOURNAL, offset, out, |bytes| fact.encode(bytes));
            return Verdict::Conflict;
        }
        let first = First { award_offset: offset, digest: award.payload_digest(), payload: payload.into() };
        self.orders.insert(award.order_no.into(), first);
        let topic = format!("orders.{lane}");
        let lane_seq = self.written.get(&topic).map_or(1, |written| written + 1).cast_signed();
        let fact = Fact::Accepted(Accepted {
            award: *award,
            asset: &asset,
            lane: &lane,
            lane_seq,
            award_offset,
            at_ms,
        });
        self.write(JOURNAL, offset, out, |bytes| fact.encode(bytes));
        let order = Order {
            order_no: award.order_no,
            act_id: award.act_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            asset: &asset,
            amount_minor: award.amount_minor,
            accepted_at_ms: at_ms,
        };
        self.write(&topic, offset, out, |bytes| order.encode(bytes));
        Verdict::Accepted
    }

    /// What the award's reward type says, or the first refusal that applies, in the order of
    /// [`Refusal::ALL`].
    fn rule(&self, award: &Award<'_>) -> Result<&RewardType, Refusal> {
        let [act_id, scene_id, ..] = parts_of(award.order_no).ok_or(Refusal::MalformedOrderNo)?;
        if act_id != award.act_id {
            return Err(Refusal::OrderNoActIdMismatch);
        }
        if scene_id != award.scene_id {
            return Err(Refusal::OrderNoSceneMismatch);
        }
        let settings = self.settings.as_ref().ok_or(Refusal::UnknownActivity)?;
        let activity = settings.activities.get(award.activity_id).ok_or(Refusal::UnknownActivity)?;
        let scene = activity.scenes.get(award.scene_id).ok_or(Refusal::UnknownScene)?;
        if scene.reward_type != award.reward_type {
            return Err(Refusal::RewardTypeMismatch);
        }
        let kind = settings.reward_types.get(award.reward_type).ok_or(Refusal::RewardTypeMismatch)?;
        match award.amount_minor {
            ..=0 => Err(Refusal::AmountNotPositive),
            amount if amount > kind.max_minor => Err(Refusal::AmountAboveCap),
            _ => Ok(kind),
        }
    }

    fn control(
        &mut self,
        offset: Offset,
        record: &[u8],
        control: &Control<'_>,
        out: &mut Vec<Expected>,
    ) -> Verdict {
        let award_offset = offset.cast_signed();
        match control.kind {
            ControlKind::Tick if control.number > self.tick_number => {
                let is_first = self.now_ms == 0;
                let latest_ms =
                    if is_first { i64::MAX } else { self.now_ms.saturating_add(TICK_STEP_MS_MAX) };
                self.now_ms = self.now_ms.max(control.at_ms.min(latest_ms));
                self.tick_number = control.number;
                let fact = Ticked { at_ms: self.now_ms, award_offset };
                self.write(JOURNAL, offset, out, |bytes| fact.encode(bytes));
            }
            ControlKind::Settings if control.number > self.settings_number => {
                let Some(settings) = settings_in_force(control) else {
                    return self.put_aside(offset, record, "undecodable", out);
                };
                self.settings = Some(settings);
                self.settings_number = control.number;
                self.settings_json = Some(control.body.to_vec());
                let (number, body, at_ms) = (control.number, control.body, self.now_ms);
                let fact = SettingsChanged { number, body, award_offset, at_ms };
                self.write(JOURNAL, offset, out, |bytes| fact.encode(bytes));
            }
            ControlKind::Tick | ControlKind::Settings => {}
        }
        Verdict::Control
    }

    fn put_aside(&mut self, offset: Offset, record: &[u8], code: &str, out: &mut Vec<Expected>) -> Verdict {
        let partition = i64::from(self.partition.0);
        let (topic, offset_stated) = (AWARDS, offset.cast_signed());
        let letter =
            DeadLetter { stage: INTAKE, code, topic, partition, offset: offset_stated, bytes: record };
        self.write(DEAD_LETTERS, offset, out, |bytes| letter.encode(bytes));
        Verdict::Undecodable
    }

    fn write(
        &mut self,
        topic: &str,
        award_offset: Offset,
        out: &mut Vec<Expected>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        let written = match self.written.get_mut(topic) {
            Some(written) => written,
            None => self.written.entry(topic.to_owned()).or_default(),
        };
        *written += 1;
        out.push(Expected { topic: topic.to_owned(), seq: *written, award_offset, bytes });
    }
}

/// The five parts of an order number, or none if it is malformed.
pub(crate) fn parts_of(order_no: &str) -> Option<[&str; 5]> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if order_no.len() > ORDER_NO_BYTES_MAX || !order_no.bytes().all(allowed) {
        return None;
    }
    let mut parts = order_no.rsplitn(5, '_');
    let (stage, award_type, rain_id) = (parts.next()?, parts.next()?, parts.next()?);
    let (scene_id, act_id) = (parts.next()?, parts.next()?);
    let parts = [act_id, scene_id, rain_id, award_type, stage];
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

/// The award without what may differ in a repeat.
fn payload_of(award: &Award<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Award { order_no: "", event_time_ms: 0, app: "", ext: Ext::EMPTY, ..*award }.encode(&mut bytes);
    bytes
}

/// The settings of a control record, if they can be in force.
fn settings_in_force(control: &Control<'_>) -> Option<Settings> {
    let settings = Settings::from_json(control.body).ok()?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    let is_lane = |lane: &str| (1..=LANE_BYTES_MAX).contains(&lane.len()) && lane.bytes().all(allowed);
    let lanes_fit = settings.reward_types.values().all(|kind| is_lane(&kind.lane));
    (lanes_fit && i64::try_from(settings.number) == Ok(control.number)).then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn order_numbers_split_from_the_right() {
        let long = format!("{}_s_r_t_1", "a".repeat(121));
        for (order_no, expected) in [
            ("a_s_r_t_1", Some(["a", "s", "r", "t", "1"])),
            ("a_b_s_r_t_1", Some(["a_b", "s", "r", "t", "1"])),
            ("a_s_r_t", None),
            ("", None),
            ("a__r_t_1", None),
            ("_s_r_t_1", None),
            ("a_s_r_t_é", None),
            (&long, None),
        ] {
            assert_eq!(parts_of(order_no), expected, "{order_no}");
        }
    }
}
