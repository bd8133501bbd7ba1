//! The fleets of all TaskQueues, and how large each is to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use super::event::{Event, Tell};
use super::fleet::Fleet;
use super::guard::Guard;
use super::manifest::{CommandLine, ObjectKey, ResolvedQueue, WorkerProgram};
use super::observe::{Held, Starts, held_on};
use crate::broker::{Broker, BrokerError, Demand, DemandReader};
use crate::fleet::{FleetName, FleetWatch, Work, read_records, write_records};
use crate::resolve::FleetPlan;
use crate::scaling::{Plan, Policy};
use crate::task::QueueName;
use crate::telemetry::Metrics;

/// Lead time until one was measured: what starting a process takes at most.
const LEAD_TIME_GUESS: Duration = Duration::from_secs(1);
/// Whose fleets they are, in what is written down.
const OWNER: &str = "local";
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
    reader: DemandReader,
    squads: BTreeMap<ObjectKey, Squad>,
    leaving: Vec<Fleet>,
}

/// The workers of one TaskQueue and what is known about them.
struct Squad {
    policy: Policy,
    fleet: Fleet,
    watch: FleetWatch,
    starts: Starts,
    /// How many there are to be.
    wanted: u32,
}

impl Squads {
    pub(super) fn new(broker: Broker, around: Surroundings, metrics: Metrics, tell: Tell) -> Self {
        let (squads, leaving, reader) = (BTreeMap::new(), Vec::new(), DemandReader::new(broker.clone()));
        Self { broker, around, metrics, tell, reader, squads, leaving }
    }

    /// A TaskQueue is new or different. Nothing is started before the next look.
    pub(super) fn muster(&mut self, queue: &Arc<ResolvedQueue>) {
        let workers = queue.workers.as_ref();
        let wanted =
            workers.and_then(|workers| Some((self.around.command(queue, workers)?, workers.policy())));
        let Some((command, policy)) = wanted else { return self.dismiss(&queue.key) };
        let served: Vec<_> = queue.queues.iter().map(|queue| queue.redis_name.clone()).collect();
        if let Some(squad) = self.squads.get_mut(&queue.key) {
            squad.policy = policy;
            squad.watch.serve(served);
            squad.fleet.change(command);
            return;
        }
        let name = format!("{}/{}", queue.key.namespace, queue.key.name);
        let squad = Squad {
            policy,
            watch: FleetWatch::new(
                FleetName { name: name.clone(), owner: OWNER.to_owned() },
                served,
                LEAD_TIME_GUESS,
            ),
            fleet: Fleet::new(name, command, self.around.guard.clone()),
            starts: Starts::default(),
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
        let (held, failed) = match self.read_and_plan().await {
            Ok(read) => read,
            Err(error) => (Held::new(), Some(error)),
        };
        for squad in self.squads.values_mut() {
            squad.fleet.resize(squad.wanted, &held);
            self.metrics.set_fleet(squad.fleet.name(), squad.fleet.processes(), squad.wanted);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Decides anew what every fleet is to have, but for those whose queues cannot be read. Answers what workers hold,
    /// where that is needed, and why some could not be read.
    async fn read_and_plan(&mut self) -> Result<(Held, Option<BrokerError>), BrokerError> {
        self.recall().await?;
        let asked: Vec<_> = self.squads.values().flat_map(Squad::asks).collect();
        let mut demands = self.reader.read(&asked).await?.into_iter();
        let (at, now) = (Instant::now(), self.broker.now());
        let (mut plans, mut unread, mut is_held_needed) =
            (Vec::with_capacity(self.squads.len()), None, false);
        for squad in self.squads.values_mut() {
            let workers = squad.fleet.len();
            let read: Vec<_> = demands.by_ref().take(squad.watch.queues().len()).collect();
            let read: Result<Vec<Demand>, _> = read.into_iter().collect();
            let decide =
                |read: Vec<Demand>| squad.watch.decide(&Work::of(&read), &squad.policy, workers, now);
            let plan = read.map(decide).map_err(|error| unread = Some(error)).ok();
            is_held_needed |= squad.starts.awaits(squad.fleet.staying(), at);
            is_held_needed |= plan.is_some_and(|plan| plan.replicas < workers);
            plans.push(plan);
        }
        let held = match is_held_needed {
            true => held_on(&self.around.host, &self.broker.servers().await?),
            false => Held::new(),
        };
        for (squad, plan) in self.squads.values_mut().zip(plans) {
            squad.starts.hear(&held, at).into_iter().for_each(|took| squad.watch.learn_start(took));
            plan.into_iter().for_each(|plan| squad.adopt(plan, &self.tell));
        }
        write_records(&self.broker, self.squads.values_mut().map(|squad| &mut squad.watch), now).await?;
        Ok((held, unread))
    }

    /// Has new fleets go on from what was written down of them.
    async fn recall(&mut self) -> Result<(), BrokerError> {
        let (broker, now) = (self.broker.clone(), self.broker.now());
        for squad in self.squads.values_mut().filter(|squad| squad.watch.is_new()) {
            let records = read_records(&broker, squad.watch.queues()).await?;
            squad.watch.recall(&records, &squad.policy, squad.fleet.len(), now);
        }
        let squads = &self.squads;
        self.reader.keep_only(|queue| squads.values().any(|squad| squad.watch.queues().contains(queue)));
        Ok(())
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
    /// Its queues, and how far ahead their work is to be looked for.
    fn asks(&self) -> Vec<(QueueName, Duration)> {
        self.watch.queues().iter().map(|queue| (queue.clone(), self.watch.ahead())).collect()
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
    /// How one worker of a TaskQueue is started; `None` where that is a cluster's business.
    fn command(&self, queue: &ResolvedQueue, workers: &FleetPlan) -> Option<CommandLine> {
        let mut environment = queue.worker_environment(workers);
        environment.insert("CRONMILL_REDIS_URL", self.redis_url.expose_secret().trim().to_owned());
        environment.insert("CRONMILL_SHUTDOWN_TIMEOUT", PATIENCE.to_owned());
        if let Some(file) = &self.redis_ca {
            environment.insert("CRONMILL_REDIS_CA", file.to_string_lossy().into_owned());
        }
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match &queue.program {
            WorkerProgram::Container(container) => Some(self.found(container.command_line(&environment))),
            WorkerProgram::Bundled => Some(CommandLine {
                program: self.bundled_worker.to_string_lossy().into_owned(),
                arguments: Vec::new(),
                environment,
                folder: None,
            }),
            WorkerProgram::Target => None,
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
