//! The topology compiler: `topology.yaml` (what flows where and how fast) and `campaigns/*.yaml`
//! (what is given) become a checked [`Topology`] and the settings that folds work by (R6, R8,
//! R11, W2). Every fault of all files is reported at once, with file, line, column, a stable code
//! and help; [`compile`] does no I/O, only [`load`] reads files.

mod compile;
#[cfg(test)]
mod documented;
mod graph;
mod interpolate;
mod keys;
pub mod limits;
mod load;
mod model;
mod node;
mod parse;
mod problem;
mod render;
mod show;
mod source;
mod text;
mod units;
mod walk;

pub use compile::{File, compile};
pub use graph::{GraphFormat, UnknownFormat, graph};
pub use interpolate::{Lookup, VARIABLE_BYTES_MAX};
pub use load::load;
pub use model::{
    Campaign, Delivery, Downstream, DownstreamKind, Http, HttpDownstream, Lane, Pool, RewardType, Scene,
    Segments, Simulated, Topology, Views,
};
pub use parse::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};
pub use problem::{Code, PROBLEMS_MAX, Problem};
pub use render::render;
pub use show::{ShownFile, show, show_files};
pub use text::{BILL_TEXT_CHARS_MAX, ID_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, is_loopback};
