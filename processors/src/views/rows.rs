//! Keys of the views' rows. Two bytes name a kind and never change; numbers in keys are big endian.
//!
//! | key | row |
//! | --- | --- |
//! | `ag` group | names and sums of a group ([`super::groups`]) |
//! | `ar` order number | its last refusal by intake |
//! | `as` asset | name of an asset |
//! | `bk` group, minute | open orders accepted in that minute (W16) |
//! | `cb` lane, bucket of sequences, journal offset | what one credit fact said of these orders |
//! | `cf` order number | how often it came with another payload, and the last of these |
//! | `cl` lane | where the lane's orders stand ([`super::lanes`]) |
//! | `co` source | who opened a source last |
//! | `cr` reason | text of a reason |
//! | `cs` | settings in force |
//! | `ct` | time and counters |
//! | `cx` lane, sequence | an order refused downstream, or reported |
//! | `en` lane, sequence | an order's details, written once ([`super::entry`]) |
//! | `or` order number by scene | lane and sequence of an accepted order |
//! | `us` `act_id` | a person's balances and newest entries ([`super::user`]) |
//!
//! The many rows are of the last three kinds. The others sort before them, so that a commit makes
//! one small run of all of these, one of `en` for each lane, which the store only appends, and one
//! each of `or` and `us`.

use hongbao_schemas::order_no::OrderNo;

use super::entry::Pointer;

pub(super) type Kind = [u8; 2];

pub(super) const GROUP: Kind = *b"ag";
pub(super) const REJECTED: Kind = *b"ar";
pub(super) const ASSET: Kind = *b"as";
pub(super) const BUCKET: Kind = *b"bk";
pub(super) const BATCH: Kind = *b"cb";
pub(super) const CONFLICT: Kind = *b"cf";
pub(super) const LANE: Kind = *b"cl";
pub(super) const OPENED: Kind = *b"co";
pub(super) const REASON: Kind = *b"cr";
pub(super) const SETTINGS: Kind = *b"cs";
pub(super) const TIME: Kind = *b"ct";
pub(super) const EXCEPTION: Kind = *b"cx";
pub(super) const ENTRY: Kind = *b"en";
pub(super) const ORDER: Kind = *b"or";
pub(super) const USER: Kind = *b"us";

/// Sequences that share one bucket of `cb` rows, as a power of two.
pub(super) const BATCH_BUCKET_SHIFT: u32 = 12;

/// The bucket of `cb` rows that a sequence belongs to.
pub(super) const fn batch_bucket(seq: u64) -> u64 {
    seq >> BATCH_BUCKET_SHIFT
}

/// The first key after all of a kind.
pub(super) const fn end_of(kind: Kind) -> Kind {
    [kind[0], kind[1] + 1]
}

/// Key of a row that has a name.
pub(super) fn named_key(kind: Kind, name: &str) -> Vec<u8> {
    [&kind[..], name.as_bytes()].concat()
}

/// Key of a row numbered with 16 bits.
pub(super) fn u16_key(kind: Kind, number: u16) -> [u8; 4] {
    let n = number.to_be_bytes();
    [kind[0], kind[1], n[0], n[1]]
}

/// Key of a row numbered with 32 bits.
pub(super) fn u32_key(kind: Kind, number: u32) -> [u8; 6] {
    let n = number.to_be_bytes();
    [kind[0], kind[1], n[0], n[1], n[2], n[3]]
}

/// Key of an `en` or `cx` row.
pub(super) fn seq_key(kind: Kind, at: Pointer) -> [u8; 12] {
    let mut key = [0; 12];
    key[..2].copy_from_slice(&kind);
    key[2..4].copy_from_slice(&at.lane().to_be_bytes());
    key[4..].copy_from_slice(&at.seq().to_be_bytes());
    key
}

/// Key of a `bk` row.
pub(super) fn bucket_key(group: u32, minute: u32) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&BUCKET);
    key[2..6].copy_from_slice(&group.to_be_bytes());
    key[6..].copy_from_slice(&minute.to_be_bytes());
    key
}

/// Key of a `cb` row.
pub(super) fn batch_key(lane: u16, bucket: u64, journal_offset: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..2].copy_from_slice(&BATCH);
    key[2..4].copy_from_slice(&lane.to_be_bytes());
    key[4..12].copy_from_slice(&bucket.to_be_bytes());
    key[12..].copy_from_slice(&journal_offset.to_be_bytes());
    key
}

/// Appends the key of an `or` row: by scene first, so that a finished scene is one range.
pub(super) fn push_order_key(out: &mut Vec<u8>, order_no: &str) {
    out.extend_from_slice(&ORDER);
    match OrderNo::parse(order_no) {
        Ok(parsed) => parsed.store_key(out),
        // Intake accepts none of these; one that is there must be found all the same.
        Err(_) => out.extend_from_slice(order_no.as_bytes()),
    }
}

/// The last eight bytes of a key as a number.
pub(super) fn tail_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The last four bytes of a key as a number.
pub(super) fn tail_u32(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}
