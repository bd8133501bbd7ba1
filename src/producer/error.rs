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

impl EnqueueError {
    /// A short fixed word for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BlankKind => "BlankType",
            Self::BlankId => "BlankId",
            Self::Queue(_) => "InvalidQueueName",
            Self::TooFarAway { .. } => "TooFarAway",
            Self::ExpiresBeforeStart { .. } => "ExpiresBeforeStart",
            Self::TooLarge { .. } => "TaskTooLarge",
            Self::Conflict { .. } => "Conflict",
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
