//! Fires schedules: every due tick is enqueued or accounted for, exactly once.
//!
//! Any number of processes may run this on one Redis. What is to fire stands in Redis, not in a process: each
//! reads the entries due next, at least once a second, works out what becomes of their ticks, and sends that
//! to a script which compares revision and next time before it does anything. So a process may die at any
//! point, and another goes on.
//!
//! Not here: where entries come from (manifests, the operator), and what runs the tasks.

mod apply;
mod as_asynq;
mod book;
mod error;
mod fire;
mod mirror;
mod record;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use apply::Applied;
pub use error::SchedulerError;
pub use record::{announce_outcomes, record_tick};

use crate::broker::{Broker, Owner};
use crate::schedule::{Entry, TickOutcome};
use crate::task::QueueName;
use book::Book;

/// Fires the schedules of one Redis, and writes them.
#[derive(Clone)]
pub struct Scheduler {
    broker: Broker,
    owner: Owner,
    cluster: Option<Arc<str>>,
    book: Arc<Book>,
    on_tick: Arc<dyn Fn(&Tick) + Send + Sync>,
    is_living: Arc<dyn Fn(&Entry) -> bool + Send + Sync>,
}

/// Something that became of one tick, or of several in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The queue.
    pub queue: QueueName,
    /// `namespace/name` of the schedule.
    pub schedule: String,
    /// Nominal time of the tick, the last one of several.
    pub nominal: Timestamp,
    /// How many ticks.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// How long after it was due a tick ran or was judged; zero for ticks that passed.
    pub lateness: Duration,
    /// The task, where one was enqueued.
    pub task_id: Option<String>,
}

impl Scheduler {
    /// A scheduler on a Redis; `owner` names this run of this process.
    #[must_use]
    pub fn new(broker: Broker, owner: Owner) -> Self {
        let (book, on_tick, is_living) =
            (Arc::default(), Arc::new(|_: &Tick| {}), Arc::new(|_: &Entry| true));
        Self { broker, owner, cluster: None, book, on_tick, is_living }
    }

    /// Fires only entries that `cluster` owns, in turn with the processes that fire those too. Default: all entries.
    #[must_use]
    pub fn for_cluster(mut self, cluster: impl Into<Arc<str>>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// Calls `observe` for each tick this process accounts for. It must not block.
    #[must_use]
    pub fn on_tick(mut self, observe: impl Fn(&Tick) + Send + Sync + 'static) -> Self {
        self.on_tick = Arc::new(observe);
        self
    }

    /// Fires only entries of which `is_living` says that their objects are there; it must not block. Default: all.
    ///
    /// So what was deleted while Redis was away fires no more, before anybody can take it out.
    #[must_use]
    pub fn firing_only(mut self, is_living: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.is_living = Arc::new(is_living);
        self
    }

    /// Whether this process may fire an entry.
    fn fires(&self, entry: &Entry) -> bool {
        self.cluster.as_deref().is_none_or(|cluster| entry.cluster == cluster) && (self.is_living)(entry)
    }

    /// The Redis it works on.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }
}
