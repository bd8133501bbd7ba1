//! Local mode put together: what each part is given, what happens when one ends, and the end.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use super::event::{Event, Tell};
use super::guard::{Guard, GuardCommand};
use super::manifest::{Changes, ObjectKey, ResolvedQueue, ResolvedTask};
use super::private_redis::PrivateRedis;
use super::put::Put;
use super::read::{Found, Reader};
use super::squad::{Squads, Surroundings};
use crate::broker::{ArchiveLimits, Broker, Dropped, Endpoint, Outage, Owner};
use crate::keeper::Keepers;
use crate::scheduler::{Scheduler, Tick, announce_outcomes, record_tick};
use crate::task::QueueName;
use crate::telemetry::Metrics;

/// How often fleets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long workers get to finish what they hold when local mode ends, before they are told to put it back.
const LEAVE: Duration = Duration::from_secs(8);
/// How long they then get to put it back, before they are killed.
const HURRY: Duration = Duration::from_secs(3);
/// How long anything else may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What local mode runs on.
#[derive(Debug)]
pub struct Options {
    /// Files and folders of manifests.
    pub manifests: Vec<PathBuf>,
    /// Which Redis.
    pub redis: Redis,
    /// What tells this set of manifests from others on the same Redis.
    pub cluster: String,
    /// This machine's name, as workers on it tell it.
    pub host: String,
    /// The program of the bundled worker.
    pub bundled_worker: PathBuf,
    /// How the process is started that ends our workers and our Redis, should we be killed.
    pub guard: GuardCommand,
    /// What is counted.
    pub metrics: Metrics,
}

/// A Redis to run on.
#[derive(Debug)]
pub enum Redis {
    /// One that is started for this run and forgets everything with it.
    Private {
        /// The server.
        program: PathBuf,
        /// Where it may have a folder of its own.
        within: PathBuf,
    },
    /// One that runs already.
    Running {
        /// Where it is.
        endpoint: Box<Endpoint>,
        /// The same as a URL, for the workers.
        url: SecretString,
        /// PEM file of the certificate authorities to trust for it, for the workers.
        authority: Option<PathBuf>,
    },
}

/// Local mode, connected and ready.
pub struct Dev {
    broker: Broker,
    scheduler: Scheduler,
    reader: Option<Reader>,
    put: Option<Put>,
    squads: Squads,
    keepers: Keepers,
    metrics: Metrics,
    tell: Tell,
    task_queues: BTreeMap<ObjectKey, Arc<ResolvedQueue>>,
    /// How much is wrong in the manifests.
    wrong: usize,
    refused: Arc<AtomicUsize>,
    // Last: dropped after those who use it.
    private: Option<PrivateRedis>,
}

impl Dev {
    /// Reads the manifests, starts or connects to Redis and puts the manifests into force. Nothing fires or runs
    /// yet. What is wrong in a manifest is an [`Event`], and the others go on.
    ///
    /// `on_event` is called from several threads and must not block. Dropping the future undoes nothing in Redis.
    ///
    /// # Errors
    /// [`LocalError::NothingToRun`] when every manifest is wrong, [`LocalError::Broker`] when Redis cannot be
    /// used, and what can be wrong with starting one.
    pub async fn start(
        options: Options,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, LocalError> {
        let tell: Tell = Arc::new(on_event);
        let reader = Reader::new(options.manifests, &options.cluster);
        let (reader, found) = reader.read().await.ok_or(LocalError::PartEnded { part: "reading" })?;
        tell_of(&found, &tell);
        if found.wrong > 0 && found.good == 0 {
            return Err(LocalError::NothingToRun);
        }
        if found.good == 0 {
            tell(Event::Note(
                "there is no manifest yet; one that comes is in force within a second".to_owned(),
            ));
        }
        let guard = Guard::start(&options.guard)?;
        let (endpoint, redis_url, redis_ca, private) = match options.redis {
            Redis::Running { endpoint, url, authority } => (*endpoint, url, authority, None),
            Redis::Private { program, within } => {
                let private = PrivateRedis::start(&program, &within, &guard).await?;
                (private.url().parse()?, private.url().into(), None, Some(private))
            }
        };
        let broker = Broker::connect(&endpoint).await?;
        tell(Event::Redis { address: endpoint.to_string(), is_private: private.is_some() });
        let owner = Owner::new(&options.host, std::process::id(), &uuid::Uuid::new_v4().to_string());
        announce_outcomes(&options.metrics);
        let scheduler = Scheduler::new(broker.clone(), owner.clone()).for_cluster(&*options.cluster);
        let scheduler = scheduler.on_tick({
            let (tell, metrics) = (Arc::clone(&tell), options.metrics.clone());
            move |tick: &Tick| {
                record_tick(&metrics, tick);
                tell(Event::Tick(tick.clone()));
            }
        });
        let refused = Arc::new(AtomicUsize::new(0));
        let put = Put::new(scheduler.clone(), options.cluster, Arc::clone(&tell), Arc::clone(&refused));
        let around = Surroundings {
            redis_url,
            redis_ca,
            bundled_worker: options.bundled_worker,
            host: options.host,
            guard,
        };
        let squads = Squads::new(broker.clone(), around, options.metrics.clone(), Arc::clone(&tell));
        let mut dev = Self {
            keepers: Keepers::new(broker.clone(), owner, {
                let tell = Arc::clone(&tell);
                move |queue: &QueueName, dropped: Dropped| {
                    let (age, number) = (dropped.age, dropped.number);
                    tell(Event::Dropped { queue: queue.to_string(), age, number });
                }
            }),
            broker,
            scheduler,
            reader: Some(reader),
            put: None,
            squads,
            metrics: options.metrics,
            tell,
            task_queues: BTreeMap::new(),
            wrong: found.wrong,
            refused,
            private,
        };
        dev.put = Some(dev.put_first(put, &found.changes).await?);
        dev.take(&found.changes);
        Ok(dev)
    }

    /// Puts into force what was read first.
    async fn put_first(&self, mut put: Put, changes: &Changes) -> Result<Put, LocalError> {
        put.take(changes);
        put.sweep().await?;
        put.flush().await?;
        let others = if self.private.is_some() { 0 } else { put.count_others().await? };
        if others > 0 {
            (self.tell)(Event::Note(format!(
                "{others} more schedules stand in this Redis, put there from elsewhere; whoever put them there fires them"
            )));
        }
        Ok(put)
    }

    /// The Redis it works on.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// In how many places the manifests are wrong at the moment, and how many schedules are refused although
    /// their manifests are right.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.wrong + self.refused.load(Ordering::Relaxed)
    }

    /// Fires, keeps and scales until the token is cancelled; then lets the workers finish what they hold for some
    /// seconds, and put back the rest. Redis may go and come back meanwhile. To be called once.
    ///
    /// Dropped before it is done, it leaves the workers to the guard, which gives them a moment to put back what
    /// they hold.
    ///
    /// # Errors
    /// [`LocalError::ServerEnded`] when the private Redis ends, [`LocalError::PartEnded`]; also then after the
    /// workers have left.
    pub async fn run(&mut self, stop: CancellationToken) -> Result<(), LocalError> {
        let stop = stop.child_token();
        let (mut parts, mut found, orders) = self.start_parts(&stop);
        let ended = self.work(&stop, &mut parts, &mut found, &orders).await;
        stop.cancel();
        // Keepers go on meanwhile: what workers put back may be due.
        self.squads.end(LEAVE, HURRY).await;
        let farewell = async {
            self.keepers.end().await;
            while parts.join_next().await.is_some() {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::debug!("Redis does not answer; left without a farewell");
        }
        ended
    }

    fn start_parts(
        &mut self,
        stop: &CancellationToken,
    ) -> (JoinSet<&'static str>, mpsc::Receiver<Found>, mpsc::UnboundedSender<Arc<Changes>>) {
        let mut parts = JoinSet::new();
        let (finds, found) = mpsc::channel(1);
        let (orders, ordered) = mpsc::unbounded_channel();
        if let Some(reader) = self.reader.take() {
            let scheduler = self.scheduler.clone();
            let gone = move |task: &ResolvedTask| scheduler.deny(&task.entry.uid);
            parts.spawn(named("reading", reader.run(finds, gone, stop.clone())));
        }
        if let Some(put) = self.put.take() {
            parts.spawn(named("putting into force", put.run(ordered, stop.clone())));
        }
        let (scheduler, stop) = (self.scheduler.clone(), stop.clone());
        parts.spawn(named("firing", async move { scheduler.run(stop).await }));
        (parts, found, orders)
    }

    /// Reacts to what happens until it is told to stop, or something ends that must not.
    async fn work(
        &mut self,
        stop: &CancellationToken,
        parts: &mut JoinSet<&'static str>,
        found: &mut mpsc::Receiver<Found>,
        orders: &mpsc::UnboundedSender<Arc<Changes>>,
    ) -> Result<(), LocalError> {
        let mut outage = Outage::new("see what work there is");
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                ended = parts.join_next() => {
                    let part = ended.and_then(Result::ok).unwrap_or("a part of local mode");
                    return Err(LocalError::PartEnded { part });
                }
                status = ended(&mut self.private) => return Err(LocalError::ServerEnded { status }),
                Some(found) = found.recv() => {
                    tell_of(&found, &self.tell);
                    if std::mem::replace(&mut self.wrong, found.wrong) > 0 && found.wrong == 0 {
                        (self.tell)(Event::Note("every manifest is right again".to_owned()));
                    }
                    self.take(&found.changes);
                    // Its receiver has ended only if it has ended, which is noticed above.
                    let _ = orders.send(Arc::new(found.changes));
                }
                _ = looks.tick() => {
                    let began = Instant::now();
                    match stop.run_until_cancelled(self.squads.look()).await {
                        Some(Ok(())) => {
                            outage.ended();
                            // However many queues there are, others have the thread and Redis half of the time.
                            looks.reset_after(LOOK.max(began.elapsed()));
                        }
                        Some(Err(error)) => looks.reset_after(outage.failed(&error)),
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    /// Takes in what was read, as far as it is not about Redis.
    fn take(&mut self, changes: &Changes) {
        if changes.upserted_queues.is_empty() && changes.removed_queues.is_empty() {
            return;
        }
        for queue in &changes.removed_queues {
            self.task_queues.remove(&queue.key);
            self.squads.dismiss(&queue.key);
        }
        for queue in &changes.upserted_queues {
            self.task_queues.insert(queue.key.clone(), Arc::clone(queue));
            self.squads.muster(queue);
        }
        let mut served = BTreeMap::new();
        for object in self.task_queues.values() {
            let limits =
                ArchiveLimits { tasks_max: object.archive_tasks_max, age_max: object.archive_age_max };
            served.extend(object.queues.iter().map(|queue| (queue.redis_name.clone(), limits)));
        }
        self.keepers.keep(&served);
        self.metrics.watch_queues(served.keys().map(ToString::to_string));
    }
}

fn tell_of(found: &Found, tell: &Tell) {
    found.changes.errors.iter().cloned().map(Event::Wrong).for_each(|event| tell(event));
    found.changes.note.iter().cloned().map(Event::Note).for_each(|event| tell(event));
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

/// Waits for the end of a server that must not end; for ever without one.
async fn ended(private: &mut Option<PrivateRedis>) -> ExitStatus {
    match private {
        Some(redis) => redis.ended().await,
        None => pending().await,
    }
}
