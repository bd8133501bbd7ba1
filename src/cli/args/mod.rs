//! Groups of flags that several commands share, and the types of their values.
//!
//! Flags of programs that run on can be given by environment variables as well; the flag wins. Both win over a file.

pub mod config;
pub mod connection;
pub mod duration;
pub mod listen;
pub mod log;
pub mod moment;
pub mod object;
pub mod output;
pub mod redis;
pub mod switch;

pub use config::{FileNotes, Given, PathArg};
pub use connection::ConnectionArgs;
pub use duration::parse_duration;
pub use listen::Listen;
pub use log::LogArgs;
pub use moment::{Moment, parse_timestamp};
pub use object::ObjectName;
pub use output::OutputArgs;
pub use redis::RedisArgs;
pub use switch::parse_switch;
