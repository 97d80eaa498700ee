//! Sinks: from accepted orders to credits downstream. The [`dispatch`] core decides who is sent
//! when and what an answer leads to; [`downstream`] is the port to whoever gives the reward, with
//! adapters for HTTP ([`http`]) and an adversarial simulation ([`simulated`]); [`limits`] bounds
//! how fast.

pub mod batch;
pub mod dispatch;
pub mod downstream;
#[cfg(test)]
mod faulty_log;
pub mod http;
pub mod journal_view;
pub mod ledger;
pub mod limits;
pub mod simulated;
