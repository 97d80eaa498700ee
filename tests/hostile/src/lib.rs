//! What must hold of every decoder, whatever bytes it is given: no panic, a round trip where
//! decoding succeeds, and memory bounded by the size of the input (I8, I27, I29, F30, F37).
//!
//! One function a decoder, used twice: the replay of the corpora (`cargo test`), and the fuzzers
//! in `fuzz/`, which also measure memory. A broken property panics with `violation: ` in front.

mod answers;
mod http;
mod json;
mod meter;
mod records;
mod reference;
mod rows;
mod segment_files;
mod segments;
mod small_files;
mod topology;
mod writers;

pub use meter::{Meter, install_meter};
pub use rows::pack as pack_rows;
pub use segments::clean as remove_files;

/// A decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, also of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Largest input worth trying, in bytes.
    pub input_bytes_max: usize,
    /// Checks everything that must hold for one input.
    pub check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 19] = [
    Target { name: "award", input_bytes_max: 4096, check: records::award },
    Target { name: "journal", input_bytes_max: 4096, check: records::journal },
    Target { name: "record", input_bytes_max: 4096, check: records::record },
    Target { name: "order_no", input_bytes_max: 256, check: records::order_no },
    Target { name: "writer_schema", input_bytes_max: 4096, check: writers::record },
    Target { name: "container", input_bytes_max: 4096, check: writers::container },
    Target { name: "award_json", input_bytes_max: 4096, check: json::awards },
    Target { name: "settings", input_bytes_max: 4096, check: json::settings },
    Target { name: "rain_profile", input_bytes_max: 4096, check: json::rain_profile },
    Target { name: "topology", input_bytes_max: 8192, check: topology::compile },
    Target { name: "segments", input_bytes_max: 16384, check: segments::open },
    Target { name: "meta", input_bytes_max: 512, check: small_files::meta },
    Target { name: "book", input_bytes_max: 1024, check: small_files::book },
    Target { name: "answer", input_bytes_max: 4096, check: answers::answer },
    Target { name: "wire", input_bytes_max: 4096, check: answers::wire },
    Target { name: "http", input_bytes_max: 4096, check: http::request },
    Target { name: "views_rows", input_bytes_max: 4096, check: rows::views },
    Target { name: "intake_rows", input_bytes_max: 4096, check: rows::intake },
    Target { name: "ledger_rows", input_bytes_max: 4096, check: rows::ledger },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
