//! Prometheus text. Figures of the folds are read at scrape time, so that no hot path touches a
//! metric; those of the HTTP side itself are counted per request.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes either way.
    Gauge,
}

/// One figure read at scrape time. Names start with `hongbao_`; labels never hold a person, an
/// order or another unbounded value.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Metric name; samples of one name share help and kind.
    pub name: &'static str,
    /// What it says, with its unit.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// Figures of the HTTP side.
pub struct HttpMetrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    shed: IntCounterVec,
}

impl HttpMetrics {
    /// Registers all figures.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("hongbao_http_requests_total", "HTTP requests by route and status class."),
            &["route", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("hongbao_http_request_seconds", "Time to answer, by route.")
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5]),
            &["route"],
        )?;
        let shed = IntCounterVec::new(
            Opts::new("hongbao_http_shed_total", "Requests and connections turned away, by reason."),
            &["reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(shed.clone()))?;
        Ok(Self { registry, requests, seconds, shed })
    }

    /// Counts one answered request.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let class = format!("{}xx", status / 100);
        self.requests.with_label_values(&[route, class.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Counts a request or connection that was turned away.
    pub fn shed(&self, reason: &str) {
        self.shed.with_label_values(&[reason]).inc();
    }

    /// Everything in Prometheus text form.
    ///
    /// # Errors
    /// When a sample's name or labels cannot be written.
    pub fn render(&self, samples: Vec<Sample>) -> Result<Vec<u8>, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(to_families(samples));
        families.sort_by(|left, right| left.name().cmp(right.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

fn to_families(samples: Vec<Sample>) -> Vec<MetricFamily> {
    let mut families: BTreeMap<&str, MetricFamily> = BTreeMap::new();
    for sample in samples {
        let family = families.entry(sample.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(sample.name.to_owned());
            family.set_help(sample.help.to_owned());
            family.set_field_type(match sample.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            family
        });
        family.mut_metric().push(to_metric(sample));
    }
    families.into_values().collect()
}

fn to_metric(sample: Sample) -> Metric {
    let mut metric = Metric::default();
    let labels = sample.labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    metric.set_label(labels.collect());
    match sample.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(sample.value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(sample.value);
            metric.set_gauge(gauge);
        }
    }
    metric
}
