//! Awards encoded and decoded, one thread, as intake does it.

use anyhow::{Context, ensure};
use hongbao_schemas::award::Award;
use serde_json::{Map, json};

use super::load::{Load, Texts};
use super::measure::{Meter, Report, Took, rounded};

/// Awards kept in memory and gone over again.
const DISTINCT: u64 = 100_000;

/// Measures.
pub fn run(events: u64) -> anyhow::Result<Report> {
    let mut text = Texts::default();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for index in 0..DISTINCT {
        Load::FRESH.award(index, &mut text).encode(&mut bytes);
        ends.push(bytes.len());
    }
    let mean_bytes = bytes.len() as f64 / DISTINCT as f64;
    let rounds = events.div_ceil(DISTINCT);
    let (mut encode, mut decode) = (Took { wall_s: 0.0, cpu_s: 0.0 }, Took { wall_s: 0.0, cpu_s: 0.0 });
    let (mut out, mut sum) = (Vec::with_capacity(bytes.len()), 0_i64);
    let meter = Meter::start();
    for _ in 0..rounds {
        let round = Meter::start();
        let mut awards = Vec::with_capacity(DISTINCT as usize);
        let mut start = 0;
        for end in &ends {
            let award = Award::decode(&bytes[start..*end]).context("decode")?;
            sum = sum.wrapping_add(award.amount_minor);
            awards.push(award);
            start = *end;
        }
        add(&mut decode, round.took());
        let round = Meter::start();
        out.clear();
        for award in &awards {
            award.encode(&mut out);
        }
        add(&mut encode, round.took());
        ensure!(out == bytes, "what was encoded is not what was decoded");
    }
    let took = meter.took();
    let mut extra = Map::new();
    let count = (rounds * DISTINCT) as f64;
    extra.insert("encode_ns".to_owned(), json!(rounded(encode.wall_s * 1e9 / count)));
    extra.insert("decode_ns".to_owned(), json!(rounded(decode.wall_s * 1e9 / count)));
    extra.insert("checksum".to_owned(), json!(sum));
    Ok(Report {
        name: "codec",
        events: rounds * DISTINCT,
        took,
        limit_events_per_s: None,
        params: json!({"award_bytes": rounded(mean_bytes), "threads": 1}),
        extra,
        not_included: "log, decisions; an event is one decode and one encode",
    })
}

fn add(sum: &mut Took, took: Took) {
    sum.wall_s += took.wall_s;
    sum.cpu_s += took.cpu_s;
}
