//! Figures of the folds, the sinks and the stores, read at scrape time. Labels are partitions,
//! lanes, tasks and codes: never a person or an order.

use hongbao_api::reads::Reads;
use hongbao_api::{Kind, Sample};
use hongbao_engine::task::{TaskStatus, WaitsFor};

use super::reads::NodeReads;

struct Samples(Vec<Sample>);

impl Samples {
    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, labels: Labels<'_>, value: f64) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        self.0.push(Sample { name, help, kind, labels, value });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: u64) {
        self.add(Kind::Counter, name, help, labels, value as f64);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: f64) {
        self.add(Kind::Gauge, name, help, labels, value);
    }
}

type Labels<'a> = &'a [(&'static str, &'a str)];

/// Everything there is to scrape.
pub fn collect(reads: &NodeReads) -> Vec<Sample> {
    let mut samples = Samples(Vec::new());
    samples.gauge("hongbao_build_info", "Always 1.", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    verdicts(reads, &mut samples);
    tasks(reads, &mut samples);
    lanes(reads, &mut samples);
    reconciliation(reads, &mut samples);
    samples.0
}

fn verdicts(reads: &NodeReads, samples: &mut Samples) {
    let counts = reads.counts();
    let help = "Award records by verdict of intake, since the first record of the log.";
    for (verdict, count) in [
        ("accepted", counts.accepted),
        ("duplicate", counts.duplicate),
        ("conflict", counts.conflict),
        ("rejected", counts.rejected),
        ("parked", counts.parked),
        ("undecodable", counts.undecodable),
    ] {
        samples.counter("hongbao_awards_total", help, &[("verdict", verdict)], count);
    }
    let (mut hits, mut skips, mut lookups) = (0, 0, 0);
    for partition in &reads.partitions {
        hits += partition.seen.window_hits();
        skips += partition.seen.filter_skips();
        lookups += partition.seen.store_lookups();
    }
    let help = "Order numbers looked for by what answered, since the start.";
    for (place, count) in [("window", hits), ("filter", skips), ("store", lookups)] {
        samples.counter("hongbao_dedupe_lookups_total", help, &[("answered_by", place)], count);
    }
}

fn tasks(reads: &NodeReads, samples: &mut Samples) {
    for status in reads.partitions.iter().flat_map(|partition| [&partition.intake, &partition.views]) {
        task(status, samples);
    }
}

fn task(status: &TaskStatus, samples: &mut Samples) {
    let labels: Labels<'_> = &[("task", status.name())];
    let lag = status.input_end().saturating_sub(status.applied());
    let uncommitted = status.applied().saturating_sub(status.committed());
    let halted = f64::from(u8::from(status.halted().is_some()));
    samples.gauge("hongbao_task_lag_records", "Readable records not applied.", labels, lag as f64);
    samples.gauge(
        "hongbao_task_uncommitted_records",
        "Records applied and not in the store: what a restart does again.",
        labels,
        uncommitted as f64,
    );
    samples.gauge(
        "hongbao_task_staged_bytes",
        "Memory held by changes that are not committed.",
        labels,
        status.staged_bytes() as f64,
    );
    for what in WaitsFor::ALL.into_iter().filter(|what| *what != WaitsFor::Nothing) {
        let labels: Labels<'_> = &[("task", status.name()), ("for", what.as_str())];
        let waits = f64::from(u8::from(status.waits_for() == what));
        samples.gauge("hongbao_task_waits", "1 when the task waits for this.", labels, waits);
    }
    samples.gauge("hongbao_task_halted", "1 when the task has stopped (I26).", labels, halted);
    samples.counter(
        "hongbao_task_repeats_total",
        "Repeated records left out (I5).",
        labels,
        status.repeats(),
    );
    samples.counter(
        "hongbao_task_outdated_total",
        "Records of older epochs left out (I24).",
        labels,
        status.outdated(),
    );
}

fn lanes(reads: &NodeReads, samples: &mut Samples) {
    for lane in reads.lanes() {
        let labels: Labels<'_> = &[("lane", &lane.lane)];
        let outcomes = [("credited", lane.credited), ("refused", lane.refused), ("reported", lane.reported)];
        for (outcome, count) in outcomes {
            let labels: Labels<'_> = &[("lane", &lane.lane), ("outcome", outcome)];
            samples.counter("hongbao_lane_orders_total", "Orders ended, by outcome.", labels, count);
        }
        samples.counter("hongbao_lane_sent_total", "Items sent, resends included.", labels, lane.sent);
        samples.gauge(
            "hongbao_lane_unknown",
            "Orders whose last attempt is unresolved.",
            labels,
            lane.unknown as f64,
        );
        samples.gauge("hongbao_lane_backlog", "Orders accepted and not ended.", labels, lane.backlog as f64);
        samples.gauge(
            "hongbao_lane_lag_seconds",
            "Age of the oldest order not ended.",
            labels,
            lane.lag_seconds,
        );
        samples.gauge("hongbao_lane_limit_per_second", "The cap.", labels, lane.limit_per_second as f64);
    }
    for status in reads.sinks.lanes() {
        let labels: Labels<'_> = &[("lane", &status.lane)];
        samples.gauge("hongbao_lane_in_flight", "Submissions open.", labels, f64::from(status.in_flight));
        samples.gauge(
            "hongbao_lane_in_flight_limit",
            "Submissions that may be open at once, as adapted.",
            labels,
            f64::from(status.in_flight_max),
        );
        samples.gauge(
            "hongbao_lane_held",
            "Orders kept one by one after a bad attempt.",
            labels,
            status.held as f64,
        );
        let running = f64::from(u8::from(status.state.as_str() == "running"));
        samples.gauge("hongbao_lane_running", "1 when the lane sends.", labels, running);
    }
}

fn reconciliation(reads: &NodeReads, samples: &mut Samples) {
    for row in reads.reconcile() {
        let labels: Labels<'_> = &[("lane", &row.lane)];
        let open = row.accepted_count.saturating_sub(row.ended_count);
        samples.gauge("hongbao_reconcile_open", "Reconciled orders not ended.", labels, open as f64);
        samples.gauge(
            "hongbao_reconcile_overdue",
            "Reconciled orders open for longer than allowed (W16).",
            labels,
            row.overdue_count as f64,
        );
    }
    let contradictions = reads.reader.contradictions().unwrap_or(0);
    samples.counter(
        "hongbao_contradictions_total",
        "Orders named by facts that could not follow what happened before; more than 0 is a fault.",
        &[],
        contradictions,
    );
}
