//! Putting manifests into force in Redis, and keeping them there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Tell};
use super::manifest::{Changes, ObjectKey, ResolvedQueue, ResolvedTask};
use crate::broker::Outage;
use crate::broker::{BrokerError, PauseNote};
use crate::schedule::Entry;
use crate::scheduler::{Applied, Scheduler, SchedulerError};
use crate::task::QueueName;

/// Entries and queues written or removed at once.
const WRITES_AT_ONCE: usize = 64;
/// Entries compared with Redis before an edit may come in between.
const COMPARES_IN_A_ROW: usize = 256;
/// How often everything is compared with Redis again.
const COMPARE: Duration = Duration::from_secs(60);
/// How often Redis is looked at in between: it may have started anew, without what it held.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a schedule is tried again that something stood in the way of.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// What our pauses are marked with.
const SOURCE: &str = "manifest";

/// What is to stand in Redis, and what of it is still to be written.
pub(super) struct Put {
    scheduler: Scheduler,
    cluster: String,
    tell: Tell,
    /// Schedules by uid.
    wanted: HashMap<String, Arc<ResolvedTask>>,
    /// The queue each entry was last put into, by uid.
    placed: HashMap<String, QueueName>,
    task_queues: BTreeMap<ObjectKey, Arc<ResolvedQueue>>,
    edits: Edits,
    /// Schedules still to be compared with Redis, by uid.
    compares: Vec<String>,
    compared: Instant,
    /// The run of Redis that everything was put into.
    redis_run: Option<String>,
    /// Schedules that cannot be put into force, by uid, and why.
    refused: HashMap<String, String>,
    refusals: Arc<AtomicUsize>,
}

/// What files changed and Redis does not know yet.
#[derive(Default)]
struct Edits {
    /// Schedules to write, by uid.
    tasks: BTreeSet<String>,
    /// Schedules to take out, with their queues.
    gone: BTreeMap<String, QueueName>,
    /// Queues whose pause is to be set or lifted.
    queues: BTreeSet<QueueName>,
    /// What was done since it was last told.
    written: usize,
    removed: usize,
    is_told: bool,
}

impl Put {
    /// `refusals` will hold how many schedules cannot be put into force.
    pub(super) fn new(scheduler: Scheduler, cluster: String, tell: Tell, refusals: Arc<AtomicUsize>) -> Self {
        Self {
            scheduler,
            cluster,
            tell,
            wanted: HashMap::new(),
            placed: HashMap::new(),
            task_queues: BTreeMap::new(),
            edits: Edits::default(),
            compares: Vec::new(),
            compared: Instant::now(),
            redis_run: None,
            refused: HashMap::new(),
            refusals,
        }
    }

    /// Takes in what was read. From this moment on this process fires nothing that is gone, even if Redis cannot
    /// be told yet.
    pub(super) fn take(&mut self, changes: &Changes) {
        let tasks = changes.upserted_tasks.len() + changes.removed_tasks.len();
        let queues = changes.upserted_queues.len() + changes.removed_queues.len();
        self.edits.is_told &= tasks + queues == 0;
        changes.removed_tasks.iter().for_each(|task| self.unwant(task));
        for task in &changes.upserted_tasks {
            self.edits.gone.remove(&task.entry.uid);
            self.edits.tasks.insert(task.entry.uid.clone());
            self.wanted.insert(task.entry.uid.clone(), Arc::clone(task));
        }
        for queue in &changes.removed_queues {
            self.task_queues.remove(&queue.key);
            self.edits.queues.extend(names(queue));
        }
        for queue in &changes.upserted_queues {
            if let Some(before) = self.task_queues.insert(queue.key.clone(), Arc::clone(queue)) {
                self.edits.queues.extend(names(&before));
            }
            self.edits.queues.extend(names(queue));
        }
    }

    fn unwant(&mut self, task: &ResolvedTask) {
        let uid = &task.entry.uid;
        self.scheduler.deny(uid);
        self.wanted.remove(uid);
        self.edits.tasks.remove(uid);
        self.refused.remove(uid);
        self.refusals.store(self.refused.len(), Ordering::Relaxed);
        let queue = QueueName::new(task.entry.template.queue.as_str()).ok();
        if let Some(queue) = self.placed.remove(uid).or(queue) {
            self.edits.gone.insert(uid.clone(), queue);
        }
    }

    /// Takes every schedule of ours out of force that is not wanted: what was deleted while nobody ran.
    pub(super) async fn sweep(&self) -> Result<(), BrokerError> {
        let place = |task: &Arc<ResolvedTask>| (task.entry.template.queue.clone(), task.entry.uid.clone());
        let keep = self.wanted.values().map(place).collect();
        self.scheduler.sweep(&self.cluster, &keep).await.map(drop)
    }

    /// How many schedules of others stand in this Redis, once all of ours do.
    pub(super) async fn count_others(&self) -> Result<u64, BrokerError> {
        let broker = self.scheduler.broker();
        let mut all = 0;
        for queue in broker.scheduled_queues().await? {
            all += broker.entry_count(&queue).await?;
        }
        Ok(all.saturating_sub(self.placed.len() as u64))
    }

    /// Puts into force what comes, and keeps it there, until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Arc<Changes>>,
        stop: CancellationToken,
    ) {
        let mut outage = Outage::new("put manifests into force");
        let mut is_away = false;
        loop {
            let pause = match stop.run_until_cancelled(self.step()).await {
                None => return,
                Some(Ok(_)) if std::mem::take(&mut is_away) => {
                    outage.ended();
                    // Nobody knows what it held on to.
                    self.compare_all();
                    Duration::ZERO
                }
                Some(Ok(pause)) => pause,
                Some(Err(error)) => {
                    is_away = true;
                    outage.failed(&error)
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                order = orders.recv() => match order {
                    Some(changes) => self.take(&changes),
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does a part of what there is to do; answers how long there is nothing more.
    async fn step(&mut self) -> Result<Duration, BrokerError> {
        self.flush().await?;
        if self.compares.is_empty() {
            self.look().await?;
        }
        let rest = self.compares.len().saturating_sub(COMPARES_IN_A_ROW);
        let uids = self.compares.split_off(rest);
        if let Err(error) = self.write(&uids).await {
            self.compares.extend(uids);
            return Err(error);
        }
        Ok(match (self.compares.is_empty(), self.edits.tasks.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, false) => TRY_AGAIN,
            (true, true) => LOOK,
        })
    }

    /// Everything is to be compared with Redis again: what is missing there is written anew.
    fn compare_all(&mut self) {
        self.compared = Instant::now();
        self.compares = self.wanted.keys().cloned().collect();
        self.edits.queues.extend(self.task_queues.values().flat_map(|queue| names(queue)));
    }

    /// Looks whether it is time to compare, or Redis has started anew.
    async fn look(&mut self) -> Result<(), BrokerError> {
        let run = self.scheduler.broker().facts().await?.run_id;
        let is_another = self.redis_run.as_ref().is_some_and(|known| *known != run);
        self.redis_run = Some(run);
        if is_another {
            tracing::info!("Redis has started anew; what it lacks is put into force again");
            self.compare_all();
        } else if self.compared.elapsed() >= COMPARE {
            self.compare_all();
        }
        Ok(())
    }

    /// Writes what files changed. What fails and may pass stays for the next time.
    pub(super) async fn flush(&mut self) -> Result<(), BrokerError> {
        let put = &*self;
        let queues = put.edits.queues.iter().cloned();
        let queues =
            queues.map(|queue| async move { (put.put_queue(&queue).await, queue) }.boxed()).collect();
        let (done, failed) = some_at_a_time(queues).await;
        for queue in &done {
            self.edits.queues.remove(queue);
        }
        failed.map_or(Ok(()), Err)?;

        let put = &*self;
        let gone = put.edits.gone.clone().into_iter();
        let gone = gone.map(|(uid, queue)| {
            async move { (put.scheduler.remove(&queue, &uid, &put.cluster).await, uid) }.boxed()
        });
        let (done, failed) = some_at_a_time(gone.collect()).await;
        for uid in &done {
            self.edits.gone.remove(uid);
        }
        self.edits.removed += done.len();
        failed.map_or(Ok(()), Err)?;

        let uids: Vec<_> = self.edits.tasks.iter().cloned().collect();
        self.write(&uids).await?;
        self.tell_in_force();
        Ok(())
    }

    fn tell_in_force(&mut self) {
        if self.edits.is_told || !self.edits.tasks.is_empty() {
            return;
        }
        self.edits.is_told = true;
        let (tasks, queues) = (self.placed.len(), self.task_queues.len());
        let [written, removed] = [&mut self.edits.written, &mut self.edits.removed].map(std::mem::take);
        (self.tell)(Event::InForce { tasks, queues, written, removed });
    }

    /// Writes schedules.
    async fn write(&mut self, uids: &[String]) -> Result<(), BrokerError> {
        let put = &*self;
        let tasks = uids.iter().filter_map(|uid| put.wanted.get(uid)).cloned();
        let writes = tasks.map(|task| {
            async move {
                match put.put(&task.entry).await {
                    Err(SchedulerError::Broker { source, .. }) if source.is_retryable() => {
                        (Err(source), None)
                    }
                    written => (Ok(()), Some((task, written))),
                }
            }
            .boxed()
        });
        let (written, failed) = some_at_a_time(writes.collect()).await;
        for (task, written) in written.into_iter().flatten() {
            self.note(&task, written);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Notes what became of writing a schedule.
    fn note(&mut self, task: &ResolvedTask, written: Result<QueueName, SchedulerError>) {
        let uid = &task.entry.uid;
        let is_edit = self.edits.tasks.remove(uid);
        match written {
            Ok(queue) => {
                self.placed.insert(uid.clone(), queue);
                self.refused.remove(uid);
                self.edits.written += usize::from(is_edit);
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "will be tried again");
                self.edits.tasks.insert(uid.clone());
            }
            Err(error) => {
                let why = format!("{error:?}");
                if self.refused.insert(uid.clone(), why.clone()) != Some(why) {
                    (self.tell)(Event::Refused(Arc::new(error)));
                }
            }
        }
        self.refusals.store(self.refused.len(), Ordering::Relaxed);
    }

    async fn put(&self, entry: &Entry) -> Result<QueueName, SchedulerError> {
        let broker_error = |source| SchedulerError::Broker { schedule: entry.key(), source };
        let queue =
            QueueName::new(entry.template.queue.as_str()).map_err(|error| broker_error(error.into()))?;
        let applied = match self.placed.get(&entry.uid).filter(|from| **from != queue) {
            Some(from) => self.scheduler.apply_moved(entry, from).await?,
            None => self.scheduler.apply(entry).await?,
        };
        if let Applied::Superseded(stored) = applied
            && stored.hash != entry.revision.hash
        {
            // The file is the truth here, also when an older copy of it was put back.
            let mut again = entry.clone();
            (again.revision.generation, again.revision.epoch) = (stored.generation + 1, stored.epoch);
            self.scheduler.apply(&again).await?;
        }
        Ok(queue)
    }

    /// Enters a queue among all queues, and sets or lifts its pause.
    async fn put_queue(&self, name: &QueueName) -> Result<(), BrokerError> {
        let broker = self.scheduler.broker();
        let served = self.task_queues.values().find_map(|object| {
            let queue = object.queues.iter().find(|queue| queue.redis_name == *name)?;
            Some((object, queue))
        });
        if served.is_some() {
            broker.register_queue(name).await?;
        }
        match served.and_then(|(object, queue)| Some((object, queue.pause_at(broker.now())?))) {
            Some((object, paused)) => {
                let (source, actor) = (SOURCE.to_owned(), object.key.to_string());
                let note = PauseNote { source, reason: paused.reason.clone(), actor, until: paused.until };
                if !broker.pause(name, &note).await? {
                    tracing::info!(queue.name = %name, "paused by another program already");
                }
            }
            None => drop(broker.resume(name, Some(SOURCE)).await?),
        }
        Ok(())
    }
}

/// The names in Redis of a TaskQueue's queues.
fn names(queue: &ResolvedQueue) -> impl Iterator<Item = QueueName> {
    queue.queues.iter().map(|queue| queue.redis_name.clone())
}

/// Awaits writes until one fails: the keys of those that did not, and the failure. What is under way then is
/// dropped, which no write minds.
async fn some_at_a_time<K>(
    writes: Vec<BoxFuture<'_, (Result<(), BrokerError>, K)>>,
) -> (Vec<K>, Option<BrokerError>) {
    let mut writes = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
    let mut done = Vec::new();
    while let Some((written, key)) = writes.next().await {
        match written {
            Ok(()) => done.push(key),
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}
