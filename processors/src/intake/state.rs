//! What intake keeps besides order numbers: time, control numbers, counts, settings. Row kind
//! `in`; the layouts never change, a new one gets a new key.

use hongbao_engine::store::{Rows, Store, StoreError};

use super::board::Counts;

/// Time, control numbers and counts: ten integers, little endian.
const FOLD_KEY: &[u8] = b"in\0fold";
/// JSON of the settings in force, as their control record brought it.
const SETTINGS_KEY: &[u8] = b"in\0settings";

const FOLD_FIELDS: usize = 10;

/// Longest step of time that one tick may bring, in milliseconds.
const TICK_STEP_MS_MAX: i64 = 5 * 60 * 1000;

/// Fixed-size part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fold {
    /// Time as of the last tick, in milliseconds since the Unix epoch; 0 before the first.
    pub(super) now_ms: i64,
    /// Number of the last tick; below the first number before it.
    pub(super) tick_number: i64,
    /// Number of the settings in force; 0 before the first.
    pub(super) settings_number: i64,
    pub(super) counts: Counts,
}

impl Fold {
    /// Moves time by a tick: never back, and by at most five minutes unless it is the first.
    pub(super) fn tick(&mut self, number: i64, at_ms: i64) {
        let limit_ms = match self.now_ms {
            0 => i64::MAX,
            now_ms => now_ms.saturating_add(TICK_STEP_MS_MAX),
        };
        self.now_ms = self.now_ms.max(at_ms.min(limit_ms));
        self.tick_number = number;
    }

    fn fields(&self) -> [u64; FOLD_FIELDS] {
        let counts = self.counts;
        [
            self.now_ms.cast_unsigned(),
            self.tick_number.cast_unsigned(),
            self.settings_number.cast_unsigned(),
            counts.read,
            counts.accepted,
            counts.duplicate,
            counts.conflict,
            counts.rejected,
            counts.parked,
            counts.undecodable,
        ]
    }

    fn encode(&self) -> [u8; FOLD_FIELDS * 8] {
        let mut bytes = [0; FOLD_FIELDS * 8];
        for (place, field) in bytes.chunks_exact_mut(8).zip(self.fields()) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let fields: &[[u8; 8]; FOLD_FIELDS] = chunks.try_into().ok().filter(|_| rest.is_empty())?;
        let [now, tick, settings, read, accepted, duplicate, conflict, rejected, parked, undecodable] =
            fields.map(u64::from_le_bytes);
        let counts = Counts { read, accepted, duplicate, conflict, rejected, parked, undecodable };
        // Far above what is ever read, and far enough below the end to go on counting.
        (counts.sum() == read && read < 1 << 62).then_some(Self {
            now_ms: now.cast_signed(),
            tick_number: tick.cast_signed(),
            settings_number: settings.cast_signed(),
            counts,
        })
    }
}

/// Everything of kind `in`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) fold: Fold,
    pub(super) settings: Option<Vec<u8>>,
}

impl Saved {
    /// The state a store holds; the default if it never held one.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` also when the counts do not add up.
    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let fold = match store.get(FOLD_KEY)? {
            Some(bytes) => Fold::decode(&bytes)
                .ok_or_else(|| StoreError::Corrupt("intake's counts cannot be read".to_owned()))?,
            None => Fold::default(),
        };
        Ok(Self { fold, settings: store.get(SETTINGS_KEY)? })
    }
}

/// Adds the row of the fold.
pub(super) fn put_fold(rows: &mut Rows, fold: &Fold) {
    rows.put(FOLD_KEY, &fold.encode());
}

/// Adds the row of new settings.
pub(super) fn put_settings(rows: &mut Rows, settings: &[u8]) {
    rows.put(SETTINGS_KEY, settings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_by_at_most_five_minutes() {
        // (before, tick, after), in milliseconds
        let cases: [(i64, i64, i64); 7] = [
            (0, 1_700_000_000_000, 1_700_000_000_000),
            (1_000, 2_000, 2_000),
            (2_000, 2_000, 2_000),
            (2_000, 1_000, 2_000),
            (1_000, 301_000, 301_000),
            (1_000, 301_001, 301_000),
            (1_000, i64::MAX, 301_000),
        ];
        for (before, tick, after) in cases {
            let mut fold = Fold { now_ms: before, ..Fold::default() };
            fold.tick(7, tick);
            assert_eq!((fold.now_ms, fold.tick_number), (after, 7), "{before} {tick}");
        }
    }

    #[test]
    fn a_fold_reads_back_and_damage_is_seen() {
        let counts = Counts { read: 3, accepted: 2, conflict: 1, ..Counts::default() };
        let fold = Fold { now_ms: -5, tick_number: 7, settings_number: i64::MAX, counts };
        let bytes = fold.encode();
        assert_eq!(Fold::decode(&bytes), Some(fold));
        assert_eq!(Fold::decode(&bytes[..79]), None, "short");
        assert_eq!(Fold::decode(&[&bytes[..], &[0]].concat()), None, "long");
        let mut wrong_sum = bytes;
        wrong_sum[24] += 1;
        assert_eq!(Fold::decode(&wrong_sum), None, "counts that do not add up");
        let endless = Counts { read: u64::MAX, accepted: u64::MAX, ..Counts::default() };
        assert_eq!(Fold::decode(&Fold { counts: endless, ..fold }.encode()), None, "no room to count on");
        let overflowing = Counts { duplicate: 1, ..endless };
        assert_eq!(
            Fold::decode(&Fold { counts: overflowing, ..fold }.encode()),
            None,
            "a sum that overflows"
        );
    }
}
