//! The model and its audits.

#[cfg(test)]
mod cases;
