//! What can go wrong in local mode, beside what is wrong in a manifest.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::broker::BrokerError;

/// Local mode cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No manifest can be put into force.
    #[error("nothing to run: every manifest is wrong, see above")]
    NothingToRun,
    /// Redis cannot be used.
    #[error("use Redis")]
    Broker(#[from] BrokerError),
    /// There is no Redis server to start.
    #[error(
        "start a Redis server: {program} cannot be run; install redis-server 6.2 or newer, name another one with \
         --redis-server, or name one that runs with --redis"
    )]
    NoServer {
        /// What was tried.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The private server ended at once, or does not answer.
    #[error("start a Redis server: {program} {what}")]
    ServerRefuses {
        /// What was started.
        program: PathBuf,
        /// What it did instead.
        what: String,
    },
    /// The private server is gone, and with it what it held.
    #[error("the private Redis server ended by itself ({status})")]
    ServerEnded {
        /// How it ended.
        status: ExitStatus,
    },
    /// A folder of ours cannot be made.
    #[error("prepare {path}")]
    Prepare {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The process that ends what we started, should we be killed, cannot be started.
    #[error("start {program} as a guard")]
    Guard {
        /// Our own program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// One of our own loops ended.
    #[error("{part} ended by itself; this is a bug")]
    PartEnded {
        /// Which.
        part: &'static str,
    },
}

impl LocalError {
    /// A fixed name for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NothingToRun => "NothingToRun",
            Self::Broker(error) => error.reason(),
            Self::NoServer { .. } => "NoRedisServer",
            Self::ServerRefuses { .. } => "RedisServerRefuses",
            Self::ServerEnded { .. } => "RedisServerEnded",
            Self::Prepare { .. } => "NotPrepared",
            Self::Guard { .. } => "NoGuard",
            Self::PartEnded { .. } => "PartEnded",
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retryable(),
            Self::NothingToRun | Self::NoServer { .. } => false,
            Self::ServerRefuses { .. }
            | Self::ServerEnded { .. }
            | Self::Prepare { .. }
            | Self::Guard { .. }
            | Self::PartEnded { .. } => true,
        }
    }
}
