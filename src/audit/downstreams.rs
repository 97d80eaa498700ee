//! The downstreams whose own records are in the data folder: books of embedded ledgers and of
//! simulated downstreams. What a service over HTTP did is not known here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use hongbao_audit::{Lanes, Report};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_segments::SegmentLog;
use hongbao_sinks::ledger::BOOK_TOPIC;
use hongbao_topology::{DownstreamKind, Topology};

use crate::assemble::{DataDir, LEDGER_DIR, SIMULATED_DIR};

use super::simulated::{Effects, read_book};

/// Which lanes go where.
pub enum Routes {
    /// Lanes of each embedded or simulated downstream of the topology.
    Named { ledgers: BTreeMap<String, Vec<String>>, simulated: BTreeMap<String, Vec<String>> },
    /// Not known: where an order of a lane took effect, all of the lane do.
    Found,
}

impl Routes {
    /// As a topology says.
    pub fn of(topology: &Topology) -> Self {
        let (mut ledgers, mut simulated) = (BTreeMap::new(), BTreeMap::new());
        for downstream in topology.downstreams() {
            let lanes = topology.lanes().iter().filter(|lane| lane.downstream() == downstream.name());
            let lanes: Vec<String> = lanes.map(|lane| lane.name().to_owned()).collect();
            match downstream.kind() {
                DownstreamKind::Embedded => ledgers.insert(downstream.name().to_owned(), lanes),
                DownstreamKind::Simulated(_) => simulated.insert(downstream.name().to_owned(), lanes),
                DownstreamKind::Http(_) => {
                    eprintln!(
                        "what {} did is not known here: lanes {} are checked up to the journal",
                        downstream.name(),
                        lanes.join(", ")
                    );
                    None
                }
            };
        }
        Self::Named { ledgers, simulated }
    }
}

/// An embedded ledger.
pub struct Ledger {
    pub name: String,
    /// None when the topology names it and its book is not there.
    pub book: Option<SegmentLog>,
    lanes: Option<Vec<String>>,
}

/// A simulated downstream.
pub struct SimulatedBook {
    pub name: String,
    pub effects: Effects,
    lanes: Option<Vec<String>>,
}

impl Ledger {
    pub fn lanes(&self) -> Lanes<'_> {
        self.lanes.as_deref().map_or(Lanes::Found, Lanes::Named)
    }
}

impl SimulatedBook {
    pub fn lanes(&self) -> Lanes<'_> {
        self.lanes.as_deref().map_or(Lanes::Found, Lanes::Named)
    }
}

/// All of them.
pub struct Downstreams {
    ledgers: Vec<Ledger>,
    simulated: Vec<SimulatedBook>,
}

impl Downstreams {
    /// Opens those in the folder, and notes those that should be there.
    pub fn open(data: &DataDir, routes: Routes) -> anyhow::Result<Self> {
        let (mut ledgers, mut simulated, others) = match routes {
            // One that the topology does not know has no lanes any more.
            Routes::Named { ledgers, simulated } => (named(ledgers), named(simulated), Some(Vec::new())),
            Routes::Found => (BTreeMap::new(), BTreeMap::new(), None),
        };
        let (ledger_dir, simulated_dir) = (data.path(LEDGER_DIR), data.path(SIMULATED_DIR));
        for name in names_in(&ledger_dir, "")? {
            ledgers.entry(name).or_insert_with(|| others.clone());
        }
        for name in names_in(&simulated_dir, ".book")? {
            simulated.entry(name).or_insert_with(|| others.clone());
        }
        let open_ledger = |(name, lanes): (String, _)| {
            let path = ledger_dir.join(&name).join("book");
            let open = || {
                SegmentLog::open_read_only(&path)
                    .with_context(|| format!("cannot open the book {}", path.display()))
            };
            let book = if path.exists() { Some(open()?.0) } else { None };
            Ok(Ledger { name, book, lanes })
        };
        let open_simulated = |(name, lanes): (String, _)| {
            let path = simulated_dir.join(format!("{name}.book"));
            let effects =
                read_book(&path).with_context(|| format!("cannot read the book {}", path.display()))?;
            Ok(SimulatedBook { name, effects, lanes })
        };
        Ok(Self {
            ledgers: ledgers.into_iter().map(open_ledger).collect::<anyhow::Result<_>>()?,
            simulated: simulated.into_iter().map(open_simulated).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Ledgers by name.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// Simulated downstreams by name.
    pub fn simulated(&self) -> &[SimulatedBook] {
        &self.simulated
    }

    /// Postings of all ledgers.
    pub fn postings(&self) -> u64 {
        let end = |book: &SegmentLog, partition| {
            book.range(Partition(partition), BOOK_TOPIC).map_or(0, |(_, end)| end)
        };
        let books = self.ledgers.iter().filter_map(|ledger| ledger.book.as_ref());
        books.flat_map(|book| (0..book.partitions()).map(move |partition| end(book, partition))).sum()
    }

    /// What a simulated book tells by itself: no key took effect twice, or with two payloads.
    pub fn check(&self, report: &mut Report) {
        for book in &self.simulated {
            book.effects.check(&book.name, report);
        }
    }
}

fn named(lanes: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Option<Vec<String>>> {
    lanes.into_iter().map(|(name, lanes)| (name, Some(lanes))).collect()
}

/// Names of what is in a folder, without this ending; none if there is no folder.
fn names_in(folder: &Path, ending: &str) -> anyhow::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(ending).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
