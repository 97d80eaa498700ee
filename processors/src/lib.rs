//! hongbao-processors.

pub mod intake;
pub mod views;
