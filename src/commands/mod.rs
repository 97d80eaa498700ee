//! One module a group of commands.

mod demo;
mod downstream;
mod look;
pub mod offline;
mod produce;
mod rain;
mod tap;
mod token;
mod top;
mod up;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::exit::Outcome;
use crate::{audit, bench};

/// Runs the command that was given.
pub fn run(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Up(args) => up::run(&global, &args),
        Command::Validate => offline::validate(&global),
        Command::Graph { format } => offline::graph(&global, format),
        Command::Config(ConfigCommand::Show) => offline::config_show(&global),
        Command::Produce(args) => produce::run(&global, &args),
        Command::Rain(args) => rain::run(&global, &args),
        Command::Wallet { act_id } => look::wallet(&global, &act_id),
        Command::Trace { order_no } => look::trace(&global, &order_no),
        Command::Totals { group_by } => look::totals(&global, &group_by),
        Command::Lanes => look::lanes(&global),
        Command::Top { interval } => top::run(&global, interval),
        Command::Lag { max } => look::lag(&global, max),
        Command::Tap(args) => tap::run(&global, &args),
        Command::Downstream(args) => downstream::run(&args),
        Command::Token { role, name } => token::run(role, &name),
        Command::Check => audit::run(&global),
        Command::Bench(args) => bench::run(&global, &args),
    }
}
