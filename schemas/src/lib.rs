//! What crosses a boundary: records on topics and their bytes, awards as JSON, order numbers,
//! money, settings. Nothing here does I/O or reads a clock.
//!
//! A record is Avro single-object encoded: `C3 01`, the CRC-64-AVRO fingerprint of its schema
//! (little endian), the body and nothing after it. The `.avsc` files in `schemas/avsc` are the
//! source; the codecs here are hand-written, borrow from the input, allocate nothing to decode, and
//! are tested byte for byte against `apache-avro`. Files in `schemas/golden` freeze the bytes.

pub mod award;
pub mod award_json;
pub mod container;
pub mod control;
pub mod dead_letter;
pub mod ext;
pub mod journal;
pub mod limits;
pub mod money;
pub mod order;
pub mod order_no;
pub mod order_state;
pub mod record;
pub mod refusal;
pub mod render;
pub mod settings;
mod wire;
pub mod writer_schemas;

pub use wire::DecodeError;

#[cfg(test)]
mod tests;
