//! The routes over logs and reads that a test has in hand.

mod publishing;
mod reading;
