//! One attempt to run a task, from its claim until Redis knows the outcome, and the table of all of them.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cancel::{Cancel, CancelReason};
use super::stats::WorkerStats;
use crate::broker::{Broker, CancelThen, Owner};
use crate::task::{DEFAULT_TIMEOUT_S, Message, QueueName};

/// Where a worker's tasks come from and in whose name.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) broker: Broker,
    pub(super) owner: Owner,
    /// A queue is named by its place in here throughout the worker.
    pub(super) queues: Vec<QueueName>,
}

/// One attempt to run a task.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) home: Arc<Home>,
    pub(super) queue: usize,
    pub(super) message: Arc<Message>,
    pub(super) started: Timestamp,
    pub(super) queue_wait: Option<Duration>,
    pub(super) limit: Limit,
    pub(super) cancel: Cancel,
    pub(super) blocking: Blocking,
    /// What shall become of the task once it is cancelled, where somebody said so.
    cancel_then: OnceLock<CancelThen>,
    lease_end_ms: AtomicI64,
    stage: AtomicU8,
    is_released: AtomicBool,
}

/// When an attempt must be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) at: Timestamp,
    /// The same on the clock that timers run on.
    pub(super) instant: Instant,
    /// It is the task's own deadline, not just this attempt's timeout.
    pub(super) is_final: bool,
}

const RUNNING: u8 = 0;
const REPORTING: u8 = 1;
const LOST: u8 = 2;

impl Attempt {
    pub(super) fn new(home: &Arc<Home>, queue: usize, message: Message, now: Timestamp) -> Self {
        Self {
            home: Arc::clone(home),
            queue,
            limit: Limit::of(&message, now),
            message: Arc::new(message),
            started: now,
            queue_wait: None,
            cancel: Cancel::default(),
            blocking: Blocking::default(),
            cancel_then: OnceLock::new(),
            lease_end_ms: AtomicI64::new(i64::MIN),
            stage: AtomicU8::new(RUNNING),
            is_released: AtomicBool::new(false),
        }
    }

    pub(super) fn queue_name(&self) -> &QueueName {
        &self.home.queues[self.queue]
    }

    pub(super) fn lease_end(&self) -> Timestamp {
        Timestamp::from_millisecond(self.lease_end_ms.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    pub(super) fn set_lease_end(&self, end: Timestamp) {
        self.lease_end_ms.store(end.as_millisecond(), Ordering::Relaxed);
    }

    /// Takes the right to report the outcome. It is given once, and not for a task that was lost.
    pub(super) fn begin_report(&self) -> bool {
        self.stage.compare_exchange(RUNNING, REPORTING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Notes that Redis no longer counts the task as ours. An outcome on its way there decides for itself:
    /// it may be what made the task leave.
    pub(super) fn lose(&self) -> bool {
        let lost = self.stage.compare_exchange(RUNNING, LOST, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if lost {
            self.cancel.throw(CancelReason::LeaseLost);
        }
        lost
    }

    /// Notes that the task was given out anew, to us: whatever this attempt would report belongs to no one.
    fn supersede(&self) {
        self.stage.store(LOST, Ordering::Release);
        self.cancel.throw(CancelReason::LeaseLost);
    }

    /// Tells it to stop because somebody asked for that, and maybe said what then. The first word stands.
    pub(super) fn cancel_by_request(&self, then: Option<CancelThen>) {
        if let Some(then) = then {
            // Set before it is told: whoever is told reads it.
            let _first_word_stands = self.cancel_then.set(then);
        }
        self.cancel.throw(CancelReason::Requested);
    }

    pub(super) fn cancel_then(&self) -> Option<CancelThen> {
        self.cancel_then.get().copied()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.stage.load(Ordering::Acquire) == LOST
    }

    /// Counts the task as no longer held, once.
    pub(super) fn release(&self, stats: &WorkerStats) {
        if !self.is_released.swap(true, Ordering::Relaxed) {
            stats.note_released();
        }
    }
}

impl Limit {
    /// The earlier of the timeout from now and the task's deadline. Like asynq, half an hour for a message
    /// that names neither (ours never do).
    fn of(message: &Message, now: Timestamp) -> Self {
        let timeout = (message.timeout_s > 0).then(|| later(now, message.timeout_s));
        let deadline = (message.deadline_s > 0)
            .then(|| Timestamp::from_second(message.deadline_s).unwrap_or(Timestamp::MAX));
        let (at, is_final) = match (timeout, deadline) {
            (Some(timeout), Some(deadline)) if deadline <= timeout => (deadline, true),
            (None, Some(deadline)) => (deadline, true),
            (Some(timeout), _) => (timeout, false),
            (None, None) => (later(now, DEFAULT_TIMEOUT_S), false),
        };
        let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
        let start = Instant::now();
        // A limit in the far future need not be exact, only representable.
        let instant = start.checked_add(left).unwrap_or_else(|| start + Duration::from_secs(1 << 30));
        Self { at, instant, is_final }
    }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Closures of an attempt that run on threads of their own and cannot be stopped from outside.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    running: AtomicUsize,
    ended: Notify,
}

impl Blocking {
    /// Waits until none runs. Cancel-safe.
    pub(super) async fn all_ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts one blocking closure until it is dropped.
#[derive(Debug)]
pub(super) struct BlockingGuard(Arc<Attempt>);

impl BlockingGuard {
    pub(super) fn new(attempt: Arc<Attempt>) -> Self {
        attempt.blocking.running.fetch_add(1, Ordering::AcqRel);
        Self(attempt)
    }
}

impl Drop for BlockingGuard {
    fn drop(&mut self) {
        if self.0.blocking.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.blocking.ended.notify_waiters();
        }
    }
}

/// All attempts whose outcome Redis does not know yet, by queue and id.
///
/// Locks are taken per batch of claims or finishes, not per task.
#[derive(Debug)]
pub(super) struct Table {
    queues: Vec<Mutex<HashSet<ById>>>,
}

impl Table {
    pub(super) fn new(queues: usize) -> Self {
        Self { queues: (0..queues).map(|_| Mutex::default()).collect() }
    }

    /// Adds attempts of one queue. An older attempt at the same task has lost it.
    pub(super) fn insert(&self, queue: usize, attempts: impl Iterator<Item = Arc<Attempt>>) {
        let mut set = self.lock(queue);
        for attempt in attempts {
            if let Some(older) = set.replace(ById(attempt)) {
                older.0.supersede();
            }
        }
    }

    /// Takes out attempts of one queue, unless newer ones have taken their place.
    pub(super) fn remove<'a>(&self, queue: usize, attempts: impl Iterator<Item = &'a Arc<Attempt>>) {
        let mut set = self.lock(queue);
        for attempt in attempts {
            let id = attempt.message.id.as_str();
            if set.get(id).is_some_and(|found| Arc::ptr_eq(&found.0, attempt)) {
                set.remove(id);
            }
        }
    }

    pub(super) fn of_queue(&self, queue: usize) -> Vec<Arc<Attempt>> {
        self.lock(queue).iter().map(|entry| Arc::clone(&entry.0)).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Attempt>> {
        (0..self.queues.len()).flat_map(|queue| self.of_queue(queue)).collect()
    }

    /// The attempts at tasks of this id: ids are unique per queue only.
    pub(super) fn of_id(&self, id: &str) -> Vec<Arc<Attempt>> {
        let in_queue = |queue| self.lock(queue).get(id).map(|entry| Arc::clone(&entry.0));
        (0..self.queues.len()).filter_map(in_queue).collect()
    }

    fn lock(&self, queue: usize) -> MutexGuard<'_, HashSet<ById>> {
        // No code that runs under the lock leaves a set half changed, so a poisoned one is as good.
        self.queues[queue].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt, found by its task's id.
#[derive(Debug)]
struct ById(Arc<Attempt>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.message.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.message.id == other.0.message.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.message.id.as_str().hash(state);
    }
}
