//! What can go wrong in local mode, beside what is wrong in a manifest.

use std::path::PathBuf;

use crate::broker::BrokerError;

/// Local mode cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Redis cannot be used.
    #[error("use Redis")]
    Broker(#[from] BrokerError),
    /// There is no Redis server to start.
    #[error(
        "start a Redis server: {program} cannot be run; install redis-server 6.2 or newer, or name a running one with --redis-url"
    )]
    NoServer {
        /// What was tried.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The private server ended at once, or does not answer.
    #[error("start a Redis server: {program} {what}")]
    ServerEnded {
        /// What was started.
        program: PathBuf,
        /// What it did instead.
        what: String,
    },
    /// A folder or file of ours cannot be made.
    #[error("prepare {path}")]
    Prepare {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl LocalError {
    /// A fixed name for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Broker(error) => error.reason(),
            Self::NoServer { .. } => "NoRedisServer",
            Self::ServerEnded { .. } => "RedisServerEnded",
            Self::Prepare { .. } => "NotPrepared",
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Broker(error) if error.is_retryable())
    }
}
