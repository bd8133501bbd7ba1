//! Why a task was not enqueued.

use std::sync::Arc;

use jiff::Timestamp;

use crate::broker::BrokerError;
use crate::task::QueueNameError;

/// Why a task was not enqueued.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// The type is nothing but white space.
    #[error("a task's type cannot be blank")]
    BlankKind,
    /// The chosen id is nothing but white space.
    #[error("a task's id cannot be blank; leave it out to get a random one")]
    BlankId,
    /// The group's name is nothing but white space.
    #[error("a group's name cannot be blank; leave it out for a task that runs by itself")]
    BlankGroup,
    /// Its lock could end before anything else happens.
    #[error("enqueue a task that is unique for {given_ms} ms: allowed are 1 s and more")]
    UniqueTooShort {
        /// What was asked for.
        given_ms: u128,
    },
    /// The queue's name cannot be used.
    #[error("enqueue a task")]
    Queue(#[from] QueueNameError),
    /// The start lies beyond the last moment a timestamp can hold.
    #[error("enqueue a task to start in {seconds} s: that is after the year 9999")]
    TooFarAway {
        /// The delay asked for.
        seconds: u64,
    },
    /// It would have expired before it may start.
    #[error(
        "enqueue a task that is to begin before {expires} at {start}: it would never run; let it expire later"
    )]
    ExpiresBeforeStart {
        /// The time by which it must have begun.
        expires: Timestamp,
        /// When it may start.
        start: Timestamp,
    },
    /// The message is larger than what Redis stores under one key.
    #[error("enqueue a task of {bytes} bytes: Redis holds at most {limit} bytes in one value")]
    TooLarge {
        /// Bytes of the encoded message; nearly all of them are the payload.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
    /// A task with this id is in the queue already, in whatever state.
    #[error("task {id} is already in queue {queue}")]
    Conflict {
        /// The id both tasks have.
        id: String,
        /// The queue both tasks name.
        queue: String,
    },
    /// It is unique, and a task of the same type and payload is in the queue that has not ended.
    #[error("task {id} is a duplicate: {} is in queue {queue} already, with the same type and payload", held(.holder))]
    Duplicate {
        /// The id it would have had.
        id: String,
        /// The queue both tasks name.
        queue: String,
        /// The other task's id; empty when Redis does not tell.
        holder: String,
    },
    /// Redis did not take it, or did not say whether it did.
    #[error("enqueue task {id} in queue {queue}")]
    Broker {
        /// The task's id. Enqueueing again under the same id cannot store it twice.
        id: String,
        /// The queue.
        queue: String,
        /// What the broker met.
        source: Arc<BrokerError>,
    },
}

fn held(holder: &str) -> String {
    if holder.is_empty() { "another task".to_owned() } else { format!("task {holder}") }
}

impl EnqueueError {
    /// A short fixed word for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BlankKind => "BlankType",
            Self::BlankId => "BlankId",
            Self::BlankGroup => "BlankGroup",
            Self::UniqueTooShort { .. } => "UniqueTooShort",
            Self::Queue(_) => "InvalidQueueName",
            Self::TooFarAway { .. } => "TooFarAway",
            Self::ExpiresBeforeStart { .. } => "ExpiresBeforeStart",
            Self::TooLarge { .. } => "TaskTooLarge",
            Self::Conflict { .. } => "Conflict",
            Self::Duplicate { .. } => "Duplicate",
            Self::Broker { source, .. } => source.reason(),
        }
    }

    /// Whether the same task may go through later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Broker { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}
