//! The dispatcher against a log in memory, a small fold of the journal, and downstreams that do
//! what a test says.

mod breaking;
mod crashes;
mod gaps;
mod halting;
mod held_up;
mod kit;
mod limits;
mod opening;
mod outcomes;
mod replaced;
mod view;
