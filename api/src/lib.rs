//! The HTTP side: takes awards into the log, serves projections, and never grows without bound.
//!
//! It knows the log (to append) and a [`reads::Reads`] (to look); what folds stand behind it is
//! the binary's affair.

mod admission;
mod auth;
mod awards;
mod body;
mod in_flight;
mod metrics;
pub mod model;
mod params;
mod problem;
mod queries;
pub mod reads;
mod routes;
mod server;
mod topics;

#[cfg(test)]
mod tests;

pub use auth::{Role, TokenError, Tokens};
pub use metrics::{Kind, Sample};
pub use server::{ApiOptions, ServeError, Server};
