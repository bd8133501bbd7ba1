//! What the worker shows of itself: metrics of its attempts and queues, and whether it is ready.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::cli::scrape;
use crate::task::{QueueName, QueueWeights};
use crate::telemetry::{Metrics, QueueMetrics, Readiness, TaskOutcome};
use crate::worker::{AttemptEvent, AttemptResult, Events, WorkerStats};

/// How far the worker is in its life; clones share it.
///
/// Ready from the first connection until draining, and in between whatever Redis does: a worker that holds
/// tasks must not look idle because Redis is away, and one that holds none is taken out of nothing by it.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    connected: Arc<AtomicBool>,
    drain: CancellationToken,
}

impl Phase {
    pub(super) fn new(drain: CancellationToken) -> Self {
        Self { connected: Arc::default(), drain }
    }

    pub(super) fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn readiness(&self) -> Readiness {
        if self.drain.is_cancelled() {
            Readiness::NotReady("draining".into())
        } else if self.connected.load(Ordering::Relaxed) {
            Readiness::Ready
        } else {
            Readiness::NotReady("redis was not reached yet".into())
        }
    }
}

/// Records every attempt.
pub(super) struct AttemptMetrics {
    metrics: Metrics,
    queues: HashMap<QueueName, QueueMetrics>,
}

impl AttemptMetrics {
    pub(super) fn new(metrics: &Metrics, queues: &QueueWeights) -> Self {
        let queues = queues.iter().map(|(name, _)| (name.clone(), metrics.queue(name.as_str()))).collect();
        Self { metrics: metrics.clone(), queues }
    }
}

impl Events for AttemptMetrics {
    fn attempt(&self, event: &AttemptEvent<'_>) {
        let Some(outcome) = outcome(event.result) else {
            self.metrics.lease_lost();
            return;
        };
        if outcome == TaskOutcome::Quarantined {
            self.metrics.undecodable_message();
        }
        let Some(queue) = self.queues.get(event.queue) else { return };
        queue.finished(outcome);
        if let Some(wait) = event.queue_wait {
            queue.waited(wait);
        }
        // Zero says that no handler ran.
        if !event.run_time.is_zero() {
            queue.ran(event.run_time);
        }
    }

    fn expired(&self, queue: &QueueName, tasks: usize) {
        if let Some(queue) = self.queues.get(queue) {
            (0..tasks).for_each(|_| queue.finished(TaskOutcome::Expired));
        }
    }
}

/// The label of a result; `None` for the one that is no finish.
fn outcome(result: AttemptResult) -> Option<TaskOutcome> {
    Some(match result {
        AttemptResult::Succeeded => TaskOutcome::Succeeded,
        AttemptResult::Revoked => TaskOutcome::Revoked,
        AttemptResult::Retried => TaskOutcome::Retried,
        AttemptResult::Archived => TaskOutcome::Archived,
        AttemptResult::Requeued => TaskOutcome::Requeued,
        AttemptResult::Quarantined => TaskOutcome::Quarantined,
        AttemptResult::Cancelled => TaskOutcome::Cancelled,
        AttemptResult::Snoozed => TaskOutcome::Snoozed,
        AttemptResult::Unserved => TaskOutcome::Unserved,
        AttemptResult::Expired => TaskOutcome::Expired,
        AttemptResult::Lost => return None,
    })
}

/// Shows the queues' state and the worker's gauges at each scrape.
pub(super) fn show(metrics: &Metrics, broker: &Broker, stats: Arc<WorkerStats>, slots: usize) {
    metrics.set_worker_slots(slots);
    let clock = broker.clone();
    metrics.refresh_with(move |metrics| {
        metrics.set_worker_busy_slots(stats.running());
        metrics.set_redis_clock_offset(clock.clock_offset().as_secs_f64());
    });
    scrape::show_queues(metrics, broker);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ready_from_its_first_connection_until_it_drains() {
        let drain = CancellationToken::new();
        let phase = Phase::new(drain.clone());
        assert_eq!(phase.readiness(), Readiness::NotReady("redis was not reached yet".into()));
        phase.connected();
        assert_eq!(phase.readiness(), Readiness::Ready);
        drain.cancel();
        assert_eq!(phase.readiness(), Readiness::NotReady("draining".into()));
    }
}
