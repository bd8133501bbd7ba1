//! Keeping: what a queue needs besides workers, done by one elected process per queue.
//!
//! Due and retrying tasks move to pending, tasks of dead workers come back, and what is past its time goes.
//! Every process that works on a queue runs a keeper for it; who holds the queue's turn does the work and the
//! others look again each second, so nothing strands while at least one of them lives.
//!
//! The steps themselves are atomic and safe to repeat: two keepers at once do no harm, only work twice.

mod queue;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::broker::{ArchiveLimits, Broker, Owner};
use crate::task::{Message, QueueName, default_retry_delay};

use queue::QueueKeeper;

/// Keeps some queues for as long as it runs.
pub struct Keeper {
    broker: Broker,
    queues: Vec<QueueName>,
    owner: Owner,
    archive: ArchiveLimits,
    retry_delay: Arc<RetryDelay>,
}

/// How long a task waits that has crashed its workers too often.
type RetryDelay = dyn Fn(&Message) -> Duration + Send + Sync;

impl Keeper {
    /// A keeper of these queues; `owner` tells this process from all others.
    #[must_use]
    pub fn new(broker: Broker, queues: Vec<QueueName>, owner: Owner) -> Self {
        let retry_delay = Arc::new(|task: &Message| default_retry_delay(task.retried, fastrand::u32(..)));
        Self { broker, queues, owner, archive: ArchiveLimits::default(), retry_delay }
    }

    /// How much of each queue's archive is kept. Default as asynq: 10,000 tasks for 90 days.
    #[must_use]
    pub fn archive_limits(mut self, limits: ArchiveLimits) -> Self {
        self.archive = limits;
        self
    }

    /// How long a task waits whose workers died so often that it costs an attempt. Default: asynq's delay.
    #[must_use]
    pub fn retry_delay(mut self, delay: impl Fn(&Message) -> Duration + Send + Sync + 'static) -> Self {
        self.retry_delay = Arc::new(delay);
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
