//! How many deliveries a core makes.
//!
//! `cargo run --release -p hongbao-producers --example rain_rate -- [awards]`

use std::error::Error;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_producers::rain::{Profile, Rain, Tally};
use hongbao_schemas::settings::Settings;

const SETTINGS: &[u8] = br#"{
    "number": 1, "name": "rate",
    "reward_types": {
        "cash": {"asset": "CNY/2", "max_minor": 20000, "lane": "cash"},
        "coupon.film": {"asset": "COUPON/0", "max_minor": 1, "lane": "coupon"}},
    "activities": {"spring-2027": {"scenes": {
        "rain-1": {"reward_type": "cash", "text": "rain", "reconcile": true},
        "film-1": {"reward_type": "coupon.film", "text": "film", "reconcile": false}}}},
    "reconcile_overdue_after_ms": 900000}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let total: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 5_000_000,
    };
    let settings = Settings::from_json(SETTINGS)?;
    let clock = SystemClock::new();
    for name in Profile::NAMES {
        let mut rain = Rain::new(&Profile::named(name)?, &settings, 7, total)?;
        let (mut tally, mut bytes) = (Tally::default(), 0);
        let start = clock.monotonic();
        while let Some(delivery) = rain.next_delivery() {
            tally.count(delivery.expected);
            bytes += delivery.award.len();
        }
        let took_s = (clock.monotonic() - start).as_secs_f64();
        println!("{name}: {:.2} M/s, {bytes} bytes, {tally:?}", total as f64 / took_s / 1e6);
    }
    Ok(())
}
