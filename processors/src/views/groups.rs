//! Sums of orders that share activity, scene, reward type, asset and lane: the live totals (W12) and
//! what reconciliation watches (W16). There are as many groups as settings ever had scenes, so all
//! of them are in memory.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hongbao_engine::mutant;
use hongbao_schemas::money::Asset;
use hongbao_schemas::settings::Settings;

use super::commit::SmallRows;
use super::rows;
use super::user::{AssetId, NO_ASSET};
use super::wire::{Take, put_i128, put_str, put_u64};

/// Length of a bucket of open orders.
pub(super) const BUCKET_MS: i64 = 60_000;

/// The minute of an order that is not reconciled.
pub(super) const NOT_RECONCILED: u32 = u32::MAX;

/// The bucket that a time falls into.
pub(super) fn minute_of(at_ms: i64) -> u32 {
    u32::try_from(at_ms.max(0) / BUCKET_MS).unwrap_or(NOT_RECONCILED - 1).min(NOT_RECONCILED - 1)
}

/// When a bucket ends, in milliseconds since the Unix epoch.
pub(super) const fn minute_end_ms(minute: u32) -> i64 {
    (minute as i64 + 1) * BUCKET_MS
}

/// What makes a group, as a fact states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey<'a> {
    pub(super) lane: u16,
    pub(super) activity_id: &'a str,
    pub(super) scene_id: &'a str,
    pub(super) reward_type: &'a str,
    pub(super) asset: &'a str,
}

/// The names of a group, shared with readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupNames {
    pub(super) lane: u16,
    pub(super) activity_id: Box<str>,
    pub(super) scene_id: Box<str>,
    pub(super) reward_type: Box<str>,
    pub(super) asset: Arc<str>,
    /// Counted in pieces: each order is an item of its own in the wallet.
    pub(super) is_item: bool,
}

impl GroupNames {
    fn key(&self) -> GroupKey<'_> {
        GroupKey {
            lane: self.lane,
            activity_id: &self.activity_id,
            scene_id: &self.scene_id,
            reward_type: &self.reward_type,
            asset: &self.asset,
        }
    }
}

/// Open orders accepted within one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) minute: u32,
    pub(super) open_count: u64,
    pub(super) open_minor: i128,
    changed: bool,
}

/// Exact sums of a group; none of them ever goes back (I18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) accepted_count: u64,
    pub(super) accepted_minor: i128,
    pub(super) credited_count: u64,
    pub(super) credited_minor: i128,
    /// Of the accepted, those that are reconciled, and of these those that ended.
    pub(super) reconciled_count: u64,
    pub(super) ended_count: u64,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) names: Arc<GroupNames>,
    pub(super) asset: AssetId,
    /// Whether its orders are reconciled by the settings in force.
    pub(super) reconcile: bool,
    pub(super) sums: Sums,
    /// Minutes with open orders, ascending; a minute whose last order ended leaves at the next commit.
    buckets: VecDeque<Bucket>,
    changed: bool,
}

/// An ended order whose acceptance was not counted (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotCounted;

impl Group {
    /// Counts an accepted order and returns its minute, to be given back when it ends.
    #[inline]
    pub(super) fn accept(&mut self, amount_minor: i64, at_ms: i64) -> u32 {
        self.changed = true;
        self.sums.accepted_count += 1;
        self.sums.accepted_minor = if mutant!(M73) {
            (self.sums.accepted_minor as f64 + amount_minor as f64) as i128
        } else {
            self.sums.accepted_minor + i128::from(amount_minor)
        };
        if !self.reconcile {
            return NOT_RECONCILED;
        }
        self.sums.reconciled_count += 1;
        let minute = minute_of(at_ms);
        let at = self.bucket_at(minute);
        let bucket = &mut self.buckets[at];
        bucket.open_count += 1;
        bucket.open_minor += i128::from(amount_minor);
        bucket.changed = true;
        minute
    }

    /// Counts a credited order.
    #[inline]
    pub(super) fn credit(&mut self, amount_minor: i64) {
        self.changed = true;
        self.sums.credited_count += 1;
        self.sums.credited_minor += i128::from(amount_minor);
    }

    /// Counts an ended order, credited or not.
    #[inline]
    pub(super) fn end(&mut self, amount_minor: i64, minute: u32) -> Result<(), NotCounted> {
        if minute == NOT_RECONCILED {
            return Ok(());
        }
        self.changed = true;
        let at = self.buckets.partition_point(|bucket| bucket.minute < minute);
        let bucket = self.buckets.get_mut(at).filter(|bucket| bucket.minute == minute).ok_or(NotCounted)?;
        bucket.open_count = bucket.open_count.checked_sub(1).ok_or(NotCounted)?;
        bucket.open_minor -= i128::from(amount_minor);
        bucket.changed = true;
        self.sums.ended_count += 1;
        Ok(())
    }

    /// Whether its row is older than it is.
    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Minutes with open orders, ascending.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.open_count > 0)
    }

    /// Place of a minute's bucket, made if it is new. Time does not go back, so it is the last one.
    #[inline]
    fn bucket_at(&mut self, minute: u32) -> usize {
        let at = match self.buckets.back() {
            Some(last) if last.minute == minute => return self.buckets.len() - 1,
            Some(last) if last.minute > minute => {
                self.buckets.partition_point(|bucket| bucket.minute < minute)
            }
            _ => self.buckets.len(),
        };
        if self.buckets.get(at).is_none_or(|bucket| bucket.minute != minute) {
            self.buckets.insert(at, Bucket { minute, open_count: 0, open_minor: 0, changed: true });
        }
        at
    }
}

/// All groups and assets of a partition, numbered in the order of first use.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// The group found last: awards of one rain come together.
    last: u32,
    assets: Vec<Arc<str>>,
    assets_saved: usize,
}

impl Groups {
    pub(super) fn get(&self, group: u32) -> Option<&Group> {
        self.groups.get(group as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.groups.get_mut(group as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// Name of an asset.
    pub(super) fn asset(&self, asset: AssetId) -> Option<&Arc<str>> {
        self.assets.get(usize::from(asset))
    }

    /// The group of a key, new if it never was; `None` when there are too many assets.
    #[inline]
    pub(super) fn resolve(&mut self, key: GroupKey<'_>, settings: Option<&Settings>) -> Option<u32> {
        if self.groups.get(self.last as usize).is_some_and(|group| group.names.key() == key) {
            return Some(self.last);
        }
        let hash = self.hasher.hash_one(key);
        let groups = &self.groups;
        let found = self.index.find(hash, |at| groups[*at as usize].names.key() == key).copied();
        self.last = match found {
            Some(group) => group,
            None => self.add(key, Sums::default(), settings)?,
        };
        Some(self.last)
    }

    fn add(&mut self, key: GroupKey<'_>, sums: Sums, settings: Option<&Settings>) -> Option<u32> {
        let asset = self.asset_id(key.asset)?;
        let names = GroupNames {
            lane: key.lane,
            activity_id: key.activity_id.into(),
            scene_id: key.scene_id.into(),
            reward_type: key.reward_type.into(),
            asset: Arc::clone(&self.assets[usize::from(asset)]),
            is_item: Asset::parse(key.asset).is_ok_and(|asset| asset.is_pieces()),
        };
        let number = self.groups.len() as u32;
        let reconcile = is_reconciled(settings, &names);
        let group =
            Group { names: names.into(), asset, reconcile, sums, buckets: VecDeque::new(), changed: true };
        self.groups.push(group);
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.index.insert_unique(hasher.hash_one(key), number, |at| {
            hasher.hash_one(groups[*at as usize].names.key())
        });
        Some(number)
    }

    fn asset_id(&mut self, name: &str) -> Option<AssetId> {
        if let Some(at) = self.assets.iter().position(|asset| &**asset == name) {
            return AssetId::try_from(at).ok();
        }
        let asset = AssetId::try_from(self.assets.len()).ok().filter(|asset| *asset != NO_ASSET)?;
        self.assets.push(name.into());
        Some(asset)
    }

    /// Follows a change of settings: orders accepted from here on are reconciled or not by these.
    pub(super) fn follow(&mut self, settings: &Settings) {
        for group in &mut self.groups {
            group.reconcile = is_reconciled(Some(settings), &group.names);
        }
    }

    /// Adds the rows changed since the last freeze, and drops minutes without open orders.
    pub(super) fn freeze(&mut self, out: &mut SmallRows) {
        for (number, name) in self.assets.iter().enumerate().skip(self.assets_saved) {
            out.put(&rows::u16_key(rows::ASSET, number as u16), name.as_bytes());
        }
        self.assets_saved = self.assets.len();
        for (number, group) in (0_u32..).zip(&mut self.groups) {
            if !std::mem::take(&mut group.changed) {
                continue;
            }
            let mut row = Vec::new();
            encode(group, &mut row);
            out.put(&rows::u32_key(rows::GROUP, number), &row);
            for bucket in group.buckets.iter_mut().filter(|bucket| bucket.changed) {
                bucket.changed = false;
                let key = rows::bucket_key(number, bucket.minute);
                if bucket.open_count == 0 {
                    out.delete(&key);
                } else {
                    row.clear();
                    put_u64(&mut row, bucket.open_count);
                    put_i128(&mut row, bucket.open_minor);
                    out.put(&key, &row);
                }
            }
            group.buckets.retain(|bucket| bucket.open_count > 0);
        }
    }

    /// Adds an `as` row, in the order of keys.
    pub(super) fn load_asset(&mut self, name: &[u8]) -> Option<()> {
        self.assets.push(std::str::from_utf8(name).ok()?.into());
        self.assets_saved = self.assets.len();
        Some(())
    }

    /// Adds an `ag` row, in the order of keys, after the assets.
    pub(super) fn load_group(&mut self, row: &[u8], settings: Option<&Settings>) -> Option<()> {
        let mut take = Take::new(row);
        let (lane, asset) = (take.u16()?, take.u16()?);
        let (activity_id, scene_id, reward_type) = (take.str()?, take.str()?, take.str()?);
        let sums = Sums {
            accepted_count: take.u64()?,
            accepted_minor: take.i128()?,
            credited_count: take.u64()?,
            credited_minor: take.i128()?,
            reconciled_count: take.u64()?,
            ended_count: take.u64()?,
        };
        take.end()?;
        let sums = if mutant!(M84) { Sums { credited_count: 0, credited_minor: 0, ..sums } } else { sums };
        let asset = Arc::clone(self.asset(asset)?);
        let key = GroupKey { lane, activity_id, scene_id, reward_type, asset: &asset };
        let number = self.add(key, sums, settings)?;
        self.get_mut(number)?.changed = false;
        Some(())
    }

    /// Adds a `bk` row, in the order of keys, after the groups.
    pub(super) fn load_bucket(&mut self, key: &[u8], row: &[u8]) -> Option<()> {
        let number = rows::tail_u32(key.get(..key.len().checked_sub(4)?)?)?;
        let minute = rows::tail_u32(key)?;
        let mut take = Take::new(row);
        let (open_count, open_minor) = (take.u64()?, take.i128()?);
        take.end()?;
        let buckets = &mut self.get_mut(number)?.buckets;
        buckets.push_back(Bucket { minute, open_count, open_minor, changed: false });
        Some(())
    }
}

fn encode(group: &Group, row: &mut Vec<u8>) {
    let (names, sums) = (&group.names, &group.sums);
    put_u64(row, u64::from(names.lane));
    put_u64(row, u64::from(group.asset));
    for name in [&names.activity_id, &names.scene_id, &names.reward_type] {
        put_str(row, name);
    }
    put_u64(row, sums.accepted_count);
    put_i128(row, sums.accepted_minor);
    put_u64(row, sums.credited_count);
    put_i128(row, sums.credited_minor);
    put_u64(row, sums.reconciled_count);
    put_u64(row, sums.ended_count);
}

/// Scenes are reconciled unless the settings say otherwise.
fn is_reconciled(settings: Option<&Settings>, names: &GroupNames) -> bool {
    settings
        .and_then(|settings| settings.activities.get(&*names.activity_id)?.scenes.get(&*names.scene_id))
        .is_none_or(|scene| scene.reconcile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_without_open_orders_take_no_memory() {
        let mut groups = Groups::default();
        let key = GroupKey { lane: 0, activity_id: "a", scene_id: "s", reward_type: "cash", asset: "CNY/2" };
        let number = groups.resolve(key, None).unwrap();
        for minute in 0..100 {
            let group = groups.get_mut(number).unwrap();
            assert_eq!(group.accept(5, minute * BUCKET_MS + 7), minute as u32);
            if minute != 50 {
                group.end(5, minute as u32).unwrap();
            }
        }
        let group = groups.get_mut(number).unwrap();
        assert_eq!(group.end(5, 100), Err(NotCounted), "nothing was accepted in this minute");
        assert_eq!(group.end(5, 3), Err(NotCounted), "nothing is open in this minute");
        groups.freeze(&mut SmallRows::new());
        let buckets = &groups.get(number).unwrap().buckets;
        assert_eq!(buckets.iter().map(|bucket| bucket.minute).collect::<Vec<_>>(), [50]);
    }

    #[test]
    fn minutes_are_within_bounds_whatever_the_time() {
        for (at_ms, minute) in
            [(i64::MIN, 0), (-1, 0), (59_999, 0), (60_000, 1), (i64::MAX, NOT_RECONCILED - 1)]
        {
            assert_eq!(minute_of(at_ms), minute, "{at_ms}");
        }
    }
}
