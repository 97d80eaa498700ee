//! `hongbao check`: folds the log of a data folder again with the plain reference model
//! (`hongbao-audit`) and compares every verdict, wallet, total and ledger row. Nothing is changed.

mod downstreams;
mod lines;
mod partition;
mod progress;
mod simulated;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, anyhow, bail};
use crossbeam_channel::Sender;
use hongbao_audit::{Invariant, Report};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_rocks::RocksEnv;
use hongbao_segments::SegmentLog;
use hongbao_topology::Topology;

use crate::assemble::{DataDir, LOG_DIR};
use crate::cli::Global;
use crate::commands::offline;
use crate::exit::{FOUND, Failure, OK, Outcome};

use downstreams::{Downstreams, Routes};
use partition::{Audit, Audited};
use progress::Progress;

/// Blocks of stores kept in memory; the rows are read once, from front to back.
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// Audits, prints a line for each invariant, and ends with 3 when something differs.
pub fn run(global: &Global) -> Outcome {
    let data = DataDir::open(&global.data_dir)?;
    let routes = routes(global, &data)?;
    let path = data.path(LOG_DIR);
    let (log, _) = SegmentLog::open_read_only(&path)
        .with_context(|| format!("cannot open the log in {}", path.display()))?;
    if log.partitions() != data.identity().partitions {
        let (found, expected) = (log.partitions(), data.identity().partitions);
        return Err(anyhow!("the log has {found} partitions, the data folder {expected}").into());
    }
    let downstreams = Downstreams::open(&data, routes)?;
    let rocks = RocksEnv::new(BLOCK_CACHE_BYTES).context("RocksDB")?;
    let progress = Progress::new(downstreams.postings() + records(&log), global.output)?;
    let audit =
        Audit { data: &data, log: &log, rocks: &rocks, downstreams: &downstreams, done: progress.done() };
    let report = audit_all(&audit, &progress)?;
    lines::print(&report, global.output)?;
    Ok(if report.broken().is_empty() { OK } else { FOUND })
}

/// Which lanes go where, from the topology if it is the one that the data was made with.
fn routes(global: &Global, data: &DataDir) -> Result<Routes, Failure> {
    let config = global.config.display();
    let namespace = &data.identity().namespace;
    let found = |why: String| {
        eprintln!("{why}: which lane goes to which downstream is taken from the downstreams' own records");
        Ok(Routes::Found)
    };
    if !global.config.exists() {
        return found(format!("there is no {config}"));
    }
    let topology: Topology = offline::load(&global.config)?;
    if topology.name() != namespace {
        return found(format!(
            "{config} is the topology `{}`, the data was made with `{namespace}`",
            topology.name()
        ));
    }
    Ok(Routes::of(&topology))
}

/// How many records will be folded: awards once, the journal by the model and by the views.
fn records(log: &SegmentLog) -> u64 {
    let end = |partition, topic| log.range(Partition(partition), topic).map_or(0, |(_, end)| end);
    (0..log.partitions()).map(|partition| end(partition, "awards") + 2 * end(partition, "journal")).sum()
}

/// Audits all partitions, as many at a time as there are processors.
fn audit_all(audit: &Audit<'_>, progress: &Progress) -> anyhow::Result<Report> {
    let partitions = audit.log.partitions();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU16::new(0);
    let (tell, told) = crossbeam_channel::unbounded();
    let mut parts: Vec<Audited> = std::thread::scope(|scope| {
        for _ in 0..cores.min(usize::from(partitions)) {
            let (next, tell) = (&next, tell.clone());
            scope.spawn(move || work(audit, next, &tell));
        }
        drop(tell);
        progress.follow(&told)
    });
    if parts.len() != usize::from(partitions) {
        bail!("a thread of the audit has ended before its partitions were audited");
    }
    parts.sort_by_key(|part| part.partition);
    let mut report = Report::new();
    let mut effects = vec![0; audit.downstreams.simulated().len()];
    let is_whole = parts.iter().all(|part| part.is_whole);
    for part in parts {
        report.absorb(part.report);
        effects.iter_mut().zip(&part.effects).for_each(|(sum, more)| *sum += more);
    }
    if is_whole {
        for (book, accepted) in audit.downstreams.simulated().iter().zip(effects) {
            let (name, keys) = (&book.name, book.effects.len() as u64);
            report.expect(
                Invariant::I9,
                keys == accepted,
                format_args!(
                    "simulated {name}: {keys} keys took effect, {accepted} of them are of accepted orders"
                ),
            );
        }
    }
    audit.downstreams.check(&mut report);
    Ok(report)
}

fn work(audit: &Audit<'_>, next: &AtomicU16, tell: &Sender<Audited>) {
    loop {
        let partition = next.fetch_add(1, Ordering::Relaxed);
        if partition >= audit.log.partitions() {
            return;
        }
        // The receiver lives as long as the threads.
        drop(tell.send(audit.partition(Partition(partition))));
    }
}
