//! The memory budget of a process (I29). What is bounded per partition, per task or per lane is
//! divided here over all of them, so that a topology of many partitions needs no more than one of few.

use hongbao_engine::seen::SeenLimits;
use hongbao_engine::task::TaskPolicy;
use hongbao_processors::views::ViewsLimits;
use hongbao_sinks::dispatch::Policy;
use hongbao_sinks::ledger::LedgerLimits;

/// Folds of a partition: intake and views.
const TASKS: usize = 2;
/// A ledger stops deciding when so many times its limit wait for a commit.
const WAITING_COMMITS: usize = 4;
/// Bytes of an order that was read ahead, about.
const ORDER_BYTES: usize = 128;

/// Memory for all partitions of a process together. Beside it there are the binary itself, request
/// bodies (bounded by the API), the log's indexes, and files that RocksDB keeps open.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Order numbers in intake's windows; about 60 bytes each.
    pub window_keys: usize,
    /// People in the views' caches; up to 200 bytes each.
    pub users: usize,
    /// RocksDB's block cache, shared by all stores.
    pub block_cache_bytes: usize,
    /// Changes of folds that are not committed; the rows of a commit take as much again.
    pub staged_bytes: usize,
    /// Batches that folds are reading.
    pub read_bytes: usize,
    /// Records held aside behind missing ones, half of it by folds, half by lanes.
    pub held_bytes: usize,
    /// Filters over people who have a row.
    pub known_users_bytes: usize,
    /// Latest orders kept by lane; 24 bytes each.
    pub recent_orders: usize,
    /// Order numbers in embedded ledgers' windows; about 60 bytes each.
    pub ledger_keys: usize,
    /// Postings of embedded ledgers that are not committed; about 150 bytes each.
    pub ledger_postings: usize,
    /// Orders that the dispatcher has read ahead, once as bytes being read and once as orders.
    pub read_ahead_bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            window_keys: 4_000_000,
            users: 2_000_000,
            block_cache_bytes: 256 << 20,
            staged_bytes: 768 << 20,
            read_bytes: 64 << 20,
            held_bytes: 256 << 20,
            known_users_bytes: 64 << 20,
            recent_orders: 4_000_000,
            ledger_keys: 2_000_000,
            ledger_postings: 4_000_000,
            read_ahead_bytes: 64 << 20,
        }
    }
}

impl Memory {
    /// Intake's window in one partition.
    pub fn seen(&self, partitions: u16) -> SeenLimits {
        SeenLimits { window_keys_max: share(self.window_keys, usize::from(partitions)) }
    }

    /// The views of one partition, over so many lanes.
    pub fn views(&self, partitions: u16, lanes: usize) -> ViewsLimits {
        let partitions = usize::from(partitions);
        let limits = ViewsLimits::default();
        // The filter's size is rounded up to a power of two.
        let filter_bytes = share(self.known_users_bytes, partitions);
        ViewsLimits {
            users_max: share(self.users, partitions),
            recent_orders_max: limits.recent_orders_max.min(share(self.recent_orders, partitions * lanes)),
            known_users_bytes: 1 << filter_bytes.ilog2(),
        }
    }

    /// What one fold may hold, where `base` allows more.
    pub fn task(&self, base: &TaskPolicy, partitions: u16) -> TaskPolicy {
        let tasks = usize::from(partitions) * TASKS;
        let staged_bytes_max = base.staged_bytes_max.min(share(self.staged_bytes, tasks));
        TaskPolicy {
            staged_bytes_max,
            // So that a fold goes on while a commit of it is under way.
            commit_staged_bytes: base.commit_staged_bytes.min(staged_bytes_max / 3),
            read_bytes_max: base.read_bytes_max.min(share(self.read_bytes, tasks)),
            held_bytes_max: base.held_bytes_max.min(share(self.held_bytes / 2, tasks)),
            ..base.clone()
        }
    }

    /// One partition of one embedded ledger.
    pub fn ledger(&self, partitions: u16, ledgers: usize) -> LedgerLimits {
        let shards = usize::from(partitions) * ledgers;
        let limits = LedgerLimits::default();
        let postings = share(self.ledger_postings, shards * WAITING_COMMITS);
        LedgerLimits {
            commit_postings: limits.commit_postings.min(postings as u64),
            window_keys_max: share(self.ledger_keys, shards),
        }
    }

    /// The dispatcher of all partitions and lanes.
    pub fn dispatch(&self, partitions: u16, lanes: usize) -> Policy {
        let base = Policy::default();
        let tracks = usize::from(partitions) * lanes;
        let track_bytes = share(self.read_ahead_bytes, tracks) / 2;
        Policy {
            read_ahead_bytes_max: base.read_ahead_bytes_max.min(track_bytes),
            read_ahead_orders_min: base.read_ahead_orders_min.min(track_bytes / ORDER_BYTES).max(1),
            held_bytes_max: base.held_bytes_max.min(share(self.held_bytes / 2, tracks)),
            ..base
        }
    }
}

/// A part of a budget; never nothing.
fn share(of: usize, among: usize) -> usize {
    (of / among.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the folds, the ledgers and the dispatcher of a process may hold by the default budget.
    /// `docs/CONFIGURATION.md` says so.
    const BOUND_BYTES: usize = 4 << 30;

    const KEY_BYTES: usize = 60;
    const USER_BYTES: usize = 200;
    const RECENT_ORDER_BYTES: usize = 24;
    const POSTING_BYTES: usize = 150;

    #[test]
    fn all_partitions_together_stay_within_the_budget() {
        let memory = Memory::default();
        for (partitions, lanes, ledgers) in
            [(1, 1, 1), (1, 8, 2), (3, 3, 1), (8, 3, 1), (64, 1, 1), (64, 8, 2)]
        {
            let count = usize::from(partitions);
            let task = memory.task(&TaskPolicy::default(), partitions);
            let views = memory.views(partitions, lanes);
            let ledger = memory.ledger(partitions, ledgers);
            let dispatch = memory.dispatch(partitions, lanes);
            let postings = ledger.commit_postings as usize * WAITING_COMMITS;
            let tracks = count * lanes;
            // What it is, the sum over the process, the budget, bytes each.
            let sums = [
                ("window", count * memory.seen(partitions).window_keys_max, memory.window_keys, KEY_BYTES),
                ("users", count * views.users_max, memory.users, USER_BYTES),
                ("staged", count * TASKS * task.staged_bytes_max, memory.staged_bytes, 2),
                ("read", count * TASKS * task.read_bytes_max, memory.read_bytes, 1),
                ("held", count * TASKS * task.held_bytes_max, memory.held_bytes / 2, 1),
                ("held by lanes", tracks * dispatch.held_bytes_max, memory.held_bytes / 2, 1),
                ("filter", count * views.known_users_bytes, memory.known_users_bytes, 1),
                ("recent", tracks * views.recent_orders_max, memory.recent_orders, RECENT_ORDER_BYTES),
                ("ledger keys", count * ledgers * ledger.window_keys_max, memory.ledger_keys, KEY_BYTES),
                ("postings", count * ledgers * postings, memory.ledger_postings, POSTING_BYTES),
                ("ahead", tracks * 2 * dispatch.read_ahead_bytes_max, memory.read_ahead_bytes, 1),
                (
                    "ahead",
                    tracks * dispatch.read_ahead_orders_min * ORDER_BYTES,
                    memory.read_ahead_bytes / 2,
                    1,
                ),
                ("cache", memory.block_cache_bytes, memory.block_cache_bytes, 1),
            ];
            let case = format!("{partitions} partitions, {lanes} lanes, {ledgers} ledgers");
            for (what, sum, budget, _) in sums {
                assert!(sum <= budget, "{case}: {what}: {sum} > {budget}");
            }
            let bytes: usize = sums.iter().map(|(_, sum, _, each)| sum * each).sum();
            assert!(bytes <= BOUND_BYTES, "{case}: {bytes} bytes");
            assert!(task.commit_staged_bytes < task.staged_bytes_max);
        }
    }

    #[test]
    fn few_partitions_get_no_more_than_one_may_hold() {
        let memory = Memory::default();
        let (base, one) = (TaskPolicy::default(), memory.task(&TaskPolicy::default(), 1));
        assert_eq!(
            (one.staged_bytes_max, one.commit_staged_bytes),
            (base.staged_bytes_max, base.commit_staged_bytes)
        );
        assert_eq!((one.read_bytes_max, one.held_bytes_max), (base.read_bytes_max, base.held_bytes_max));
        assert_eq!(memory.ledger(1, 1).commit_postings, LedgerLimits::default().commit_postings);
    }
}
