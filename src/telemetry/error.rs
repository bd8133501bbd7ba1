//! What can go wrong while logs and metrics are set up or served.

use std::io;
use std::net::SocketAddr;

/// Setting up or serving telemetry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The log filter is not of the form `level` or `target=level,…`.
    #[error(
        "read the log filter {filter:?} (allowed: off, error, warn, info, debug, trace, or target=level,…)"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before in this process.
    #[error("set up logging a second time")]
    AlreadySetUp(#[source] tracing_subscriber::util::TryInitError),
    /// The address for metrics and probes cannot be listened on.
    #[error("listen on {addr} for metrics and probes")]
    Bind {
        /// The wanted address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The server for metrics and probes ended by itself.
    #[error("serve metrics and probes")]
    Serve(#[source] io::Error),
}

impl TelemetryError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "InvalidLogFilter",
            Self::AlreadySetUp(_) => "LoggingTwice",
            Self::Bind { .. } => "CannotListen",
            Self::Serve(_) => "ServingFailed",
        }
    }

    /// Whether the same call may succeed later without a change of configuration.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::Serve(_))
    }
}
