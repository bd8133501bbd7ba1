//! asynq's own metric names, read from Redis at the time of a scrape.
//!
//! Dashboards made for asynq's exporter go on working. Two of its names end in `_total` though they are
//! gauges; they are kept as they are, because a better name would not be found by those dashboards.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::{Instant, timeout_at};

use super::labels::{DropLabels, QueueLabels, StateLabels};

/// How long one scrape may wait for all its queues together.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(2);

/// How many queues are read at a time: enough to hide the round trip, few enough not to be a burst.
const READS_AT_ONCE: usize = 16;

/// What one queue looks like at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Tasks that are being run.
    pub active: u64,
    /// Tasks ready to run.
    pub pending: u64,
    /// Tasks due later.
    pub scheduled: u64,
    /// Failed tasks that will run again.
    pub retry: u64,
    /// Tasks that failed for good.
    pub archived: u64,
    /// Done tasks kept for their retention.
    pub completed: u64,
    /// Tasks waiting in groups.
    pub aggregating: u64,
    /// Age of the oldest pending task; zero when there is none.
    pub latency: Duration,
    /// Whether nothing is taken from the queue.
    pub paused: bool,
    /// Runs ever, failed ones included.
    pub processed_total: u64,
    /// Failed runs ever.
    pub failed_total: u64,
    /// Archived tasks deleted because they were too old, ever.
    pub dropped_for_age: u64,
    /// Archived tasks deleted because there were too many, ever.
    pub dropped_for_number: u64,
}

impl QueueStats {
    /// Tasks in the queue, whatever their state.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.aggregating + self.by_state().iter().map(|(_, count)| count).sum::<u64>()
    }

    /// The states that asynq's exporter shows one by one; it leaves out `aggregating`.
    fn by_state(&self) -> [(&'static str, u64); 6] {
        [
            ("active", self.active),
            ("pending", self.pending),
            ("scheduled", self.scheduled),
            ("retry", self.retry),
            ("archived", self.archived),
            ("completed", self.completed),
        ]
    }
}

type Answer = Result<QueueStats, String>;

/// Reads one queue; the queue's name is the argument.
pub(super) type Source = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Reads `queues`, each by itself: one that fails or hangs costs only its own line, never the others.
pub(super) async fn read(source: &Source, queues: Vec<String>) -> Vec<(String, Answer)> {
    let deadline = Instant::now() + READ_LIMIT;
    let reads = queues.into_iter().map(|queue| async move {
        let answer = match timeout_at(deadline, source(queue.clone())).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", READ_LIMIT.as_secs())),
        };
        (queue, answer)
    });
    stream::iter(reads).buffered(READS_AT_ONCE).collect().await
}

/// A registry of asynq's metrics holding exactly `stats`.
pub(super) fn registry<'a>(stats: impl IntoIterator<Item = (&'a str, &'a QueueStats)>) -> Registry {
    let tasks = Family::<StateLabels, Gauge<i64>>::default();
    let size = Family::<QueueLabels, Gauge<i64>>::default();
    let latency = Family::<QueueLabels, Gauge<f64, AtomicU64>>::default();
    let paused = Family::<QueueLabels, Gauge<i64>>::default();
    let processed = Family::<QueueLabels, Counter>::default();
    let failed = Family::<QueueLabels, Counter>::default();
    let dropped = Family::<DropLabels, Counter>::default();
    for (name, stats) in stats {
        let queue = QueueLabels { queue: name.to_owned() };
        for (state, count) in stats.by_state() {
            tasks.get_or_create(&StateLabels { queue: name.to_owned(), state }).set(count as i64);
        }
        size.get_or_create(&queue).set(stats.size() as i64);
        latency.get_or_create(&queue).set(stats.latency.as_secs_f64());
        paused.get_or_create(&queue).set(i64::from(stats.paused));
        processed.get_or_create(&queue).inc_by(stats.processed_total);
        failed.get_or_create(&queue).inc_by(stats.failed_total);
        for (limit, count) in [("age", stats.dropped_for_age), ("number", stats.dropped_for_number)] {
            dropped.get_or_create(&DropLabels { queue: name.to_owned(), limit }).inc_by(count);
        }
    }
    let mut registry = Registry::default();
    registry.register("asynq_tasks_enqueued_total", "Number of tasks in the queue, by state", tasks);
    registry.register("asynq_queue_size", "Number of tasks in the queue, in all states", size);
    registry.register_with_unit(
        "asynq_queue_latency",
        "Age of the oldest pending task",
        Unit::Seconds,
        latency,
    );
    registry.register("asynq_queue_paused_total", "Whether the queue is paused: 1, else 0", paused);
    registry.register("asynq_tasks_processed", "Number of runs ever, failed ones included", processed);
    registry.register("asynq_tasks_failed", "Number of failed runs ever", failed);
    registry.register(
        "cronmill_archive_dropped",
        "Archived tasks deleted ever because the archive was over a limit",
        dropped,
    );
    registry
}
