//! What the process tells about itself: logs, metrics, liveness and readiness.
//!
//! Every metric name of the project stands in [`metrics`] and [`queue_stats`], every log set-up in
//! [`logging`]. Domain types do not belong here: callers translate their outcomes into the closed label
//! sets of [`labels`], so that a metric can never grow a series per object, task or error text.
//!
//! Called by the loops (to record) and by the command line (to set up and to serve).

pub mod error;
mod exposition;
pub mod health;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod queue_stats;
pub mod server;

pub use error::TelemetryError;
pub use health::{Health, Readiness};
pub use labels::TaskOutcome;
pub use logging::{LogFormat, init_tracing};
pub use metrics::{Metrics, QueueMetrics};
pub use queue_stats::QueueStats;
pub use server::{bind, serve};

#[cfg(test)]
mod tests;
