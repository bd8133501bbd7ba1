//! The fleets of all TaskQueues, and how large each is to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use secrecy::{ExposeSecret as _, SecretString};

use super::event::{Event, Tell};
use super::fleet::Fleet;
use super::guard::Guard;
use super::manifest::{CommandLine, ObjectKey, ResolvedQueue, WorkerProgram};
use super::observe::{Held, Observer, held_on};
use crate::broker::{Backlog, Broker, BrokerError};
use crate::resolve::FleetPlan;
use crate::scaling::{History, Plan, Policy, plan};
use crate::telemetry::Metrics;

/// TaskQueues whose work is read at once.
const READS_AT_ONCE: usize = 16;
/// How long a worker that was sent away may go on with what it holds: nothing busy is ended to save a process.
const PATIENCE: &str = "7d";

/// What is the same for all workers.
pub(super) struct Surroundings {
    /// The Redis they work on.
    pub(super) redis_url: SecretString,
    /// PEM file of the certificate authorities to trust for it.
    pub(super) redis_ca: Option<PathBuf>,
    /// The program of the bundled worker.
    pub(super) bundled_worker: PathBuf,
    /// This machine's name, as workers tell it.
    pub(super) host: String,
    /// What ends them, should we be unable to.
    pub(super) guard: Guard,
}

/// All fleets.
pub(super) struct Squads {
    broker: Broker,
    around: Surroundings,
    metrics: Metrics,
    tell: Tell,
    squads: BTreeMap<ObjectKey, Squad>,
    leaving: Vec<Fleet>,
    started: Instant,
}

/// The workers of one TaskQueue and what is known about them.
struct Squad {
    queue: Arc<ResolvedQueue>,
    policy: Policy,
    fleet: Fleet,
    observer: Observer,
    history: History,
    /// How many there are to be.
    wanted: u32,
}

impl Squads {
    pub(super) fn new(broker: Broker, around: Surroundings, metrics: Metrics, tell: Tell) -> Self {
        let (squads, leaving) = (BTreeMap::new(), Vec::new());
        Self { broker, around, metrics, tell, squads, leaving, started: Instant::now() }
    }

    /// A TaskQueue is new or different. Nothing is started before the next look.
    pub(super) fn muster(&mut self, queue: &Arc<ResolvedQueue>) {
        let Some(workers) = &queue.workers else { return self.dismiss(&queue.key) };
        let (command, policy) = (self.around.command(queue, workers), workers.policy());
        if let Some(squad) = self.squads.get_mut(&queue.key) {
            (squad.queue, squad.policy) = (Arc::clone(queue), policy);
            squad.fleet.change(command);
            return;
        }
        let name = format!("{}/{}", queue.key.namespace, queue.key.name);
        let squad = Squad {
            queue: Arc::clone(queue),
            policy,
            fleet: Fleet::new(name, command, self.around.guard.clone()),
            observer: Observer::new(),
            history: History::starting_with(0, self.started.elapsed()),
            wanted: 0,
        };
        self.squads.insert(queue.key.clone(), squad);
    }

    /// A TaskQueue is gone: its workers finish what they hold and leave.
    pub(super) fn dismiss(&mut self, key: &ObjectKey) {
        let Some(mut squad) = self.squads.remove(key) else { return };
        squad.fleet.resize(0, &Held::new());
        self.metrics.forget_fleet(squad.fleet.name());
        self.leaving.push(squad.fleet);
    }

    /// Looks at the work there is and gives each fleet the size it needs. Cancel-safe.
    ///
    /// # Errors
    /// What Redis says when it cannot be read; then every fleet keeps the size it was to have, and processes that
    /// ended are replaced all the same.
    pub(super) async fn look(&mut self) -> Result<(), BrokerError> {
        self.reap();
        let read = self.read_and_plan().await;
        let held = match &read {
            Ok(held) => held,
            Err(_) => &Held::new(),
        };
        for squad in self.squads.values_mut() {
            squad.fleet.resize(squad.wanted, held);
            self.metrics.set_fleet(squad.fleet.name(), squad.fleet.processes(), squad.wanted);
        }
        read.map(drop)
    }

    /// Decides anew what every fleet is to have. Answers what workers hold, where that is needed.
    async fn read_and_plan(&mut self) -> Result<Held, BrokerError> {
        let reads: Vec<_> = self.squads.values().map(|squad| squad.read(&self.broker).boxed()).collect();
        let work: Vec<Backlog> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let (at, now, elapsed) = (Instant::now(), self.broker.now(), self.started.elapsed());
        let (mut plans, mut is_held_needed) = (Vec::with_capacity(work.len()), false);
        for (squad, work) in self.squads.values_mut().zip(work) {
            let workers = squad.fleet.len();
            let snapshot = squad.observer.snapshot(&work, at, now, workers);
            let plan = plan(&snapshot, &squad.policy, &mut squad.history, elapsed);
            is_held_needed |= squad.observer.awaits(squad.fleet.staying(), at) || plan.replicas < workers;
            plans.push(plan);
        }
        let held = match is_held_needed {
            true => held_on(&self.around.host, &self.broker.servers().await?),
            false => Held::new(),
        };
        for (squad, plan) in self.squads.values_mut().zip(plans) {
            squad.observer.hear(&held, at);
            squad.adopt(plan, &self.tell);
        }
        Ok(held)
    }

    /// Sends all workers away: they get `patience` to finish what they hold, then `hurry` to put the rest back.
    /// What is left then is killed.
    pub(super) async fn end(&mut self, patience: Duration, hurry: Duration) {
        let keys: Vec<_> = self.squads.keys().cloned().collect();
        keys.iter().for_each(|key| self.dismiss(key));
        if self.wait_until_gone(patience).await {
            return;
        }
        self.leaving.iter().for_each(Fleet::hurry);
        if !self.wait_until_gone(hurry).await {
            self.leaving.iter().for_each(Fleet::kill);
            self.wait_until_gone(hurry).await;
        }
    }

    async fn wait_until_gone(&mut self, limit: Duration) -> bool {
        let gone = async {
            loop {
                self.reap();
                if self.leaving.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }

    fn reap(&mut self) {
        self.leaving
            .iter_mut()
            .chain(self.squads.values_mut().map(|squad| &mut squad.fleet))
            .for_each(Fleet::reap);
        self.leaving.retain(|fleet| !fleet.is_gone());
    }
}

impl Squad {
    /// The work in all queues of the TaskQueue.
    async fn read(&self, broker: &Broker) -> Result<Backlog, BrokerError> {
        let mut sum = Backlog::default();
        for queue in &self.queue.queues {
            sum = sum.and(broker.backlog(&queue.redis_name, self.observer.lead_time()).await?);
        }
        Ok(sum)
    }

    fn adopt(&mut self, plan: Plan, tell: &Tell) {
        let (from, to) = (self.wanted, plan.replicas);
        if from != to {
            self.wanted = to;
            tell(Event::Fleet { name: self.fleet.name().to_owned(), from, to, why: plan.to_string() });
        }
    }
}

impl Surroundings {
    /// How one worker of a TaskQueue is started.
    fn command(&self, queue: &ResolvedQueue, workers: &FleetPlan) -> CommandLine {
        let mut environment = queue.worker_environment(workers);
        environment.insert("CRONMILL_REDIS_URL", self.redis_url.expose_secret().trim().to_owned());
        environment.insert("CRONMILL_SHUTDOWN_TIMEOUT", PATIENCE.to_owned());
        if let Some(file) = &self.redis_ca {
            environment.insert("CRONMILL_REDIS_CA", file.to_string_lossy().into_owned());
        }
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match &queue.program {
            WorkerProgram::Container(container) => self.found(container.command_line(&environment)),
            WorkerProgram::Bundled => CommandLine {
                program: self.bundled_worker.to_string_lossy().into_owned(),
                arguments: Vec::new(),
                environment,
                folder: None,
            },
        }
    }

    /// With the bundled worker's bare name, which an image finds in its `PATH`, standing for the one beside us.
    fn found(&self, mut line: CommandLine) -> CommandLine {
        if self.bundled_worker.file_name().is_some_and(|name| name == line.program.as_str()) {
            line.program = self.bundled_worker.to_string_lossy().into_owned();
        }
        line
    }
}
