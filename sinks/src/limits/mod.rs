//! How fast orders may leave: [`rate::Limiter`] bounds one stream, [`pool::Pool`] shares one bound
//! among lanes by rank.

pub mod pool;
pub mod rate;
