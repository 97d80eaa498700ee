//! The load generator says what intake makes of each delivery; intake agrees.

use hongbao_producers::rain::{Expected, Profile, Rain, Tally};
use hongbao_schemas::settings::Settings;

use super::harness::{Harness, PARTITION, PARTITIONS, settings_json};
use crate::intake::{Counts, Verdict};

#[test]
fn a_rain_gets_the_verdicts_it_expects() {
    let settings = Settings::from_json(settings_json(1).as_bytes()).unwrap();
    for name in Profile::NAMES {
        let mut rain = Rain::new(&Profile::named(name).unwrap(), &settings, 11, 60_000).unwrap();
        let (mut harness, mut tally) = (Harness::with_settings(), Tally::default());
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        while let Some(delivery) = rain.next_delivery() {
            let partition = hongbao_engine::partition::partition_of(delivery.act_id.as_bytes(), PARTITIONS);
            if partition == PARTITION {
                batch.push(delivery.award.to_vec());
                expected.push(delivery.expected);
                tally.count(delivery.expected);
            }
            if batch.len() == 1_500 || rain.left() == 0 {
                let verdicts = harness.feed(&std::mem::take(&mut batch));
                let expected = std::mem::take(&mut expected);
                assert_eq!(verdicts, expected.into_iter().map(verdict).collect::<Vec<_>>(), "{name}");
                harness.commit();
            }
        }
        let Tally { accepted, duplicate, conflict, rejected, undecodable } = tally;
        assert!(conflict > 0 && rejected > 0, "{tally:?}");
        let read = accepted + duplicate + conflict + rejected + undecodable;
        let counts = Counts { read, accepted, duplicate, conflict, rejected, parked: 0, undecodable };
        assert_eq!(harness.board.counts(), counts, "{name}");
    }
}

fn verdict(expected: Expected) -> Verdict {
    match expected {
        Expected::Accepted => Verdict::Accepted,
        Expected::Duplicate => Verdict::Duplicate,
        Expected::Conflict => Verdict::Conflict,
        Expected::Rejected(refusal) => Verdict::Rejected(refusal),
        Expected::Undecodable => Verdict::Undecodable,
    }
}
