//! One module a kind of case.

mod agrees;
mod planted;
mod world;
