//! Intake against tables, against a naive model, and against itself in other batches.

mod board;
mod control;
mod dead_letters;
mod facts;
mod harness;
mod model;
mod rain;
mod restart;
mod task;
mod verdicts;
