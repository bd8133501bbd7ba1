//! Every metric of our own, and the one place where they are written out.
//!
//! Recording is a few atomic operations on handles taken once; nothing on a hot path looks a label up.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::exposition::Exposition;
use super::labels::{BuildLabels, FinishLabels, FleetLabels, QueueLabels, TaskOutcome, TickLabels};
use super::queue_stats::{self, QueueStats};

/// Upper bounds in seconds: firing and claiming are expected within milliseconds, late ones within minutes.
const WAIT_BUCKETS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// Upper bounds in seconds: from no-op handlers to jobs of an hour.
const RUN_BUCKETS: [f64; 15] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0];

/// The metrics of this process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    tick_lateness: Histogram,
    ticks: Family<TickLabels, Counter>,
    queue_wait: Family<QueueLabels, Histogram, fn() -> Histogram>,
    task_run: Family<QueueLabels, Histogram, fn() -> Histogram>,
    finished: Family<FinishLabels, Counter>,
    stats_failures: Family<QueueLabels, Counter>,
    leases_lost: Counter,
    undecodable: Counter,
    clock_offset: Gauge<f64, AtomicU64>,
    slots: Gauge,
    busy_slots: Gauge,
    fleet_workers: Family<FleetLabels, Gauge>,
    fleet_wanted: Family<FleetLabels, Gauge>,
    leading: Gauge,
    status_writes: Counter,
    shop_outbox: Gauge,
    queues: RwLock<BTreeMap<String, QueueMetrics>>,
    /// Queues that are shown though nothing of this process runs their tasks.
    watched: RwLock<BTreeSet<String>>,
    stats_source: OnceLock<queue_stats::Source>,
    refresh: OnceLock<Refresh>,
}

/// Brings gauges up to date.
type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// What is recorded for one queue; clones share it.
#[derive(Clone)]
pub struct QueueMetrics {
    wait: Histogram,
    run: Histogram,
    finished: [Counter; TaskOutcome::ALL.len()],
}

impl QueueMetrics {
    /// A task was claimed this long after it became ready to run.
    pub fn waited(&self, wait: Duration) {
        self.wait.observe(wait.as_secs_f64());
    }

    /// A handler ran this long, whatever came of it.
    pub fn ran(&self, run: Duration) {
        self.run.observe(run.as_secs_f64());
    }

    /// An attempt ended.
    pub fn finished(&self, outcome: TaskOutcome) {
        self.finished[outcome as usize].inc();
    }
}

impl Metrics {
    /// A fresh set; `version` is shown in `cronmill_build_info`.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self { inner: Arc::new(Inner::new(version)) }
    }

    /// The handle for a queue that this process serves.
    ///
    /// This is what makes a queue's name a label, so call it for queues of the configuration only, once per
    /// queue: never with a name that came in with a task or a request.
    pub fn queue(&self, name: &str) -> QueueMetrics {
        let mut queues = self.inner.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.entry(name.to_owned()).or_insert_with(|| self.inner.queue(name)).clone()
    }

    /// From now on these are the queues whose state is shown beside those of [`queue`](Self::queue).
    ///
    /// For a process that cares for queues but runs none of their tasks. As there, names of the configuration
    /// only; one that is no longer among them is shown no more.
    pub fn watch_queues(&self, names: impl IntoIterator<Item = String>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let mut watched = self.inner.watched.write().unwrap_or_else(PoisonError::into_inner);
        for queue in watched.difference(&names) {
            self.inner.stats_failures.remove(&QueueLabels { queue: queue.clone() });
        }
        for queue in names.difference(&watched) {
            // Shown as zero from the start.
            drop(self.inner.stats_failures.get_or_create(&QueueLabels { queue: queue.clone() }));
        }
        *watched = names;
    }

    /// A fleet has this many workers, those on their way out included, and is to have `wanted`.
    ///
    /// `task_queue` names an object of the configuration; see [`forget_fleet`](Self::forget_fleet).
    pub fn set_fleet(&self, task_queue: &str, workers: usize, wanted: u32) {
        let labels = FleetLabels { task_queue: task_queue.to_owned() };
        self.inner.fleet_workers.get_or_create(&labels).set(workers as i64);
        self.inner.fleet_wanted.get_or_create(&labels).set(i64::from(wanted));
    }

    /// A fleet is no longer ours to size.
    pub fn forget_fleet(&self, task_queue: &str) {
        let labels = FleetLabels { task_queue: task_queue.to_owned() };
        self.inner.fleet_workers.remove(&labels);
        self.inner.fleet_wanted.remove(&labels);
    }

    /// A task was enqueued for a tick, this long after its due time.
    pub fn tick_fired(&self, lateness: Duration) {
        self.inner.tick_lateness.observe(lateness.as_secs_f64());
    }

    /// This many ticks were accounted for with `outcome`, one of a closed set of words.
    pub fn ticks(&self, outcome: &'static str, count: u64) {
        self.inner.ticks.get_or_create(&TickLabels { outcome }).inc_by(count);
    }

    /// A lease was found to belong to another owner, or to nobody, before its task could be finished.
    pub fn lease_lost(&self) {
        self.inner.leases_lost.inc();
    }

    /// A message was met that cannot be decoded.
    pub fn undecodable_message(&self) {
        self.inner.undecodable.inc();
    }

    /// Whether this replica of the operator leads.
    pub fn set_leading(&self, leads: bool) {
        self.inner.leading.set(i64::from(leads));
    }

    /// What is refreshed in an object's status was written.
    pub fn status_written(&self) {
        self.inner.status_writes.inc();
    }

    /// This many tasks of new orders are not in Redis yet.
    pub fn set_shop_outbox(&self, rows: i64) {
        self.inner.shop_outbox.set(rows);
    }

    /// Redis's clock minus this machine's, in seconds.
    pub fn set_redis_clock_offset(&self, seconds: f64) {
        self.inner.clock_offset.set(seconds);
    }

    /// How many tasks this worker may run at once.
    pub fn set_worker_slots(&self, slots: usize) {
        self.inner.slots.set(slots as i64);
    }

    /// How many tasks this worker runs now.
    pub fn set_worker_busy_slots(&self, busy: usize) {
        self.inner.busy_slots.set(busy as i64);
    }

    /// Shows asynq's own metrics for each served queue, read by `read` at the time of a scrape.
    ///
    /// All queues together get 2 s. A queue whose read fails or takes longer is left out of that scrape and
    /// counted in `cronmill_queue_stats_failures_total`; the others are shown. The first call decides.
    pub fn show_queue_stats<F, R, E>(&self, read: F)
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<QueueStats, E>> + Send + 'static,
        E: Error,
    {
        let source: queue_stats::Source = Arc::new(move |queue| {
            let answer = read(queue);
            Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
        });
        // A second source would show every queue twice.
        let _ = self.inner.stats_source.set(source);
    }

    /// Has `refresh` called before each scrape, to set the gauges whose values are kept elsewhere.
    ///
    /// It reads memory and does no I/O. The first call decides.
    pub fn refresh_with(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        // Two would set the same gauges.
        let _ = self.inner.refresh.set(Box::new(refresh));
    }

    /// The metrics as text, asking Redis for the queues' state first.
    ///
    /// # Errors
    ///
    /// None in practice: writing into a string fails only if a metric's encoder does.
    ///
    /// Dropping the future loses nothing but the answer.
    pub(super) async fn render(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let stats = self.read_queue_stats().await;
        if let Some(refresh) = self.inner.refresh.get() {
            refresh(self);
        }
        let mut text = String::with_capacity(16 * 1024);
        encode_registry(&mut text, &self.inner.registry)?;
        let stats = stats.iter().map(|(name, stats)| (name.as_str(), stats));
        encode_registry(&mut text, &queue_stats::registry(stats))?;
        encode_eof(&mut text)?;
        Ok(exposition.convert(text))
    }

    async fn read_queue_stats(&self) -> Vec<(String, QueueStats)> {
        let Some(source) = self.inner.stats_source.get() else { return Vec::new() };
        let mut names = self.inner.watched.read().unwrap_or_else(PoisonError::into_inner).clone();
        names.extend(self.inner.queues.read().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        let answers = queue_stats::read(source, names.into_iter().collect()).await;
        let mut stats = Vec::with_capacity(answers.len());
        for (queue, answer) in answers {
            match answer {
                Ok(answer) => stats.push((queue, answer)),
                Err(error) => {
                    tracing::debug!(queue.name = queue, error, "queue {queue} left out of a scrape");
                    self.inner.stats_failures.get_or_create(&QueueLabels { queue }).inc();
                }
            }
        }
        stats
    }
}

impl Inner {
    fn new(version: &'static str) -> Self {
        let mut inner = Self {
            registry: Registry::default(),
            tick_lateness: Histogram::new(WAIT_BUCKETS),
            ticks: Family::default(),
            queue_wait: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            task_run: Family::new_with_constructor(|| Histogram::new(RUN_BUCKETS)),
            finished: Family::default(),
            stats_failures: Family::default(),
            leases_lost: Counter::default(),
            undecodable: Counter::default(),
            clock_offset: Gauge::default(),
            slots: Gauge::default(),
            busy_slots: Gauge::default(),
            fleet_workers: Family::default(),
            fleet_wanted: Family::default(),
            leading: Gauge::default(),
            status_writes: Counter::default(),
            shop_outbox: Gauge::default(),
            queues: RwLock::default(),
            watched: RwLock::default(),
            stats_source: OnceLock::new(),
            refresh: OnceLock::new(),
        };
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version }).set(1);
        inner.register(build);
        inner
    }

    /// The text writer appends `_total` to counters and the unit to metrics that have one.
    fn register(&mut self, build: Family<BuildLabels, Gauge>) {
        let registry = &mut self.registry;
        registry.register("cronmill_build_info", "The running version", build);
        registry.register("cronmill_ticks", "Ticks accounted for, by outcome", self.ticks.clone());
        registry.register(
            "cronmill_tasks_finished",
            "Attempts that ended, by outcome",
            self.finished.clone(),
        );
        registry.register(
            "cronmill_task_leases_lost",
            "Leases that were found to be lost before the task was finished",
            self.leases_lost.clone(),
        );
        registry.register(
            "cronmill_undecodable_messages",
            "Messages that could not be decoded and were quarantined",
            self.undecodable.clone(),
        );
        registry.register(
            "cronmill_queue_stats_failures",
            "Scrapes in which a queue's state could not be read",
            self.stats_failures.clone(),
        );
        registry.register(
            "cronmill_worker_slots",
            "Tasks that this worker may run at once",
            self.slots.clone(),
        );
        registry.register(
            "cronmill_worker_busy_slots",
            "Tasks that this worker runs now",
            self.busy_slots.clone(),
        );
        registry.register(
            "cronmill_operator_leading",
            "1 while this replica of the operator leads",
            self.leading.clone(),
        );
        registry.register(
            "cronmill_operator_status_refreshes",
            "Writes of what changes all the time in the status of objects",
            self.status_writes.clone(),
        );
        registry.register(
            "cronmill_shop_outbox_rows",
            "Tasks of new orders that are not in Redis yet",
            self.shop_outbox.clone(),
        );
        registry.register(
            "cronmill_fleet_workers",
            "Workers of a TaskQueue that run, those on their way out included",
            self.fleet_workers.clone(),
        );
        registry.register(
            "cronmill_fleet_workers_wanted",
            "Workers that a TaskQueue is to have",
            self.fleet_wanted.clone(),
        );
        registry.register_with_unit(
            "cronmill_redis_clock_offset",
            "Redis's clock minus this machine's",
            Unit::Seconds,
            self.clock_offset.clone(),
        );
        registry.register_with_unit(
            "cronmill_tick_lateness",
            "Time from a tick's due time until its task was enqueued",
            Unit::Seconds,
            self.tick_lateness.clone(),
        );
        registry.register_with_unit(
            "cronmill_queue_wait",
            "Time a task was ready to run before it was claimed",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        registry.register_with_unit(
            "cronmill_task_run",
            "Time a handler ran, whatever came of it",
            Unit::Seconds,
            self.task_run.clone(),
        );
    }

    fn queue(&self, name: &str) -> QueueMetrics {
        let queue = QueueLabels { queue: name.to_owned() };
        // Shown as zero from the start.
        drop(self.stats_failures.get_or_create(&queue));
        QueueMetrics {
            wait: self.queue_wait.get_or_create_owned(&queue),
            run: self.task_run.get_or_create_owned(&queue),
            finished: TaskOutcome::ALL.map(|outcome| {
                self.finished.get_or_create_owned(&FinishLabels { queue: name.to_owned(), outcome })
            }),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queues = self.inner.queues.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Metrics").field("queues", &queues.keys()).finish_non_exhaustive()
    }
}

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueMetrics").finish_non_exhaustive()
    }
}
