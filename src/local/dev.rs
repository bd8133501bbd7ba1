//! The loop of local mode: manifests into force, ticks fired, fleets sized.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use super::fleet::Fleet;
use super::leash::Leash;
use super::manifest::{
    Changes, CommandLine, ManifestError, Manifests, ObjectKey, ResolvedQueue, WorkerFleet, WorkerProgram,
};
use super::observe::Observer;
use super::put::Put;
use crate::broker::{Broker, BrokerError, Endpoint, Owner};
use crate::keeper::Keeper;
use crate::scaling::{History, Policy, plan};
use crate::scheduler::{Scheduler, SchedulerError, Tick};
use crate::task::QueueName;

/// How often fleets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often files are looked at.
const READ: Duration = Duration::from_millis(500);
/// How often everything is compared with Redis again.
const COMPARE: Duration = Duration::from_secs(60);
/// How long workers get to finish what they hold when local mode ends, before they are told to put it back.
const LEAVE: Duration = Duration::from_secs(8);
/// How long they then get to put it back.
const HURRY: Duration = Duration::from_secs(3);

/// What local mode runs on.
#[derive(Debug)]
pub struct Options {
    /// Files and folders of manifests.
    pub manifests: Vec<PathBuf>,
    /// The Redis.
    pub endpoint: Endpoint,
    /// Its URL, for the workers.
    pub redis_url: SecretString,
    /// What tells this set of manifests from others on the same Redis.
    pub cluster: String,
    /// This run of this process.
    pub owner: Owner,
    /// The program of the bundled worker.
    pub bundled_worker: PathBuf,
    /// How children are started so that they end with us.
    pub leash: Leash,
}

/// Something worth telling.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something is wrong in a manifest; everything else goes on.
    Wrong(ManifestError),
    /// Something is wrong with a schedule that its manifest did not show.
    Refused(Arc<SchedulerError>),
    /// What was left aside among the manifests.
    Note(String),
    /// How many objects are in force now.
    InForce {
        /// CronTasks.
        tasks: usize,
        /// TaskQueues.
        queues: usize,
    },
    /// A tick was accounted for.
    Tick(Tick),
    /// A fleet changes its size.
    Fleet {
        /// `namespace/name` of its TaskQueue.
        name: String,
        /// Workers so far.
        from: u32,
        /// Workers from now on.
        to: u32,
        /// Why.
        why: String,
    },
}

type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Local mode, connected and ready.
pub struct Dev {
    options: Options,
    broker: Broker,
    scheduler: Scheduler,
    manifests: Manifests,
    put: Put,
    squads: BTreeMap<ObjectKey, Squad>,
    leaving: Vec<Fleet>,
    keeping: Option<(CancellationToken, JoinHandle<()>)>,
    on_event: OnEvent,
    started: Instant,
    in_force: (usize, usize),
}

/// The workers of one TaskQueue and what is known about them.
struct Squad {
    queue: Arc<ResolvedQueue>,
    fleet: Fleet,
    observer: Observer,
    history: History,
    told: u32,
}

impl Dev {
    /// Connects to Redis, reads the manifests and puts them into force. Nothing fires or runs yet.
    ///
    /// # Errors
    /// [`LocalError::Broker`] when Redis cannot be used. What is wrong in a manifest is an [`Event`].
    pub async fn start(
        options: Options,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, LocalError> {
        let broker = Broker::connect(&options.endpoint).await?;
        let on_event: OnEvent = Arc::new(on_event);
        let tell = Arc::clone(&on_event);
        let scheduler = Scheduler::new(broker.clone(), options.owner.clone())
            .on_tick(move |tick| tell(Event::Tick(tick.clone())));
        let manifests = Manifests::open(options.manifests.clone(), &options.cluster);
        let put = Put::new(scheduler.clone(), options.cluster.clone());
        let mut dev = Self {
            options,
            broker,
            scheduler,
            manifests,
            put,
            squads: BTreeMap::new(),
            leaving: Vec::new(),
            keeping: None,
            on_event,
            started: Instant::now(),
            in_force: (usize::MAX, 0),
        };
        dev.read().await;
        dev.put.sweep(dev.manifests.tasks()).await?;
        let (written, wrong) = dev.put.flush().await;
        dev.tell_refused(wrong);
        written?;
        Ok(dev)
    }

    /// The Redis it works on.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// How many manifests are wrong at the moment, and how many objects are in force.
    #[must_use]
    pub fn wrong_and_in_force(&self) -> (usize, usize) {
        (self.manifests.errors().count(), self.manifests.tasks().count() + self.manifests.queues().count())
    }

    /// Fires, keeps and scales until the token is cancelled; then lets the workers finish what they hold for a
    /// few seconds, and put back the rest. Redis may go and come back meanwhile.
    pub async fn run(&mut self, stop: CancellationToken) {
        let firing = tokio::spawn({
            let (scheduler, stop) = (self.scheduler.clone(), stop.clone());
            async move { scheduler.run(stop).await }
        });
        let mut outage = false;
        let (mut read, mut compared) = (Instant::now(), Instant::now());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            if read.elapsed() >= READ {
                self.read().await;
                read = Instant::now();
            }
            if compared.elapsed() >= COMPARE {
                self.compare();
                compared = Instant::now();
            }
            match self.step().await {
                Ok(()) if outage => {
                    tracing::info!(redis = %self.broker.address(), "Redis is back");
                    outage = false;
                    self.compare();
                }
                Ok(()) => {}
                Err(error) if !outage => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Redis does not answer; waiting for it"
                    );
                    outage = true;
                }
                Err(_) => {}
            }
        }
        self.end().await;
        if let Some((token, keeping)) = self.keeping.take() {
            token.cancel();
            let _ = keeping.await;
        }
        let _ = firing.await;
    }

    async fn step(&mut self) -> Result<(), BrokerError> {
        let (written, wrong) = self.put.flush().await;
        self.tell_refused(wrong);
        written?;
        self.scale().await
    }

    /// Everything is to be compared with Redis again: what is missing there is written anew.
    fn compare(&mut self) {
        for task in self.manifests.tasks() {
            self.put.want(task);
        }
        self.put.want_queues_again();
    }

    async fn read(&mut self) {
        // Files are read on this thread: local mode has little else to do meanwhile, and it is done in
        // milliseconds.
        let changes = self.manifests.refresh(Timestamp::now());
        for error in &changes.errors {
            (self.on_event)(Event::Wrong(error.clone()));
        }
        if let Some(note) = &changes.note {
            (self.on_event)(Event::Note(note.clone()));
        }
        self.take_changes(&changes);
        let in_force = (self.manifests.tasks().count(), self.manifests.queues().count());
        if in_force != self.in_force {
            self.in_force = in_force;
            (self.on_event)(Event::InForce { tasks: in_force.0, queues: in_force.1 });
        }
    }

    fn take_changes(&mut self, changes: &Changes) {
        for task in &changes.removed_tasks {
            self.put.unwant(task);
        }
        for task in &changes.upserted_tasks {
            self.put.want(task);
        }
        if changes.upserted_queues.is_empty() && changes.removed_queues.is_empty() {
            return;
        }
        self.put.want_queues(self.manifests.queues());
        for queue in &changes.removed_queues {
            self.dismiss(&queue.key);
        }
        for queue in &changes.upserted_queues {
            match &queue.workers {
                Some(workers) => self.muster(queue, workers),
                None => self.dismiss(&queue.key),
            }
        }
        self.keep();
    }

    /// Sends all workers of a TaskQueue away.
    fn dismiss(&mut self, key: &ObjectKey) {
        if let Some(mut squad) = self.squads.remove(key) {
            squad.fleet.resize(0, &BTreeMap::new());
            self.leaving.push(squad.fleet);
        }
    }

    /// Notes how the workers of a TaskQueue are to be run.
    fn muster(&mut self, queue: &Arc<ResolvedQueue>, workers: &WorkerFleet) {
        let command = self.command(queue, workers);
        match self.squads.get_mut(&queue.key) {
            Some(squad) => {
                squad.queue = Arc::clone(queue);
                squad.fleet.change(command);
            }
            None => {
                let name = format!("{}/{}", queue.key.namespace, queue.key.name);
                let squad = Squad {
                    queue: Arc::clone(queue),
                    fleet: Fleet::new(name, command, self.options.leash.clone()),
                    observer: Observer::new(),
                    history: History::starting_with(0, self.started.elapsed()),
                    told: 0,
                };
                self.squads.insert(queue.key.clone(), squad);
            }
        }
    }

    fn command(&self, queue: &ResolvedQueue, workers: &WorkerFleet) -> CommandLine {
        let weights: Vec<_> =
            queue.queues.iter().map(|served| format!("{}={}", served.redis_name, served.weight)).collect();
        let environment = BTreeMap::from([
            ("CRONMILL_REDIS_URL".to_owned(), self.options.redis_url.expose_secret().to_owned()),
            ("CRONMILL_QUEUES".to_owned(), weights.join(",")),
            ("CRONMILL_STRICT".to_owned(), queue.strict.to_string()),
            ("CRONMILL_CONCURRENCY".to_owned(), workers.concurrency.to_string()),
            ("CRONMILL_LEASE".to_owned(), format!("{}s", queue.lease.as_secs())),
            // A worker sent away finishes what it holds, however long that takes: nothing busy is killed.
            ("CRONMILL_SHUTDOWN_TIMEOUT".to_owned(), "7d".to_owned()),
        ]);
        match &workers.program {
            WorkerProgram::Container(container) => container.command_line(&environment),
            WorkerProgram::Bundled => CommandLine {
                program: self.options.bundled_worker.to_string_lossy().into_owned(),
                arguments: Vec::new(),
                environment,
                folder: None,
            },
        }
    }

    /// Keeps the queues there are now.
    fn keep(&mut self) {
        if let Some((token, _keeping)) = self.keeping.take() {
            token.cancel();
        }
        let token = CancellationToken::new();
        let keeper = Keeper::new(self.broker.clone(), self.put.queue_names(), self.options.owner.clone());
        self.keeping = Some((token.clone(), tokio::spawn(keeper.run(token))));
    }

    async fn scale(&mut self) -> Result<(), BrokerError> {
        for fleet in &mut self.leaving {
            fleet.reap();
        }
        self.leaving.retain(|fleet| !fleet.is_gone());
        for squad in self.squads.values_mut() {
            let Some(workers) = &squad.queue.workers else { continue };
            let names: Vec<QueueName> =
                squad.queue.queues.iter().map(|queue| queue.redis_name.clone()).collect();
            squad.fleet.reap();
            let pids = squad.fleet.pids();
            let snapshot = squad.observer.look(&self.broker, &names, &pids).await?;
            let plan = plan(&snapshot, &policy(workers), &mut squad.history, self.started.elapsed());
            let held = match pids.is_empty() {
                true => BTreeMap::new(),
                false => squad.observer.holding(&self.broker, &pids).await?,
            };
            if plan.replicas != squad.told {
                let name = format!("{}/{}", squad.queue.key.namespace, squad.queue.key.name);
                let (from, to) = (squad.told, plan.replicas);
                squad.told = to;
                (self.on_event)(Event::Fleet { name, from, to, why: plan.to_string() });
            }
            squad.fleet.resize(plan.replicas, &held);
        }
        Ok(())
    }

    async fn end(&mut self) {
        let keys: Vec<_> = self.squads.keys().cloned().collect();
        for key in keys {
            self.dismiss(&key);
        }
        if !self.wait_for_leaving(LEAVE).await {
            self.leaving.iter().for_each(Fleet::hurry);
            self.wait_for_leaving(HURRY).await;
        }
    }

    async fn wait_for_leaving(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.leaving.iter_mut().for_each(Fleet::reap);
            self.leaving.retain(|fleet| !fleet.is_gone());
            if self.leaving.is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    fn tell_refused(&self, wrong: Vec<SchedulerError>) {
        for error in wrong {
            (self.on_event)(Event::Refused(Arc::new(error)));
        }
    }
}

fn policy(workers: &WorkerFleet) -> Policy {
    let scaling = &workers.scaling;
    Policy {
        fixed: workers.replicas,
        min: scaling.min_replicas.unsigned_abs(),
        max: scaling.max_replicas.unsigned_abs(),
        concurrency: workers.concurrency,
        target_wait: scaling.target_wait.as_std(),
        stabilization: scaling.stabilization.as_std(),
    }
}
