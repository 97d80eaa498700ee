//! The cases by subject.

mod fuzz;
mod load;
mod problems;
mod shipped;
mod support;
mod together;
