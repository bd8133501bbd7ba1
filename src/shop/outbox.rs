//! The relay: enqueues what orders left in the outbox.
//!
//! An order and its row in the outbox are one commit. A row goes once Redis has its task, and a task has its order's
//! id: so what is killed anywhere leaves either a row that the next relay finds, or a task that is there already.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::store::{Parcel, Store, StoreError};
use crate::causes;
use crate::producer::{Client, EnqueueError, Task};
use crate::telemetry::Metrics;

/// Rows that are enqueued together.
const PARCEL: i64 = 500;
/// How often rows of others, and of before, are looked for.
const LOOK: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the last round may take when the process ends; what it leaves is found at the next start.
const LAST_ROUND: Duration = Duration::from_secs(3);

/// Enqueues rows until `stop`, then what is left, as far as that goes.
pub(super) struct Relay {
    pub(super) store: Store,
    pub(super) queue: String,
    pub(super) placed: Arc<Notify>,
    pub(super) metrics: Metrics,
}

/// Why rows stay for now.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("read or clear the outbox")]
    Store(#[from] StoreError),
    #[error("enqueue a task of the outbox")]
    Enqueue(#[source] EnqueueError),
}

impl RelayError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Enqueue(error) => error.reason(),
        }
    }
}

impl Relay {
    pub(super) async fn run(self, client: Client, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        while !stop.is_cancelled() {
            let wait = match self.deliver(&client).await {
                Ok(()) => {
                    if !pause.is_zero() {
                        tracing::info!("the tasks of new orders are enqueued again");
                    }
                    pause = Duration::ZERO;
                    LOOK
                }
                // Before the tables are there nothing can be in them.
                Err(RelayError::Store(StoreError::NotReady)) => PAUSE_MIN,
                Err(error) => {
                    if pause.is_zero() {
                        let causes = causes::on_one_line(&error);
                        tracing::warn!(
                            reason = error.reason(),
                            "tasks of new orders wait in the outbox: {causes}"
                        );
                    }
                    pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                    // Less a random quarter, so that replicas do not come back in step.
                    pause.mul_f64(1.0 - fastrand::f64() / 4.0)
                }
            };
            // While it fails, more orders are no reason to try sooner.
            let placed = async {
                if pause.is_zero() { self.placed.notified().await } else { std::future::pending().await }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = placed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if !matches!(tokio::time::timeout(LAST_ROUND, self.deliver(&client)).await, Ok(Ok(()))) {
            tracing::info!("tasks of new orders are left in the outbox; the next start enqueues them");
        }
    }

    /// Enqueues all rows there are, as far as nobody else does.
    async fn deliver(&self, client: &Client) -> Result<(), RelayError> {
        loop {
            self.metrics.set_shop_outbox(self.store.count_waiting().await?);
            let parcel = self.store.pack(PARCEL).await?;
            if parcel.tasks.is_empty() {
                return Ok(());
            }
            let is_full = parcel.tasks.len() == PARCEL as usize;
            self.send(client, parcel).await?;
            if !is_full {
                self.metrics.set_shop_outbox(self.store.count_waiting().await?);
                return Ok(());
            }
        }
    }

    /// Enqueues a parcel and drops what Redis has.
    async fn send(&self, client: &Client, parcel: Parcel) -> Result<(), RelayError> {
        let task = |waiting: &super::store::Waiting| {
            Task::new(waiting.kind.clone(), Bytes::from(waiting.payload.clone()))
                .id(waiting.id.clone())
                .queue(self.queue.clone())
                .at(waiting.run_at)
        };
        let tasks = parcel.tasks.iter().map(task).collect();
        let orders: Vec<i64> = parcel.tasks.iter().map(|waiting| waiting.order).collect();
        let mut failed = None;
        let mut delivered = Vec::with_capacity(orders.len());
        for (order, outcome) in orders.into_iter().zip(client.enqueue_batch(tasks).await) {
            match outcome {
                // Somebody enqueued it and could not say so.
                Ok(_) | Err(EnqueueError::Conflict { .. }) => delivered.push(order),
                Err(error) => failed = Some(error),
            }
        }
        if !delivered.is_empty() {
            self.store.delivered(parcel, &delivered).await?;
        }
        failed.map_or(Ok(()), |error| Err(RelayError::Enqueue(error)))
    }
}
