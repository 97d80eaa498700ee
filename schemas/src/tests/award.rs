//! Awards: the map's other encodings, and the digest that tells duplicates from conflicts.

use apache_avro::types::Value;
use proptest::prelude::*;

use super::*;
use crate::wire::{put_long, put_str};

/// An award without pairs, and with these bytes as its map.
fn with_map(map: &[u8]) -> Vec<u8> {
    let mut award = sample_award();
    award.ext = ExtBuf::new();
    let mut record = encoded(|out| award.as_award().encode(out));
    assert_eq!(record.pop(), Some(0));
    record.extend_from_slice(map);
    record
}

proptest! {
    /// Writers in other languages may split a map into blocks, with or without sizes.
    #[test]
    fn maps_in_blocks(blocks in proptest::collection::vec((any_pairs(), any::<bool>()), 0..4)) {
        let mut map = Vec::new();
        let mut expected = Vec::new();
        for (pairs, sized) in blocks.iter().filter(|(pairs, _)| !pairs.is_empty()) {
            let mut block = Vec::new();
            for (key, value) in pairs {
                put_str(&mut block, key);
                put_str(&mut block, value);
                expected.push((key.as_str(), value.as_str()));
            }
            let count = pairs.len() as i64;
            put_long(&mut map, if *sized { -count } else { count });
            if *sized {
                put_long(&mut map, block.len() as i64);
            }
            map.extend(block);
        }
        map.push(0);
        let record = with_map(&map);
        let award = Award::decode(&record).unwrap();
        prop_assert_eq!(award.ext.iter().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(award.ext.is_empty(), expected.is_empty());
        prop_assert_eq!(encoded(|out| award.encode(out)), record.clone());

        let Some(Value::Record(fields)) = reference_decode(RecordKind::Award, &record) else { panic!("refused") };
        let later_counts: BTreeMap<&str, &str> = expected.into_iter().collect();
        let reference = fields.into_iter().find(|(name, _)| name == "ext").map(|(_, value)| value);
        let ours = later_counts.into_iter().map(|(key, value)| (key.to_owned(), text_value(value))).collect();
        prop_assert_eq!(reference, Some(Value::Map(ours)));
    }

    #[test]
    fn pairs_come_by_key_whatever_their_order(pairs in any_pairs()) {
        let ascending: ExtBuf = pairs.clone().into_iter().collect();
        let descending: ExtBuf = pairs.clone().into_iter().rev().collect();
        let mut one_by_one = ExtBuf::default();
        for (key, value) in pairs.iter().rev() {
            one_by_one.insert(key, "");
            one_by_one.insert(key, value);
        }
        prop_assert_eq!(&ascending, &descending);
        prop_assert_eq!(&ascending, &one_by_one);
        let expected: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        prop_assert_eq!(ascending.as_ext().into_iter().collect::<Vec<_>>(), expected);
    }

    /// The digest is of the four fields' Avro encoding, whichever way it is put together.
    #[test]
    fn digest_of_the_encoding(award in any_award()) {
        let mut payload = Vec::new();
        for text in [&award.activity_id, &award.reward_type, &award.reward_id] {
            put_str(&mut payload, text);
        }
        put_long(&mut payload, award.amount_minor);
        let expected = blake3::hash(&payload);
        prop_assert_eq!(award.as_award().payload_digest().to_vec(), expected.as_bytes()[..16].to_vec());
    }
}

#[test]
fn digest_tells_payloads_apart() {
    let base = sample_award();
    let digest = |change: fn(&mut AwardBuf)| {
        let mut award = base.clone();
        change(&mut award);
        award.as_award().payload_digest()
    };
    let same: [fn(&mut AwardBuf); 6] = [
        |award| award.order_no.push('x'),
        |award| award.act_id.push('x'),
        |award| award.scene_id.push('x'),
        |award| award.event_time_ms += 1,
        |award| award.app.clear(),
        |award| award.ext.insert("more", ""),
    ];
    for change in same {
        assert_eq!(digest(change), base.as_award().payload_digest());
    }
    let other: [fn(&mut AwardBuf); 6] = [
        |_| (),
        |award| award.activity_id.push('x'),
        |award| award.reward_type.push('x'),
        |award| award.reward_id.push('x'),
        |award| award.amount_minor += 1,
        |award| {
            // The same letters, split elsewhere.
            let moved = award.activity_id.remove(0);
            award.reward_type.push(moved);
        },
    ];
    let digests: std::collections::BTreeSet<_> = other.into_iter().map(digest).collect();
    assert_eq!(digests.len(), other.len());
}
