//! One module a part of the contract.

mod admitting;
mod describing;
mod halting;
mod malformed;
mod publishing;
mod reading;
mod starting;
