//! The store of an intake: counts, time, settings and order numbers, row by row (I1, I6).

use hongbao_engine::records::Offset;
use hongbao_engine::store::{Store, StoreError};

use crate::report::{Invariant, Report};
use crate::stores::{check_sequences, rows_of};
use crate::verdicts::{Counts, Verdicts, parts_of};

/// Time, numbers and counts: ten integers of 8 bytes, little endian.
const FOLD_KEY: &[u8] = b"in\0fold";
const SETTINGS_KEY: &[u8] = b"in\0settings";
const ORDER_NUMBERS: [u8; 2] = *b"on";

/// Compares a store with the model, which was folded exactly as far as the store. `undecided` is
/// the first award without its records; the store cannot stand behind it.
///
/// # Errors
/// [`StoreError`].
pub fn check_intake_store(
    store: &dyn Store,
    name: &str,
    verdicts: &Verdicts,
    report: &mut Report,
) -> Result<(), StoreError> {
    check_fold(store, name, verdicts, report)?;
    let settings = store.get(SETTINGS_KEY)?;
    report.expect(
        Invariant::I30,
        settings == verdicts.settings_json,
        format_args!("{name}: has other settings than number {}", verdicts.settings_number),
    );
    check_order_numbers(store, name, verdicts, report)?;
    check_sequences(store, name, &verdicts.written, report)
}

/// Outputs are durable before the state that made them is committed.
pub fn check_decided(name: &str, applied: Offset, undecided: Option<Offset>, report: &mut Report) {
    if let Some(undecided) = undecided.filter(|undecided| *undecided < applied) {
        report.find(
            Invariant::I6,
            format_args!("{name}: stands at {applied}, and a record of award {undecided} is missing"),
        );
    }
}

fn check_fold(
    store: &dyn Store,
    name: &str,
    verdicts: &Verdicts,
    report: &mut Report,
) -> Result<(), StoreError> {
    let row = store.get(FOLD_KEY)?.unwrap_or_else(|| vec![0; 80]);
    let (numbers, _) = row.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let Counts { read, accepted, duplicate, conflict, rejected, undecodable } = verdicts.counts;
    let counts = [read, accepted, duplicate, conflict, rejected, 0, undecodable];
    let found = numbers.get(3..).unwrap_or(&[]);
    report.expect(
        Invariant::I1,
        found == counts,
        format_args!(
            "{name}: counts {found:?}, not {counts:?} (read, accepted, duplicate, conflict, rejected, parked, undecodable)"
        ),
    );
    let times = [verdicts.now_ms, verdicts.tick_number, verdicts.settings_number].map(i64::cast_unsigned);
    let found = numbers.get(..3).unwrap_or(&[]);
    report.expect(
        Invariant::I6,
        found == times,
        format_args!("{name}: is at {found:?}, not {times:?} (time, tick, settings)"),
    );
    Ok(())
}

fn check_order_numbers(
    store: &dyn Store,
    name: &str,
    verdicts: &Verdicts,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut known = 0;
    rows_of(store, ORDER_NUMBERS, |key, digest| {
        let order_no = order_no_of(key).unwrap_or_else(|| key.escape_ascii().to_string());
        match verdicts.orders.get(order_no.as_str()) {
            Some(first) => {
                known += 1;
                report.expect(
                    Invariant::I6,
                    first.digest == digest,
                    format_args!("{name}: order {order_no} has the digest of another payload"),
                );
            }
            None => {
                report.find(
                    Invariant::I6,
                    format_args!("{name}: holds the order number {order_no}, which was not accepted"),
                );
            }
        }
    })?;
    report.checked(Invariant::I6, "order numbers", verdicts.orders.len() as u64);
    if known == verdicts.orders.len() {
        return Ok(());
    }
    for order_no in verdicts.orders.keys() {
        let [act_id, scene_id, rain_id, award_type, stage] = parts_of(order_no).unwrap_or_default();
        let key = ["on", &[scene_id, act_id, rain_id, award_type, stage].join("\0")].concat();
        let is_there = store.get(key.as_bytes())?.is_some();
        report.expect(Invariant::I6, is_there, format_args!("{name}: lacks the order number {order_no}"));
    }
    Ok(())
}

/// The order number of a key `scene \0 act \0 rain \0 type \0 stage`.
fn order_no_of(key: &[u8]) -> Option<String> {
    let parts: Vec<&str> = std::str::from_utf8(key).ok()?.split('\0').collect();
    let [scene_id, act_id, rain_id, award_type, stage] = parts[..] else { return None };
    Some([act_id, scene_id, rain_id, award_type, stage].join("_"))
}
