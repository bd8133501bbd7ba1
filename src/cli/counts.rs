//! Numbers of queues, as printed.

use serde::Serialize;

use crate::broker::QueueSummary;

/// Tasks of a queue, or of several, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ByState {
    pub(super) pending: u64,
    pub(super) active: u64,
    pub(super) scheduled: u64,
    pub(super) retry: u64,
    pub(super) archived: u64,
    pub(super) completed: u64,
    /// In groups; estimated beyond a hundred groups of one queue.
    pub(super) aggregating: u64,
}

/// Numbers of a queue, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    #[serde(flatten)]
    pub(super) tasks: ByState,
    /// Attempts ended today (UTC), failures included.
    pub(super) processed_today: u64,
    pub(super) failed_today: u64,
    /// Attempts ended ever.
    pub(super) processed_total: u64,
    pub(super) failed_total: u64,
}

impl From<&QueueSummary> for ByState {
    fn from(queue: &QueueSummary) -> Self {
        Self {
            pending: queue.pending,
            active: queue.active,
            scheduled: queue.scheduled,
            retry: queue.retry,
            archived: queue.archived,
            completed: queue.completed,
            aggregating: queue.aggregating,
        }
    }
}

impl From<&QueueSummary> for Counts {
    fn from(queue: &QueueSummary) -> Self {
        Self {
            tasks: queue.into(),
            processed_today: queue.processed_today,
            failed_today: queue.failed_today,
            processed_total: queue.processed_total,
            failed_total: queue.failed_total,
        }
    }
}

impl ByState {
    /// In the order of the fields, which is that of the columns.
    pub(super) fn in_order(&self) -> [u64; 7] {
        let Self { pending, active, scheduled, retry, archived, completed, aggregating } = *self;
        [pending, active, scheduled, retry, archived, completed, aggregating]
    }

    fn add(&mut self, other: &Self) {
        let Self { pending, active, scheduled, retry, archived, completed, aggregating } = other;
        self.pending += pending;
        self.active += active;
        self.scheduled += scheduled;
        self.retry += retry;
        self.archived += archived;
        self.completed += completed;
        self.aggregating += aggregating;
    }
}

impl Counts {
    /// Adds those of another queue.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { tasks, processed_today, failed_today, processed_total, failed_total } = other;
        self.tasks.add(tasks);
        self.processed_today += processed_today;
        self.failed_today += failed_today;
        self.processed_total += processed_total;
        self.failed_total += failed_total;
    }
}
