//! Views as a whole: facts in, answers and rows out.

mod books;
mod commits;
mod credits;
mod journal;
mod model;
mod random;
mod reading;
mod rig;
mod stories;
mod tasks;
