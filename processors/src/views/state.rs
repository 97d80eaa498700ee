//! Everything the fold of one partition knows and readers look at, under one lock.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hongbao_engine::records::Offset;
use hongbao_engine::store::{Store, StoreError};
use hongbao_schemas::settings::Settings;

use super::changes::{Changes, LaneEntries};
use super::commit::{Commit, Packed, SmallRows};
use super::entry::Pointer;
use super::groups::Groups;
use super::history::Opening;
use super::lanes::{Lanes, ReasonId};
use super::rows;
use super::users::Users;
use super::wire::{Take, damaged, put_i64, put_u64};

/// Most reasons told apart by those orders that are unknown right now. Downstreams state reasons
/// freely; further ones read as [`OTHER_REASON`] (I29).
const REASONS_MAX: usize = 1024;

const OTHER_REASON: &str = "other";

/// What a changed person's row takes until it is committed, roughly, in bytes.
const CHANGED_USER_BYTES: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct State {
    /// Offset of the first journal record not applied.
    pub(super) folded: Offset,
    /// Time as the journal tells it: the latest of intake's facts and ticks.
    pub(super) now_ms: i64,
    /// Orders of credit facts that could not follow what happened before.
    pub(super) contradictions: u64,
    pub(super) settings: Option<Arc<Settings>>,
    /// The settings' bytes, while they are not committed.
    new_settings: Option<Vec<u8>>,
    pub(super) groups: Groups,
    pub(super) lanes: Lanes,
    pub(super) users: Users,
    reasons: Vec<Arc<str>>,
    reasons_saved: usize,
    pub(super) opened: BTreeMap<Box<str>, Opening>,
    newly_opened: Vec<Box<str>>,
    /// Changes since the last freeze.
    pub(super) staged: Changes,
    /// Changes that are being committed.
    pub(super) frozen: Option<Arc<Changes>>,
}

impl State {
    /// The state that a store holds.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when a row is not what the views wrote (I26).
    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut state = Self {
            folded: store.applied()?.offset,
            now_ms: 0,
            contradictions: 0,
            settings: None,
            new_settings: None,
            groups: Groups::default(),
            lanes: Lanes::default(),
            users: Users::new(),
            reasons: vec![OTHER_REASON.into()],
            reasons_saved: 1,
            opened: BTreeMap::new(),
            newly_opened: Vec::new(),
            staged: Changes::default(),
            frozen: None,
        };
        load_kind(store, rows::TIME, |_, row| state.load_time(row))?;
        load_kind(store, rows::SETTINGS, |_, row| {
            state.settings = Some(Settings::from_json(row).ok()?.into());
            Some(())
        })?;
        load_kind(store, rows::ASSET, |_, row| state.groups.load_asset(row))?;
        load_kind(store, rows::GROUP, |_, row| state.groups.load_group(row, state.settings.as_deref()))?;
        load_kind(store, rows::BUCKET, |key, row| state.groups.load_bucket(key, row))?;
        load_kind(store, rows::LANE, |_, row| state.lanes.load(row))?;
        load_kind(store, rows::REASON, |_, row| {
            state.reasons.push(std::str::from_utf8(row).ok()?.into());
            Some(())
        })?;
        state.reasons_saved = state.reasons.len();
        load_kind(store, rows::OPENED, |key, row| {
            let source = std::str::from_utf8(key.get(2..)?).ok()?;
            state.opened.insert(source.into(), Opening::decode(row)?);
            Some(())
        })?;
        Ok(state)
    }

    fn load_time(&mut self, row: &[u8]) -> Option<()> {
        let mut take = Take::new(row);
        self.now_ms = take.i64()?;
        self.contradictions = take.u64()?;
        take.end()
    }

    /// An entry that is not in the store yet.
    #[inline]
    pub(super) fn unstored_entry(&self, at: Pointer) -> Option<&[u8]> {
        self.staged.entry(at).or_else(|| self.frozen.as_ref()?.entry(at))
    }

    /// Number of a reason's text, made if it is new.
    pub(super) fn reason_id(&mut self, reason: &str) -> ReasonId {
        if let Some(at) = self.reasons.iter().position(|known| &**known == reason) {
            return at as ReasonId;
        }
        if self.reasons.len() == REASONS_MAX {
            return 0;
        }
        self.reasons.push(reason.into());
        (self.reasons.len() - 1) as ReasonId
    }

    /// Text of a reason.
    pub(super) fn reason(&self, reason: ReasonId) -> Arc<str> {
        self.reasons.get(usize::from(reason)).unwrap_or(&self.reasons[0]).clone()
    }

    /// Puts settings in force.
    pub(super) fn follow(&mut self, settings: Settings, body: &[u8]) {
        self.groups.follow(&settings);
        self.settings = Some(settings.into());
        self.new_settings = Some(body.to_vec());
        self.staged.count_row(body.len());
    }

    /// Notes who opened a source. The first of an epoch stands, and no epoch goes back (I24).
    pub(super) fn open(&mut self, source: &str, opening: Opening) {
        if self.opened.get(source).is_none_or(|last| last.epoch < opening.epoch) {
            self.opened.insert(source.into(), opening);
            self.newly_opened.push(source.into());
            self.staged.count_row(source.len());
        }
    }

    /// Memory held by changes that are not frozen, in bytes.
    pub(super) fn staged_bytes(&self) -> usize {
        self.staged.bytes() + self.users.changed_count() * CHANGED_USER_BYTES
    }

    /// Sets all changes aside for a commit; `users` are the changed people's rows, `spare` is memory
    /// for the next entries.
    pub(super) fn freeze(&mut self, users: Packed, spare: Vec<LaneEntries>) -> Commit {
        let mut small = SmallRows::new();
        let mut time = Vec::new();
        put_i64(&mut time, self.now_ms);
        put_u64(&mut time, self.contradictions);
        small.put(&rows::TIME, &time);
        if let Some(settings) = self.new_settings.take() {
            small.put(&rows::SETTINGS, &settings);
        }
        for (number, reason) in self.reasons.iter().enumerate().skip(self.reasons_saved) {
            small.put(&rows::u16_key(rows::REASON, number as u16), reason.as_bytes());
        }
        self.reasons_saved = self.reasons.len();
        self.newly_opened.sort_unstable();
        self.newly_opened.dedup();
        for source in self.newly_opened.drain(..) {
            if let Some(opening) = self.opened.get(&source) {
                small.put(&rows::named_key(rows::OPENED, &source), &opening.encode());
            }
        }
        self.groups.freeze(&mut small);
        self.lanes.freeze(&mut small);
        let changes = Arc::new(std::mem::replace(&mut self.staged, Changes::with_spare(spare)));
        self.frozen = Some(Arc::clone(&changes));
        self.users.freeze();
        Commit { small, changes, users }
    }

    /// The frozen changes are in the store. They are to be dropped outside of the lock.
    pub(super) fn committed(&mut self) -> Option<Arc<Changes>> {
        self.users.committed();
        self.frozen.take()
    }
}

fn load_kind(
    store: &dyn Store,
    kind: rows::Kind,
    mut load: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), StoreError> {
    let mut bad = None;
    store.scan(&kind, &rows::end_of(kind), &mut |key, row| match load(key, row) {
        Some(()) => ControlFlow::Continue(()),
        None => {
            bad = Some(damaged(&format!("key {}", key.escape_ascii())));
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(()), Err)
}
