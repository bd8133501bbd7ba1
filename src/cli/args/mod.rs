//! Groups of flags that several commands share, and the types of their values.
//!
//! Every flag can be given by an environment variable as well; the flag wins.

pub mod duration;
pub mod listen;
pub mod log;
pub mod queues;
pub mod redis;
pub mod switch;

pub use duration::parse_duration;
pub use listen::Listen;
pub use log::LogArgs;
pub use queues::QueueWeights;
pub use redis::RedisArgs;
pub use switch::parse_switch;
