//! What test targets share: private servers of Redis and PostgreSQL, a breaking proxy, processes that die with their test,
//! real Go peers, and waiting for a condition.
//!
//! A target takes it in at its root, publicly, so that what it does not use is no dead code:
//!
//! ```ignore
//! #[path = "../support/mod.rs"]
//! pub mod support;
//! ```

pub mod api_server;
pub mod asynqmon;
pub mod entry;
pub mod go_program;
pub mod http;
pub mod peers;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod redis_server;
pub mod redis_variant;
pub mod sink;
pub mod slow;
pub mod task;
pub mod tls;
pub mod wait;

pub use api_server::ApiServer;
pub use asynqmon::Asynqmon;
pub use peers::Peers;
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Fault, Proxy};
pub use redis_cluster::Cluster;
pub use redis_sentinel::Sentinels;
pub use redis_server::RedisServer;
pub use sink::Sink;
pub use slow::SlowCalls;
pub use wait::{eventually, until, until_blocking, until_seldom};

/// The size of a test that has a long form: `long` under `make prove`, else `short`.
pub fn full_size<T>(short: T, long: T) -> T {
    if std::env::var_os("CRONMILL_PROVE").is_some() { long } else { short }
}
