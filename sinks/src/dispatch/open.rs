//! Opening: a dispatcher from its spec, and its tracks by epoch (rule 3).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Offset, ReadBatch};

use crate::journal_view::{LaneResume, ViewError, Winner};
use crate::limits::pool::Pool;
use crate::limits::rate::Limiter;

use super::held::HeldOrder;
use super::lane::{Lane, LaneCounts, PoolPlace, Stock};
use super::line::Line;
use super::now::{FirstIntent, Now};
use super::reader::{FoundOpen, ReadError, Reader, Sorted, Source};
use super::settle::Place;
use super::track::{Phase, Track};
use super::{Confirm, Dispatcher, DispatcherSpec, LaneSpec, Ports, SpecError, StatusBoard, seeded};

/// The topic of facts.
pub const JOURNAL: &str = "journal";

/// See [`Dispatcher::open`].
pub fn open(spec: DispatcherSpec, ports: Ports) -> Result<Dispatcher, SpecError> {
    let journals: Vec<Result<Journal, LogError>> =
        spec.partitions.iter().map(|partition| journal(&*ports.log, *partition)).collect();
    // Read after them, so that the time of what others append meanwhile is not from later.
    let now = Now::read(&*ports.clock, false);
    let has_gone_back = journals.iter().flatten().any(|journal| journal.last_append_ms > now.wall_ms);
    if has_gone_back {
        tracing::warn!("the wall clock is behind the journal: it went back");
    }
    let mut lines = Vec::with_capacity(ports.downstreams.len());
    let mut line_of: BTreeMap<String, usize> = BTreeMap::new();
    for (name, port) in ports.downstreams {
        line_of.insert(name, lines.len());
        lines.push(Line::new(port, &spec.policy));
    }
    let (pools, places) = open_pools(&spec, now.mono)?;
    let mut lanes = Vec::with_capacity(spec.lanes.len());
    for (index, lane) in spec.lanes.iter().enumerate() {
        let line = *line_of.get(&lane.downstream).ok_or_else(|| SpecError::NoDownstream {
            lane: lane.name.clone(),
            downstream: lane.downstream.clone(),
        })?;
        let tracks = spec.partitions.iter().zip(&journals);
        let tracks = tracks.map(|(partition, journal)| new_track(*partition, journal, &lane.name)).collect();
        let mut lane = open_lane(lane, line, tracks, now.mono);
        lane.pool = places.get(&index).copied();
        lane.batch_max = batch_max(&lane, &lines[line], &pools);
        lanes.push(lane);
    }
    let mut by_rank: Vec<usize> = (0..lanes.len()).collect();
    by_rank.sort_by_key(|index| match lanes[*index].pool {
        Some(place) => (place.pool, place.rank),
        None => (usize::MAX, *index),
    });
    let status = Arc::new(StatusBoard::new(spec.lanes.iter().map(|lane| lane.name.clone())));
    Ok(Dispatcher {
        log: ports.log,
        clock: ports.clock,
        view: ports.view,
        policy: spec.policy,
        writer: spec.writer,
        rng: seeded(spec.seed),
        lanes,
        by_rank,
        pools,
        lines,
        flights: BTreeMap::new(),
        asks: BTreeMap::new(),
        last_ticket: 0,
        stopped: Vec::new(),
        log_error: journals.into_iter().find_map(Result::err),
        has_gone_back,
        is_draining: false,
        buffer: ReadBatch::new(),
        done: Vec::new(),
        status,
    })
}

/// A partition's journal as it is found.
struct Journal {
    end: Offset,
    /// Wall clock of its last append, in milliseconds since the Unix epoch; 0 if it is empty.
    last_append_ms: i64,
}

fn journal(log: &dyn Log, partition: Partition) -> Result<Journal, LogError> {
    let (start, end) = log.range(partition, JOURNAL)?;
    let mut last = ReadBatch::new();
    if end > start {
        log.read(partition, JOURNAL, end - 1, 1, &mut last)?;
    }
    let last_append_ms = last.frames().map(|frame| frame.appended_at_ms()).max().unwrap_or(0);
    Ok(Journal { end, last_append_ms })
}

/// A track that has to open; halted when its journal cannot even be asked (I26).
fn new_track(partition: Partition, journal: &Result<Journal, LogError>, lane: &str) -> Track {
    match journal {
        Ok(journal) => Track::new(partition, journal.end),
        Err(error) => {
            let mut track = Track::new(partition, 0);
            track.halt(lane, error.to_string());
            track
        }
    }
}

type Pools = Vec<(Pool, Vec<usize>)>;

fn open_pools(
    spec: &DispatcherSpec,
    now: Duration,
) -> Result<(Pools, BTreeMap<usize, PoolPlace>), SpecError> {
    let mut pools = Vec::with_capacity(spec.pools.len());
    let mut places = BTreeMap::new();
    for (index, pool) in spec.pools.iter().enumerate() {
        let mut members = Vec::with_capacity(pool.rank.len());
        for (rank, name) in pool.rank.iter().enumerate() {
            let wrong = || SpecError::PoolLane { pool: pool.name.clone(), lane: name.clone() };
            let lane = spec.lanes.iter().position(|lane| lane.name == *name).ok_or_else(wrong)?;
            if places.insert(lane, PoolPlace { pool: index, rank }).is_some() {
                return Err(wrong());
            }
            members.push(lane);
        }
        pools.push((Pool::new(pool.rate, members.len(), pool.floor_permille, now), members));
    }
    Ok((pools, places))
}

fn open_lane(spec: &LaneSpec, line: usize, tracks: Vec<Track>, now: Duration) -> Lane {
    Lane {
        name: spec.name.as_str().into(),
        source: format!("sink.{}", spec.name),
        line,
        pool: None,
        limiter: spec.rate.map(|rate| Limiter::new(rate, now)),
        queries: spec.query_rate.or(spec.rate).map(|rate| Limiter::new(rate, now)),
        batch_max: 1,
        tracks,
        cursor: 0,
        saves_for: 0,
        ask_cursor: 0,
        sendable: VecDeque::new(),
        stock: Stock::default(),
        backlog: 0,
        counts: LaneCounts::default(),
    }
}

fn batch_max(lane: &Lane, line: &Line, pools: &Pools) -> usize {
    let own = lane.burst();
    let pool = lane.pool.map_or(u64::MAX, |place| pools[place.pool].0.batch_max(place.rank));
    let most = own.min(pool).min(u64::from(line.capabilities.max_items));
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

impl Dispatcher {
    /// Brings tracks nearer to running.
    pub(super) fn open_tracks(&mut self) -> usize {
        let mut worked = 0;
        for lane in 0..self.lanes.len() {
            for track in 0..self.lanes[lane].tracks.len() {
                worked += match self.open_track(lane, track) {
                    Ok(has_moved) => usize::from(has_moved),
                    Err(error) => {
                        self.halt(lane, track, error.to_string());
                        1
                    }
                };
            }
        }
        worked
    }

    fn open_track(&mut self, lane: usize, track: usize) -> Result<bool, ViewError> {
        let name = Arc::clone(&self.lanes[lane].name);
        let partition = self.lanes[lane].tracks[track].partition;
        let folded_past = match self.lanes[lane].tracks[track].phase {
            Phase::CatchingUp { end } => end,
            Phase::Announced { offset: Some(offset) } => offset + 1,
            Phase::Announced { offset: None } | Phase::Running | Phase::Halted(_) => return Ok(false),
        };
        if self.view.folded(partition)? < folded_past {
            return Ok(false);
        }
        let resume = self.view.lane(partition, &name)?;
        // Read after the view, which others fold meanwhile: what it has seen is not from later.
        let now = self.now();
        self.compare_clock(partition, resume.last_at_ms, now);
        let epoch = self.lanes[lane].tracks[track].facts.epoch();
        if epoch > 0 && self.has_won(resume.opened, epoch) {
            self.start_track(lane, track, &resume, now);
        } else {
            // Not opened yet, or somebody else was first in this epoch: go above.
            let last = resume.opened.map_or(0, |winner| winner.epoch).max(epoch);
            let next = if mutant!(M32) { last.max(1) } else { last + 1 };
            self.announce(lane, track, next, now);
        }
        Ok(true)
    }

    /// Whether this process is the one who opened an epoch, which is the highest (rule 3).
    pub(super) fn has_won(&self, opened: Option<Winner>, epoch: u32) -> bool {
        opened.is_some_and(|won| won.epoch == epoch && (won.writer == self.writer || mutant!(M59)))
    }

    fn announce(&mut self, lane: usize, track: usize, epoch: u32, now: Now) {
        let Lane { source, tracks, .. } = &mut self.lanes[lane];
        tracks[track].facts.open(source, self.writer, epoch, now.wall_ms);
        tracks[track].phase = Phase::Announced { offset: None };
        hongbao_engine::kill_point!("sink.lane.announced");
    }

    fn start_track(&mut self, lane: usize, track: usize, resume: &LaneResume, now: Now) {
        let Lane { name, tracks, .. } = &mut self.lanes[lane];
        let track = &mut tracks[track];
        track.reader = Reader::resume(format!("orders.{name}"), resume);
        track.phase = Phase::Running;
        let (partition, epoch) = (track.partition.0, track.facts.epoch());
        tracing::debug!(lane = &**name, partition, epoch, low_water = resume.low_water, "lane opened");
        track.opened_at = now;
        self.begin_limits(lane, now);
        hongbao_engine::kill_point!("sink.lane.started");
    }

    /// Looks whether the wall clock is behind the journal, at each look at it until the lane has opened: a
    /// clock that comes there meanwhile went back all the same (I14).
    fn compare_clock(&mut self, partition: Partition, last_at_ms: i64, now: Now) {
        if now.wall_ms < last_at_ms && !self.has_gone_back {
            let partition = partition.0;
            tracing::warn!(partition, last_at_ms, "the wall clock went back");
            self.has_gone_back = true;
        }
    }

    /// Where others write too, whoever had the lane before may have sent up to now: the limits are
    /// those of a process that starts now, or rather when that one sends nothing any more (I21).
    fn begin_limits(&mut self, lane: usize, now: Now) {
        if self.policy.confirm == Confirm::ByDurability || mutant!(M62) {
            return;
        }
        let begins = now.mono + self.policy.send_within;
        let Lane { limiter, queries, pool, .. } = &mut self.lanes[lane];
        for limiter in [limiter, queries].into_iter().flatten() {
            *limiter = Limiter::new(limiter.rate(), begins);
        }
        if let Some(place) = pool {
            self.pools[place.pool].0.begin(begins);
        }
    }

    /// Reads ahead where orders run short.
    pub(super) fn read(&mut self, version: u64, now: Now) -> usize {
        let mut worked = 0;
        for lane in 0..self.lanes.len() {
            let has_room = self.lanes[lane].fresh_room(self.policy.held_orders_max) > 0;
            for track in 0..self.lanes[lane].tracks.len() {
                // The life of unresolved orders' keys runs: they are looked up without room too.
                if !has_room && self.lanes[lane].tracks[track].reader.open_left() == 0 {
                    continue;
                }
                match self.read_track(lane, track, version, now) {
                    Ok(count) => worked += count,
                    Err(ReadError::Log(error)) => self.halt_by_log(lane, track, error),
                    Err(error) => self.halt(lane, track, error.to_string()),
                }
            }
        }
        worked
    }

    fn read_track(&mut self, lane: usize, track: usize, version: u64, now: Now) -> Result<usize, ReadError> {
        let Lane { name, tracks, counts, .. } = &mut self.lanes[lane];
        let track_ref = &mut tracks[track];
        let Track { partition, reader, ready, .. } = track_ref;
        if track_ref.phase != Phase::Running {
            return Ok(0);
        }
        reader.check_missing(version, now.mono, self.policy.gap_timeout)?;
        if !reader.wants(ready.len(), self.policy.read_ahead_orders_min, version) {
            return Ok(0);
        }
        let accepted = match self.policy.confirm {
            Confirm::ByDurability => u64::MAX,
            Confirm::ByReading => self.view.accepted(*partition, name)?,
        };
        if reader.stopped_at() == Some(accepted) {
            return Ok(0);
        }
        let source = Source {
            log: &*self.log,
            partition: *partition,
            max_bytes: self.policy.read_ahead_bytes_max,
            version,
            accepted,
            held_bytes_max: self.policy.held_bytes_max,
            now: now.mono,
        };
        let was_empty = ready.len() == 0;
        let mut open = Vec::new();
        let sorted = Sorted { ready, open: &mut open, set_aside: &mut counts.set_aside };
        let count = reader.read(source, &mut self.buffer, sorted)?;
        if was_empty {
            track_ref.ready_since = now.mono;
        }
        for order in open {
            self.take_over(lane, track, order, now);
        }
        Ok(count)
    }

    /// Holds an order that an earlier process left unresolved.
    fn take_over(&mut self, lane: usize, track: usize, order: FoundOpen, now: Now) {
        let rules = self.rules(lane);
        let batch_max = u32::try_from(self.lanes[lane].batch_max).unwrap_or(u32::MAX);
        let opened_at = self.lanes[lane].tracks[track].opened_at;
        let first = FirstIntent::earlier(order.range.first_intent_ms, opened_at);
        let held = HeldOrder {
            record: order.record,
            unresolved: Some(first),
            failures: 0,
            tries: 0,
            batch_max,
            since: now.mono,
        };
        let verdict = rules.after_restart(&held.standing(now));
        self.lanes[lane].tracks[track].held.insert(order.seq, held);
        let jitter = self.random();
        let place = Place { lane, track, seq: order.seq };
        self.follow(place, verdict, order.range.is_unknown, jitter, now);
    }
}
