//! Keeping: what a queue needs besides workers, done by one elected process per queue.
//!
//! Due and retrying tasks move to pending, tasks of dead workers come back, and what is past its time goes.
//! Every process that works on a queue runs a keeper for it; who holds the queue's turn does the work and the
//! others look again each second, so nothing strands while at least one of them lives.
//!
//! The steps themselves are atomic and safe to repeat: two keepers at once do no harm, only work twice.

mod doors;
mod queue;
mod several;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{ArchiveLimits, Broker, Dropped, Owner};
use crate::task::{Message, QueueName, default_retry_delay};

use queue::QueueKeeper;
pub use several::Keepers;

/// Keeps some queues for as long as it runs.
pub struct Keeper {
    broker: Broker,
    queues: Vec<QueueName>,
    owner: Owner,
    archive: ArchiveLimits,
    retry_delay: Arc<RetryDelay>,
    on_drop: Option<Arc<OnDrop>>,
    on_expired: Option<Box<OnExpired>>,
    /// Where it waits while there is nothing to keep.
    door: Option<watch::Receiver<bool>>,
}

/// Who hears of tasks that the limits of an archive cost.
type OnDrop = dyn Fn(&QueueName, Dropped) + Send + Sync;

/// How long a task waits that has crashed its workers too often.
type RetryDelay = dyn Fn(&Message) -> Duration + Send + Sync;
/// Is told how many tasks of a queue were archived because nobody had begun them in time.
type OnExpired = dyn Fn(&QueueName, usize) + Send + Sync;

impl Keeper {
    /// A keeper of these queues; `owner` tells this process from all others.
    #[must_use]
    pub fn new(broker: Broker, queues: Vec<QueueName>, owner: Owner) -> Self {
        let retry_delay = Arc::new(|task: &Message| default_retry_delay(task.retried, fastrand::u32(..)));
        let archive = ArchiveLimits::default();
        Self { broker, queues, owner, archive, retry_delay, on_drop: None, on_expired: None, door: None }
    }

    /// How much of each queue's archive is kept. Default as asynq: 10,000 tasks for 90 days.
    #[must_use]
    pub fn archive_limits(mut self, limits: ArchiveLimits) -> Self {
        self.archive = limits;
        self
    }

    /// Calls this when the limits of a queue's archive have cost tasks. It must not block.
    #[must_use]
    pub fn on_drop(mut self, hear: impl Fn(&QueueName, Dropped) + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Arc::new(hear));
        self
    }

    /// How long a task waits whose workers died so often that it costs an attempt. Default: asynq's delay.
    #[must_use]
    pub fn retry_delay(mut self, delay: impl Fn(&Message) -> Duration + Send + Sync + 'static) -> Self {
        self.retry_delay = Arc::new(delay);
        self
    }

    /// Calls `callback` with the number of a queue's tasks that were archived because nobody had begun them in time.
    #[must_use]
    pub fn on_expired(mut self, callback: impl Fn(&QueueName, usize) + Send + Sync + 'static) -> Self {
        self.on_expired = Some(Box::new(callback));
        self
    }

    /// Waits at this door whenever all is done.
    fn behind(mut self, door: watch::Receiver<bool>) -> Self {
        self.door = Some(door);
        self
    }

    /// Keeps until `token` is cancelled. Errors of Redis are logged and waited out, they never end it.
    ///
    /// Cancel-safe: dropping the future at any point leaves every queue consistent.
    pub async fn run(self, token: CancellationToken) {
        join_all(self.queues.iter().map(|queue| QueueKeeper::new(&self, queue).run(&token))).await;
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("queues", &self.queues).finish_non_exhaustive()
    }
}
