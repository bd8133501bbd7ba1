//! What a handler is given: its task and the attempt it is running.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::HandlerError;
use super::attempt::{Attempt, BlockingGuard};
use super::cancel::CancelReason;
use crate::broker::BrokerError;
use crate::broker::Outage;
use crate::task::{Message, QueueName};

/// The task a handler runs. Derefs to its [`Message`]. Cheap to clone.
#[derive(Clone)]
pub struct Task(Arc<Attempt>);

impl Task {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.message.kind
    }

    /// The handler's input. Clones share the bytes.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.message.payload
    }
}

impl Deref for Task {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0.message
    }
}

/// Shows everything but the payload, which may be confidential.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("queue", &self.queue)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The attempt a handler is running. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Attempt>);

impl Context {
    pub(super) fn new(attempt: &Arc<Attempt>) -> (Self, Task) {
        (Self(Arc::clone(attempt)), Task(Arc::clone(attempt)))
    }

    /// The task's id, unique within its queue and the same at each attempt.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.message.id
    }

    /// The task's type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.message.kind
    }

    /// The queue it was claimed from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        self.0.queue_name()
    }

    /// Retries used before this attempt: 0 at the first.
    #[must_use]
    pub fn attempt(&self) -> i32 {
        self.0.message.retried
    }

    /// Retries that may follow a failure, all attempts together.
    #[must_use]
    pub fn max_retry(&self) -> i32 {
        self.0.message.max_retry
    }

    /// When this attempt is told to stop: the earlier of its timeout and the task's deadline.
    ///
    /// A task that names neither, which only another program can write, gets half an hour.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.0.limit.at
    }

    /// When this attempt began, by Redis's clock.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    /// One of the task's headers.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.message.header(name)
    }

    /// The task's headers, sorted by name.
    #[must_use]
    pub fn headers(&self) -> std::collections::BTreeMap<String, String> {
        self.0.message.header_map()
    }

    /// Resolves when the attempt is told to stop, with the reason. Cancel-safe.
    ///
    /// The handler then has the worker's grace (5 s, 1 s at a shutdown) to return before it is dropped at its
    /// next await. `Ok` within that time counts as success.
    pub async fn cancelled(&self) -> CancelReason {
        self.0.cancel.thrown().await
    }

    /// Whether the attempt was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    /// Why the attempt was told to stop.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.0.cancel.reason()
    }

    /// Writes the task's result.
    #[must_use]
    pub fn result_writer(&self) -> ResultWriter {
        ResultWriter(Arc::clone(&self.0))
    }

    /// Runs code that blocks its thread, on a thread of its own.
    ///
    /// Nothing can stop such code from outside. It should ask [`is_cancelled`](Self::is_cancelled) now and then;
    /// until it has ended, its slot stays taken and its task stays ours, also after the handler was dropped.
    /// A closure that has not begun by then never does.
    ///
    /// # Errors
    /// A failure with the text `panic: …` when the code panics.
    pub async fn run_blocking<T, F>(&self, code: F) -> Result<T, HandlerError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let guard = BlockingGuard::new(Arc::clone(&self.0));
        let running = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            code()
        });
        match AbortOnDropHandle::new(running).await {
            Ok(value) => Ok(value),
            Err(error) => Err(match error.try_into_panic() {
                Ok(panic) => HandlerError::from_panic(panic),
                Err(error) => HandlerError::from(error),
            }),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("kind", &self.kind())
            .field("queue", self.queue())
            .field("cancelled", &self.cancel_reason())
            .finish_non_exhaustive()
    }
}

/// Writes a task's result, which is kept for the task's retention once it has succeeded.
#[derive(Clone)]
pub struct ResultWriter(Arc<Attempt>);

impl ResultWriter {
    /// Replaces the result by these bytes.
    ///
    /// While Redis does not answer it tries again, until the attempt is told to stop. Cancel-safe: the result
    /// is either written or not.
    ///
    /// # Errors
    /// [`ResultError`] when the attempt was told to stop, is no longer ours, or Redis refuses the bytes.
    pub async fn write(&self, result: impl AsRef<[u8]>) -> Result<(), ResultError> {
        let attempt = &self.0;
        let home = &attempt.home;
        let mut outage = Outage::new("write a task's result");
        loop {
            if let Some(reason) = attempt.cancel.reason() {
                return Err(ResultError::Cancelled { reason });
            }
            let written = home
                .broker
                .write_result(attempt.queue_name(), &home.owner, &attempt.message.id, result.as_ref())
                .await;
            match written {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    attempt.lose();
                    return Err(ResultError::Lost);
                }
                Err(error) if !error.is_retryable() => return Err(ResultError::Broker(error)),
                Err(error) => {
                    let pause = outage.failed(&error);
                    tokio::select! {
                        _ = attempt.cancel.thrown() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// The id of the task whose result it writes.
    #[must_use]
    pub fn task_id(&self) -> &str {
        &self.0.message.id
    }
}

impl fmt::Debug for ResultWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResultWriter").field(&self.task_id()).finish()
    }
}

/// Why a result was not written.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The attempt was told to stop.
    #[error("write the task's result: the attempt was told to stop ({reason})")]
    Cancelled {
        /// Why.
        reason: CancelReason,
    },
    /// The task belongs to somebody else now.
    #[error("write the task's result: the task is no longer ours")]
    Lost,
    /// Redis refused the bytes.
    #[error("write the task's result")]
    Broker(#[source] BrokerError),
}

impl ResultError {
    /// A short fixed word for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cancelled { .. } => "Cancelled",
            Self::Lost => "Lost",
            Self::Broker(source) => source.reason(),
        }
    }

    /// Never: whatever passes by itself was waited for.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}
