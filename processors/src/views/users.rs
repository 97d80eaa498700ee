//! The rows of people who were active lately, in memory. Rows changed since the last commit are
//! always here; others give way when there are too many (I29) and come back from the store.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hongbao_engine::mutant;

use super::commit::Packed;
use super::index::SlotIndex;
use super::known::KnownUsers;
use super::pages::Pages;
use super::user::UserRow;

/// Ids up to this length are stored without an allocation.
const INLINE_BYTES: usize = 22;

const _: () = assert!(size_of::<Cached>() == 128, "a row is two cache lines");

/// An `act_id`.
#[derive(Clone, Debug)]
enum ActId {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Box<[u8]>),
}

impl ActId {
    fn new(id: &[u8]) -> Self {
        let mut inline = [0; INLINE_BYTES];
        match inline.get_mut(..id.len()) {
            Some(front) => {
                front.copy_from_slice(id);
                Self::Inline(id.len() as u8, inline)
            }
            None => Self::Heap(id.into()),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Self::Heap(bytes) => bytes,
        }
    }
}

/// Hash of an `act_id`, as [`KnownUsers`] are told.
#[inline]
pub(super) fn hash_of(hasher: &RandomState, act_id: &[u8]) -> u64 {
    hasher.hash_one(act_id)
}

/// Place of a person in the cache. Valid until the end of the chunk of facts in which it was given
/// out; longer only together with its [`Users::generation`].
pub(super) type Slot = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// Nobody.
    Free,
    /// Somebody whose row is about to be read from the store.
    Awaited,
    /// The person's present row.
    Row,
}

/// Two cache lines.
#[derive(Debug)]
#[repr(align(64))]
struct Cached {
    row: UserRow,
    act_id: ActId,
    /// Grows when the slot changes hands.
    generation: u32,
    /// Number of the commit that the last change belongs to.
    changed_in: u32,
    holding: Holding,
    /// Used since the hand came by.
    recent: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Users {
    index: SlotIndex,
    slots: Pages<Cached>,
    free: Vec<Slot>,
    /// Where the search for a row to give up goes on.
    hand: usize,
    hasher: RandomState,
    /// Slots changed since the last freeze, each once.
    changed: Vec<Slot>,
    /// Number of the commit that changes belong to now.
    commit: u32,
    /// Changes of commits up to this one are in the store.
    committed: u32,
    awaited: Vec<Slot>,
}

impl Users {
    /// An empty cache. The hash is seeded afresh, so that nobody can choose ids that collide; no
    /// result depends on it.
    pub(super) fn new() -> Self {
        Self {
            index: SlotIndex::new(),
            slots: Pages::new(),
            free: Vec::new(),
            hand: 0,
            hasher: RandomState::default(),
            changed: Vec::new(),
            commit: 1,
            committed: 0,
            awaited: Vec::new(),
        }
    }

    /// The hash of `act_id`s, as [`hash_of`] takes it.
    pub(super) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// The row of a person, if it is here. If not, the store's row is the present one.
    pub(super) fn get(&self, act_id: &[u8]) -> Option<&UserRow> {
        let slot = self.find(self.hash(act_id), act_id)?;
        let cached = self.slots.get(slot)?;
        (cached.holding == Holding::Row).then_some(&cached.row)
    }

    #[inline]
    fn find(&self, hash: u64, act_id: &[u8]) -> Option<Slot> {
        self.index.find(hash, |slot| self.slots[slot].act_id.as_bytes() == act_id)
    }

    /// Hash of a person's id, for [`Self::touch`] and [`Self::resolve`].
    #[inline]
    pub(super) fn hash(&self, act_id: &[u8]) -> u64 {
        hash_of(&self.hasher, act_id)
    }

    /// Brings what look-ups of these hashes will need into the processor's caches: loads on which
    /// nothing waits, so that many are under way at a time. The result means nothing.
    pub(super) fn touch(&self, hashes: &[u64]) -> u64 {
        let guesses = hashes.iter().fold(0, |seen, hash| seen ^ self.index.first_guess(*hash).unwrap_or(0));
        let slots = hashes.iter().filter_map(|hash| self.index.first_guess(*hash));
        slots.fold(u64::from(guesses), |seen, slot| seen ^ self.touch_row(slot))
    }

    /// Does the same for a row.
    #[inline]
    pub(super) fn touch_row(&self, slot: Slot) -> u64 {
        self.slots.get(slot).map_or(0, |cached| cached.row.version ^ u64::from(cached.generation))
    }

    /// The slot of a person, whose id has this hash. If the row is in the store and not here, the
    /// slot is among [`Self::awaited`] until it is [filled](Self::fill).
    #[inline]
    pub(super) fn resolve(&mut self, hash: u64, act_id: &[u8], known: &mut KnownUsers) -> Slot {
        if let Some(slot) = self.find(hash, act_id) {
            self.slots[slot].recent = true;
            return slot;
        }
        self.admit(hash, act_id, known)
    }

    fn admit(&mut self, hash: u64, act_id: &[u8], known: &mut KnownUsers) -> Slot {
        let holding = if known.may_hold(hash) { Holding::Awaited } else { Holding::Row };
        if holding == Holding::Row || known.is_filling() {
            known.insert(hash);
        }
        let generation_of = |cached: &Cached| cached.generation;
        let slot = self.free.pop().unwrap_or(self.slots.len() as Slot);
        let generation = self.slots.get(slot).map_or(0, generation_of);
        let cached = Cached {
            row: UserRow::default(),
            act_id: ActId::new(act_id),
            generation,
            changed_in: 0,
            holding,
            recent: true,
        };
        match self.slots.get_mut(slot) {
            Some(place) => *place = cached,
            None => self.slots.push(cached),
        }
        self.index.insert(hash, slot);
        if holding == Holding::Awaited {
            self.awaited.push(slot);
        }
        slot
    }

    /// Whose rows have to be read from the store before the facts are applied.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        self.awaited.iter().map(|slot| (*slot, self.slots[*slot].act_id.as_bytes()))
    }

    /// Whether any row has to be read.
    pub(super) fn awaits_any(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Gives an awaited slot the row that the store holds, or an empty one.
    pub(super) fn fill(&mut self, slot: Slot, row: Option<UserRow>) {
        let cached = &mut self.slots[slot];
        cached.row = row.unwrap_or_default();
        cached.holding = Holding::Row;
    }

    /// All awaited slots were filled.
    pub(super) fn all_filled(&mut self) {
        self.awaited.clear();
    }

    /// What tells whether a slot kept from an earlier chunk still means the same person.
    #[inline]
    pub(super) fn generation(&self, slot: Slot) -> u32 {
        self.slots[slot].generation
    }

    /// Whether a slot kept from an earlier chunk still means the same person.
    #[inline]
    pub(super) fn is_current(&mut self, slot: Slot, generation: u32) -> bool {
        match self.slots.get_mut(slot) {
            Some(cached) if cached.generation == generation && cached.holding != Holding::Free => {
                cached.recent = true;
                true
            }
            _ => false,
        }
    }

    /// The row of a slot, to change it; `version` is the journal offset after the fact.
    #[inline]
    pub(super) fn change(&mut self, slot: Slot, version: u64) -> &mut UserRow {
        let version = if mutant!(M89) { u64::from(self.commit) } else { version };
        let cached = &mut self.slots[slot];
        cached.row.version = cached.row.version.max(version);
        if cached.changed_in != self.commit {
            cached.changed_in = self.commit;
            self.changed.push(slot);
        }
        &mut cached.row
    }

    /// Number of rows changed since the last freeze.
    pub(super) fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Copies the rows changed since the last freeze.
    pub(super) fn copy_changed(&self, prefix: &[u8]) -> Packed {
        let mut packed = Packed::new();
        // By place, since memory is read faster in order.
        let mut changed = self.changed.clone();
        changed.sort_unstable();
        for slot in changed {
            let cached = &self.slots[slot];
            packed.push(
                |key| {
                    key.extend_from_slice(prefix);
                    key.extend_from_slice(cached.act_id.as_bytes());
                },
                |value| cached.row.encode(value),
            );
        }
        packed
    }

    /// What was copied is being committed; later changes belong to the next commit.
    pub(super) fn freeze(&mut self) {
        self.changed.clear();
        self.commit += 1;
    }

    /// What the last freeze copied is in the store.
    pub(super) fn committed(&mut self) {
        self.committed = self.commit - 1;
    }

    /// Counts the commits that are in the store: a row read from the store while this stood still,
    /// of a person who is not here, is the present one.
    pub(super) const fn commits(&self) -> u32 {
        self.committed
    }

    /// Gives up rows that the store holds and that were not used lately, until at most `max` are
    /// left, looking at no more than `steps` slots.
    pub(super) fn shrink(&mut self, max: usize, steps: usize) {
        for _ in 0..steps.min(self.slots.len()) {
            if self.index.len() <= max {
                return;
            }
            let slot = self.hand as Slot;
            self.hand = (self.hand + 1) % self.slots.len();
            let cached = &mut self.slots[slot];
            if cached.holding != Holding::Row || cached.changed_in > self.committed {
                continue;
            }
            if cached.recent {
                cached.recent = false;
                continue;
            }
            cached.holding = Holding::Free;
            cached.generation = cached.generation.wrapping_add(1);
            cached.row = UserRow::default();
            let hash = hash_of(&self.hasher, cached.act_id.as_bytes());
            self.index.remove(hash, slot);
            self.free.push(slot);
        }
    }

    /// Memory held, in bytes, without long ids and second assets.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Cached>() + self.index.bytes()
    }
}
