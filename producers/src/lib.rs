//! The producing side: the award library that games embed ([`bonus`], [`scene`]), the port it sends
//! through ([`sender`]), and the load generator ([`rain`]). No network, no clock of its own.

pub mod bonus;
pub mod rain;
pub mod scene;
pub mod sender;

#[cfg(test)]
mod testing;
