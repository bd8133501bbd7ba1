//! What Redis is asked each time somebody reads `/metrics`.

use crate::broker::{Broker, BrokerError, QueueSummary};
use crate::task::QueueName;
use crate::telemetry::{Metrics, QueueStats};

/// Shows what a Redis knows: its queues, and how far its clock is from ours.
pub(super) fn show(metrics: &Metrics, broker: &Broker) {
    show_queues(metrics, broker);
    let clock = broker.clone();
    metrics.refresh_with(move |metrics| metrics.set_redis_clock_offset(clock.clock_offset().as_secs_f64()));
}

/// Shows the state of the queues that `metrics` knows, in asynq's names.
pub(super) fn show_queues(metrics: &Metrics, broker: &Broker) {
    let broker = broker.clone();
    metrics.show_queue_stats(move |name| {
        let broker = broker.clone();
        async move {
            let queue = QueueName::new(&name)?;
            Ok::<_, BrokerError>(queue_stats(&broker.queue_summary(&queue).await?))
        }
    });
}

fn queue_stats(summary: &QueueSummary) -> QueueStats {
    QueueStats {
        active: summary.active,
        pending: summary.pending,
        scheduled: summary.scheduled,
        retry: summary.retry,
        archived: summary.archived,
        completed: summary.completed,
        aggregating: summary.aggregating,
        latency: summary.wait,
        paused: summary.paused.is_some(),
        processed_total: summary.processed_total,
        failed_total: summary.failed_total,
        dropped_for_age: summary.dropped.age,
        dropped_for_number: summary.dropped.number,
    }
}
