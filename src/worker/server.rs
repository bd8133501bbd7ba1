//! What a worker is built from.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::aggregate::{Aggregator, AnyAggregator};
use super::group_options::GroupOptions;
use super::serve::serve;
use super::stats::{Events, WorkerStats};
use super::verdict::Policy;
use super::{Context, Handler, HandlerError, Task, WorkerError};
use crate::broker::{ArchiveLimits, Broker, Owner};
use crate::task::{DEFAULT_QUEUE, Message, QueueName};

/// The shortest lease: it is stored in whole seconds.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// Whatever heartbeat is asked for, its life in Redis is whole seconds and twice as long.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// A worker: claims tasks from some queues and runs a handler on them.
///
/// ```no_run
/// use cronmill::{broker::Broker, task::QueueName, worker::{Mux, Server}};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(broker: Broker) -> Result<(), Box<dyn std::error::Error>> {
/// let mut mux = Mux::new();
/// mux.handle("hello", |_, _| async { Ok(()) })?;
/// let server = Server::builder(broker)
///     .queue(QueueName::new("critical")?, 6)
///     .queue(QueueName::new("default")?, 3)
///     .concurrency(20)
///     .build()?;
/// let token = CancellationToken::new();
/// server.run(mux, token).await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    pub(super) config: Builder,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) owner: Owner,
    /// The part of the owner's name that differs from run to run.
    pub(super) run_id: String,
    pub(super) host: String,
}

/// Builds a [`Server`]. What is not said has asynq's default.
pub struct Builder {
    pub(super) broker: Broker,
    pub(super) queues: Vec<(QueueName, u32)>,
    pub(super) is_strict: bool,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) shutdown_timeout: Duration,
    pub(super) hurry: CancellationToken,
    pub(super) cancel_grace: Duration,
    pub(super) heartbeat: Duration,
    pub(super) keeps: bool,
    pub(super) archive: ArchiveLimits,
    pub(super) policy: Policy,
    pub(super) events: Option<Arc<dyn Events>>,
    pub(super) aggregator: Option<Arc<dyn AnyAggregator>>,
    pub(super) groups: GroupOptions,
    host: Option<String>,
}

impl Server {
    /// A builder on a connection.
    #[must_use]
    pub fn builder(broker: Broker) -> Builder {
        Builder {
            broker,
            queues: Vec::new(),
            is_strict: false,
            concurrency: 0,
            lease: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(8),
            hurry: CancellationToken::new(),
            cancel_grace: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            keeps: true,
            archive: ArchiveLimits::default(),
            policy: Policy { retry_delay: None, is_failure: None, on_error: None, retries_cancelled: false },
            events: None,
            aggregator: None,
            groups: GroupOptions::default(),
            host: None,
        }
    }

    /// What it counts; stays readable while and after it runs.
    #[must_use]
    pub fn stats(&self) -> Arc<WorkerStats> {
        Arc::clone(&self.stats)
    }

    /// In whose name it claims.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Works until `token` is cancelled, then drains: it claims nothing more, waits for what runs, and hands back
    /// at the front of its queue, at no cost to it, what has not ended by the shutdown timeout or when it is told
    /// to [hurry](Builder::hurry).
    ///
    /// It returns at most about 2 s after that timeout, or 10 s if Redis does not answer. A
    /// [blocking closure](Context::run_blocking) or a handler that never awaits may still occupy its thread then;
    /// a program that must end should not wait for its runtime to drop.
    ///
    /// Not cancel-safe: when the future is dropped, running handlers are dropped with it and their tasks come
    /// back when their leases are over.
    ///
    /// # Errors
    /// [`WorkerError::PartEnded`], after the drain, when a part of the worker broke.
    pub async fn run(self, handler: impl Handler, token: CancellationToken) -> Result<(), WorkerError> {
        serve(self, Arc::new(handler), token).await
    }
}

impl Builder {
    /// Adds a queue. Default when none is added: `default`, weight 1.
    ///
    /// Of weights 6 and 3 the first queue gets two thirds of the slots while both have work.
    #[must_use]
    pub fn queue(mut self, name: QueueName, weight: u32) -> Self {
        self.queues.push((name, weight));
        self
    }

    /// Adds queues with their weights.
    #[must_use]
    pub fn queues(mut self, queues: impl IntoIterator<Item = (QueueName, u32)>) -> Self {
        self.queues.extend(queues);
        self
    }

    /// Whether a queue is served only while all heavier ones are empty. Default: no, weights are shares.
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.is_strict = is_strict;
        self
    }

    /// How many tasks run at once; 0 for as many as there are processors, which is the default.
    #[must_use]
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.concurrency = tasks;
        self
    }

    /// How long a task stays ours without a sign of life: the longest it waits after its worker died. Extended
    /// every third of it. In whole seconds, rounded up; at least 1 s. Default 30 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long a stopping worker waits for running tasks before it hands them back. Default 8 s.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Once cancelled, a draining worker waits no longer: the shutdown timeout is over at that moment. It starts no
    /// drain by itself. Default: a token nobody cancels.
    #[must_use]
    pub fn hurry(mut self, token: CancellationToken) -> Self {
        self.hurry = token;
        self
    }

    /// How long a handler that was told to stop may take to return before it is dropped. Default 5 s; at a
    /// shutdown never more than 1 s.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// How often the worker shows itself to tools. Default 5 s, at least 1 s.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.max(HEARTBEAT_MIN);
        self
    }

    /// Whether it also keeps its queues (see [`keeper`](crate::keeper)). Default: yes.
    #[must_use]
    pub fn keeper(mut self, keeps: bool) -> Self {
        self.keeps = keeps;
        self
    }

    /// How much of its queues' archives its keeper keeps. Default as asynq: 10,000 tasks for 90 days.
    #[must_use]
    pub fn archive_limits(mut self, limits: ArchiveLimits) -> Self {
        self.archive = limits;
        self
    }

    /// How long a failed task waits, given the retries used before, the error and the task.
    ///
    /// Default: asynq's delay, 15 s and more. A panic in it is told in the task's error text.
    #[must_use]
    pub fn retry_delay(
        mut self,
        delay: impl Fn(i32, &HandlerError, &Message) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.policy.retry_delay = Some(Box::new(delay));
        self
    }

    /// Whether an error counts as a failure: otherwise its retry is not counted, neither for the task nor for the
    /// queue. Default: every error does, and so does one for which this panics.
    #[must_use]
    pub fn is_failure(mut self, is_failure: impl Fn(&HandlerError) -> bool + Send + Sync + 'static) -> Self {
        self.policy.is_failure = Some(Box::new(is_failure));
        self
    }

    /// Calls `callback` with each failed attempt, before it is decided what becomes of the task. A snooze and a
    /// cancellation are no failures.
    ///
    /// A panic in it is told in the task's error text.
    #[must_use]
    pub fn on_error(
        mut self,
        callback: impl Fn(&Context, &Task, &HandlerError) + Send + Sync + 'static,
    ) -> Self {
        self.policy.on_error = Some(Box::new(callback));
        self
    }

    /// Whether a task that is cancelled through asynq's tools has failed and is retried, as with asynq's own workers.
    ///
    /// Default: no. A cancelled task is archived with the text "cancelled by request", which counts as no failure.
    /// Who cancels with [`Broker::cancel_task`] or `cronmill task cancel` says itself what is wanted. A handler that
    /// succeeds nevertheless, skips retries or revokes has its way in any case.
    #[must_use]
    pub fn retry_cancelled(mut self, retries: bool) -> Self {
        self.policy.retries_cancelled = retries;
        self
    }

    /// Is told of every attempt's end.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = Some(events);
        self
    }

    /// Makes one task of each ripe group of its queues. Default: none, and groups are left to others.
    #[must_use]
    pub fn aggregator(mut self, aggregator: impl Aggregator) -> Self {
        self.aggregator = Some(Arc::new(aggregator));
        self
    }

    /// A group is ripe when nothing joined it for so long; in whole seconds, rounded up, 1 s at least. Default 1 min.
    #[must_use]
    pub fn group_grace(mut self, grace: Duration) -> Self {
        self.groups.grace = Some(grace);
        self
    }

    /// A group is ripe when its first task has waited so long, whatever joins it; in whole seconds, rounded up, 1 s
    /// at least. Default: however long it waits.
    #[must_use]
    pub fn group_max_delay(mut self, delay: Duration) -> Self {
        self.groups.max_delay = Some(delay);
        self
    }

    /// A group is ripe when it has so many tasks, and no more than that are aggregated together: 1 to 200, which is
    /// the default.
    #[must_use]
    pub fn group_max_size(mut self, tasks: usize) -> Self {
        self.groups.max_size = Some(tasks);
        self
    }

    /// The host's name as tools show it. Default: what the kernel says, or `unknown-host`.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// Checks it all.
    ///
    /// # Errors
    /// [`WorkerError`] names what cannot be.
    pub fn build(mut self) -> Result<Server, WorkerError> {
        if self.queues.is_empty() {
            self.queues.push((QueueName::new(DEFAULT_QUEUE)?, 1));
        }
        for (place, (name, weight)) in self.queues.iter().enumerate() {
            if *weight == 0 {
                return Err(WorkerError::ZeroWeight { queue: name.to_string() });
            }
            if self.queues[..place].iter().any(|(other, _)| other == name) {
                return Err(WorkerError::DuplicateQueue { queue: name.to_string() });
            }
        }
        if self.lease < LEASE_MIN {
            let (given_ms, least_ms) = (self.lease.as_millis(), LEASE_MIN.as_millis());
            return Err(WorkerError::LeaseTooShort { given_ms, least_ms });
        }
        if self.aggregator.is_none() && self.groups != GroupOptions::default() {
            let problem = "limits of groups without an aggregator have no effect; add one, or leave them out";
            return Err(WorkerError::Groups { problem: problem.into() });
        }
        self.groups.limits()?;
        if self.concurrency == 0 {
            self.concurrency = std::thread::available_parallelism().map_or(1, NonZero::get);
        }
        let run_id = run_id(jiff::Timestamp::now());
        let host = self.host.take().unwrap_or_else(host_name);
        let owner = Owner::new(&host, std::process::id(), &run_id);
        Ok(Server { config: self, stats: Arc::default(), owner, run_id, host })
    }
}

/// A name that no other run has and that tells when this one began: what it holds may then be given back when it is
/// known to be dead.
fn run_id(now: jiff::Timestamp) -> String {
    let since_1970 = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let mut random = [0; 10];
    random.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..10]);
    uuid::Builder::from_unix_timestamp_millis(since_1970, &random).into_uuid().to_string()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown-host".to_owned(),
        name => name.to_owned(),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("owner", &self.owner.as_str()).field("config", &self.config).finish()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("queues", &self.queues)
            .field("strict", &self.is_strict)
            .field("concurrency", &self.concurrency)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
