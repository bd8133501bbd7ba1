//! What a worker counts, and what it tells of each attempt.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::task::QueueName;

/// A worker's counts since it started. Read it at any time; the values are not one snapshot.
#[derive(Debug, Default)]
pub struct WorkerStats {
    running: AtomicUsize,
    holding: AtomicUsize,
    claimed: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    archived: AtomicU64,
    requeued: AtomicU64,
    quarantined: AtomicU64,
    cancelled: AtomicU64,
    snoozed: AtomicU64,
    unserved: AtomicU64,
    expired: AtomicU64,
    lost: AtomicU64,
    reachable: AtomicBool,
}

impl WorkerStats {
    /// Handlers that run now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Tasks claimed whose outcome Redis does not know yet: running, or waiting to be reported.
    ///
    /// A worker that holds a task is busy, whatever Redis says.
    pub fn holding(&self) -> usize {
        self.holding.load(Ordering::Relaxed)
    }

    /// Tasks claimed.
    pub fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Attempts that succeeded, revoked tasks included, and are stored as such.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Attempts that failed, and are stored as such: those retried and those archived.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Failed attempts after which the task waits for its next one.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Failed attempts after which the task was archived.
    pub fn archived(&self) -> u64 {
        self.archived.load(Ordering::Relaxed)
    }

    /// Tasks handed back unfinished, at no cost to them.
    pub fn requeued(&self) -> u64 {
        self.requeued.load(Ordering::Relaxed)
    }

    /// Messages nobody can decode, put into the archive.
    pub fn quarantined(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Attempts cancelled by request whose tasks went to the archive. They are no failures.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Tasks put off by their handlers.
    pub fn snoozed(&self) -> u64 {
        self.snoozed.load(Ordering::Relaxed)
    }

    /// Tasks put back because this worker has no handler for their type.
    pub fn unserved(&self) -> u64 {
        self.unserved.load(Ordering::Relaxed)
    }

    /// Tasks archived because nobody had begun them in time, those that its keeper found included.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// Attempts whose outcome was discarded because the task had left us.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether Redis answered the last time the worker asked it for work. False before the first answer.
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        // Read first: this is said after every claim, and a write would move the cache line each time.
        if self.is_reachable() != reachable {
            self.reachable.store(reachable, Ordering::Relaxed);
        }
    }

    pub(super) fn note_claimed(&self, tasks: usize) {
        self.holding.fetch_add(tasks, Ordering::Relaxed);
        self.claimed.fetch_add(tasks as u64, Ordering::Relaxed);
    }

    pub(super) fn note_released(&self) {
        self.holding.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn note_expired(&self, tasks: usize) {
        self.expired.fetch_add(tasks as u64, Ordering::Relaxed);
    }

    /// Counts a running handler until the guard is dropped.
    pub(super) fn note_running(&self) -> RunningGuard<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        RunningGuard(self)
    }

    pub(super) fn note_result(&self, result: AttemptResult) {
        let counter = match result {
            AttemptResult::Succeeded | AttemptResult::Revoked => &self.succeeded,
            AttemptResult::Retried => &self.retried,
            AttemptResult::Archived => &self.archived,
            AttemptResult::Requeued => &self.requeued,
            AttemptResult::Quarantined => &self.quarantined,
            AttemptResult::Cancelled => &self.cancelled,
            AttemptResult::Snoozed => &self.snoozed,
            AttemptResult::Unserved => &self.unserved,
            AttemptResult::Expired => &self.expired,
            AttemptResult::Lost => &self.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if matches!(result, AttemptResult::Retried | AttemptResult::Archived) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) struct RunningGuard<'a>(&'a WorkerStats);

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptResult {
    /// The handler succeeded.
    Succeeded,
    /// The task was dropped: by its handler, or revoked by somebody before it ran.
    Revoked,
    /// It failed and is retried later.
    Retried,
    /// It failed and was archived.
    Archived,
    /// The worker stopped before it ended; the task went back to the front of its queue.
    Requeued,
    /// The message could not be decoded and went to the archive.
    Quarantined,
    /// Somebody cancelled it, and the task was archived.
    Cancelled,
    /// Its handler put it off.
    Snoozed,
    /// The worker has no handler for its type; the task went back for another worker.
    Unserved,
    /// It had not begun in time and was archived.
    Expired,
    /// The task had left us; whatever the handler said was discarded.
    Lost,
}

impl AttemptResult {
    /// All results, for those who register a metric for each.
    pub const ALL: [Self; 11] = [
        Self::Succeeded,
        Self::Revoked,
        Self::Retried,
        Self::Archived,
        Self::Requeued,
        Self::Quarantined,
        Self::Cancelled,
        Self::Snoozed,
        Self::Unserved,
        Self::Expired,
        Self::Lost,
    ];

    /// The result as a fixed word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Revoked => "revoked",
            Self::Retried => "retried",
            Self::Archived => "archived",
            Self::Requeued => "requeued",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
            Self::Snoozed => "snoozed",
            Self::Unserved => "unserved",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for AttemptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One attempt that has ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AttemptEvent<'a> {
    /// The task's queue.
    pub queue: &'a QueueName,
    /// The task's type. Anybody who can enqueue chooses it: not a metric's label unless it is a known one.
    pub kind: &'a str,
    /// How long the task was pending before it was claimed; `None` when its producer did not note it.
    pub queue_wait: Option<Duration>,
    /// How long the handler ran; zero when it did not.
    pub run_time: Duration,
    /// How it ended, as it is reported to Redis.
    pub result: AttemptResult,
}

/// Is told of every attempt, from the worker's own tasks: it must not block.
pub trait Events: Send + Sync + 'static {
    /// An attempt has ended. A panic in here is logged and otherwise ignored.
    fn attempt(&self, event: &AttemptEvent<'_>);

    /// The worker's keeper archived tasks that nobody had begun in time. Default: nothing happens.
    fn expired(&self, queue: &QueueName, tasks: usize) {
        let _nobody_is_told = (queue, tasks);
    }
}
