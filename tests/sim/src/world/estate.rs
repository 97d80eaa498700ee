//! What outlives a process: logs, stores, downstreams, clocks.

use std::sync::Arc;

use hongbao_engine::log::Log;
use hongbao_engine::store::StoreError;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::downstream::{Capabilities, Completion, Downstream, KeyLife, Ticket};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::downstreams::ledger::Halted;
use crate::downstreams::partner::Partner;
use crate::downstreams::watched::Watch;
use crate::fuse::Fuse;
use crate::log::{LogParts, SimLog};
use crate::options::{DownstreamOptions, LogProfile, Options};
use crate::store::SimStore;
use crate::trace::Trace;

/// A downstream's own side.
pub enum Place {
    /// A ledger's book and accounts.
    Ledger {
        /// Its log.
        book: Arc<SimLog>,
        /// Its stores by partition.
        stores: Vec<Arc<SimStore>>,
        /// Why it has stopped.
        halted: Halted,
    },
    /// A service.
    Partner(Arc<Mutex<Partner>>),
}

/// Everything that outlives a process.
pub struct Estate {
    /// Time.
    pub clock: Arc<SimClock>,
    /// The end of the process.
    pub fuse: Arc<Fuse>,
    /// History.
    pub trace: Arc<Trace>,
    /// The log.
    pub log: Arc<SimLog>,
    /// Stores of the intakes.
    pub intakes: Vec<Arc<SimStore>>,
    /// Stores of the views.
    pub views: Vec<Arc<SimStore>>,
    /// Downstreams.
    pub places: Vec<Place>,
    /// What downstreams saw.
    pub watch: Arc<Mutex<Watch>>,
}

impl Estate {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(options: &Options, trace: Arc<Trace>) -> Self {
        let clock = Arc::new(SimClock::default());
        let fuse = Arc::new(Fuse::default());
        let partitions = options.partitions;
        let log = |name, profile| {
            let parts = LogParts {
                clock: clock.clone(),
                fuse: fuse.clone(),
                trace: trace.clone(),
                profile,
                sync_ms: options.sync_ms,
                seed: options.seed,
            };
            Arc::new(SimLog::new(name, partitions, parts))
        };
        let stores = |kind: &str| -> Vec<Arc<SimStore>> {
            let store = |partition| {
                let name = format!("{kind}-{partition}");
                Arc::new(SimStore::new(name, clock.clone(), fuse.clone(), trace.clone()))
            };
            (0..partitions).map(store).collect()
        };
        let place = |(index, downstream): (usize, &DownstreamOptions)| match downstream {
            DownstreamOptions::Ledger { .. } => Place::Ledger {
                book: log("book", LogProfile::Segments),
                stores: stores("ledger"),
                halted: Halted::default(),
            },
            DownstreamOptions::Partner(partner) => {
                Place::Partner(Arc::new(Mutex::new(Partner::new(*partner, options.seed, index))))
            }
        };
        let places = options.downstreams.iter().enumerate().map(place).collect();
        let (log, intakes, views) = (log("log", options.log), stores("intake"), stores("views"));
        Self { log, intakes, views, places, clock, fuse, trace, watch: Arc::default() }
    }

    /// All logs: the main one first, then that of each downstream, if it has one.
    pub fn logs(&self) -> impl Iterator<Item = &Arc<SimLog>> {
        let books = self.places.iter().filter_map(|place| match place {
            Place::Ledger { book, .. } => Some(book),
            Place::Partner(_) => None,
        });
        std::iter::once(&self.log).chain(books)
    }

    /// The log of this number: 0 the main one, then by downstream.
    pub fn log_at(&self, index: usize) -> Option<&Arc<SimLog>> {
        match index.checked_sub(1) {
            None => Some(&self.log),
            Some(place) => match self.places.get(place)? {
                Place::Ledger { book, .. } => Some(book),
                Place::Partner(_) => None,
            },
        }
    }

    /// All stores.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<SimStore>> {
        let ledgers = self.places.iter().flat_map(|place| match place {
            Place::Ledger { stores, .. } => stores.as_slice(),
            Place::Partner(_) => &[],
        });
        self.intakes.iter().chain(&self.views).chain(ledgers)
    }

    /// All services.
    pub fn partners(&self) -> impl Iterator<Item = &Arc<Mutex<Partner>>> {
        self.places.iter().filter_map(|place| match place {
            Place::Partner(partner) => Some(partner),
            Place::Ledger { .. } => None,
        })
    }

    /// Makes durable what is due, and lets arrive what is on its way; whether anything was.
    pub fn pass_time(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.partners().for_each(|partner| partner.lock().advance(now_ms));
        let mut any = false;
        for log in self.logs() {
            any |= log.sync_due();
        }
        any
    }

    /// When something happens by itself.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let logs = self.logs().filter_map(|log| log.next_due_ms());
        let partners = self.partners().filter_map(|partner| partner.lock().next_due_ms());
        logs.chain(partners).min()
    }

    /// Repairs what can be repaired.
    pub fn heal(&self) {
        self.clock.heal();
        self.logs().for_each(|log| log.heal());
        self.stores().for_each(|store| store.heal());
        self.partners().for_each(|partner| partner.lock().heal());
    }

    /// A process has ended; another may live on.
    pub fn end_of_process(&self, keep_permille: u32, living: Option<u64>) {
        self.logs().for_each(|log| log.end_of_process(keep_permille, living));
        for place in &self.places {
            if let Place::Ledger { halted, .. } = place {
                *halted.lock() = None;
            }
        }
    }

    /// From now on another machine is looked at, with copies of the stores as they were committed, or
    /// without any; the process of the old one keeps its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn move_house(&mut self, is_empty: bool) -> Result<(), StoreError> {
        for store in self.intakes.iter_mut().chain(&mut self.views) {
            *store = Arc::new(store.on_another_machine(is_empty)?);
        }
        Ok(())
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.log.partitions()
    }
}

/// A downstream that takes nothing: a ledger that cannot be opened.
pub struct Closed;

impl Downstream for Closed {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: 1,
            max_in_flight: 1,
            key_life: KeyLife::Forever,
            can_query: false,
            batch_delay: std::time::Duration::ZERO,
            timeout: std::time::Duration::ZERO,
        }
    }

    fn submit(&mut self, _: Ticket, _: Batch) {}

    fn ask(&mut self, _: Ticket, _: Arc<[u8]>) {}

    fn poll(&mut self, _: &mut Vec<Completion>) {}
}
