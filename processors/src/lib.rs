//! What becomes of records: the folds, which are pure, and the writer of the records that tell them
//! time and settings.

pub mod controls;
pub mod intake;
pub mod views;
