//! An adversarial downstream with a book of its own: slow, failing before or after the effect,
//! losing answers, applying parts of a batch, forgetting keys. What it says and what it did are
//! two things; the [`book`] holds what it did, and counts double credits by itself.
//!
//! [`Simulation`] decides, [`SimulatedDownstream`] serves it in process, [`wire`] over HTTP.

pub mod adapter;
pub mod book;
pub mod decide;
pub mod file;
pub mod profile;
pub mod wire;

pub use adapter::SimulatedDownstream;
pub use book::{Book, BookCounts};
pub use decide::{AskDecision, Decision, Item, ItemReply, ItemResult, Reply, Simulation};
pub use profile::Profile;
