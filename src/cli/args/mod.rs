//! Groups of flags that several commands share, and the types of their values.
//!
//! Every flag can be given by an environment variable as well, and an empty variable counts as not given.

pub mod duration;
pub mod listen;
pub mod log;
pub mod queues;
pub mod redis;

pub use duration::parse_duration;
pub use listen::Listen;
pub use log::LogArgs;
pub use queues::QueueWeights;
pub use redis::RedisArgs;
