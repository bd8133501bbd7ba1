//! What runs: a task's message, its states, its retry delay, and their encoding on the wire.
//!
//! Pure: no I/O, no clocks, nothing asynchronous. Everything above imports this module; it imports nothing
//! of ours. The encoding is asynq's (protobuf, package `asynq`), so Go producers and workers read what we
//! write and the other way round.

mod expiry;
mod message;
mod monitor;
mod queue_weights;
mod retry;
mod state;

pub use expiry::EXPIRES_HEADER;
pub use message::{DecodeError, Header, Message, QueueName, QueueNameError, UNDECODABLE_TYPE};
pub use monitor::{
    ProtoTimestamp, QueueWeight, SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, WorkerInfo,
};
pub use queue_weights::{QueueWeights, QueueWeightsError};
pub use retry::default_retry_delay;
pub use state::State;

/// Retries a task gets when its producer names none (asynq's default).
pub const DEFAULT_MAX_RETRY: i32 = 25;
/// Seconds one attempt may take when its producer names neither timeout nor deadline (asynq's default).
pub const DEFAULT_TIMEOUT_S: i64 = 1800;
/// The queue used when none is named.
pub const DEFAULT_QUEUE: &str = "default";

#[cfg(test)]
mod tests;
