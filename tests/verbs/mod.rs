//! One module a group of commands.

mod calling;
mod looking;
mod offline;
mod sending;
mod serving;
mod tapping;
