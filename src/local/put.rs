//! Putting manifests into force in Redis, and keeping them there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, stream};

use super::manifest::{ResolvedQueue, ResolvedTask};
use crate::broker::{Broker, BrokerError, PauseNote};
use crate::schedule::Entry;
use crate::scheduler::{Applied, Scheduler, SchedulerError};
use crate::task::QueueName;

/// Entries written at once.
const WRITES_AT_ONCE: usize = 64;
/// What our pauses are marked with.
const SOURCE: &str = "manifest";

/// What is still to be written, and where things stand.
pub(super) struct Put {
    scheduler: Scheduler,
    cluster: String,
    /// The queue each entry was last put into, by uid.
    placed: HashMap<String, QueueName>,
    dirty: HashMap<String, Arc<ResolvedTask>>,
    gone: HashMap<String, QueueName>,
    queues: BTreeMap<QueueName, Option<PauseNote>>,
    dirty_queues: HashSet<QueueName>,
}

impl Put {
    pub(super) fn new(scheduler: Scheduler, cluster: String) -> Self {
        Self {
            scheduler,
            cluster,
            placed: HashMap::new(),
            dirty: HashMap::new(),
            gone: HashMap::new(),
            queues: BTreeMap::new(),
            dirty_queues: HashSet::new(),
        }
    }

    /// A schedule is new or different, or is to be looked at again.
    pub(super) fn want(&mut self, task: &Arc<ResolvedTask>) {
        self.gone.remove(&task.entry.uid);
        self.dirty.insert(task.entry.uid.clone(), Arc::clone(task));
    }

    /// A schedule is no longer wanted.
    pub(super) fn unwant(&mut self, task: &ResolvedTask) {
        self.scheduler.deny(&task.entry.uid);
        self.dirty.remove(&task.entry.uid);
        let queue = QueueName::new(task.entry.template.queue.as_str()).ok();
        if let Some(queue) = self.placed.remove(&task.entry.uid).or(queue) {
            self.gone.insert(task.entry.uid.clone(), queue);
        }
    }

    /// The queues wanted, with their pauses.
    pub(super) fn want_queues<'a>(&mut self, queues: impl Iterator<Item = &'a Arc<ResolvedQueue>>) {
        let mut wanted = BTreeMap::new();
        for object in queues {
            for queue in &object.queues {
                let note = queue.paused.as_ref().map(|paused| PauseNote {
                    source: SOURCE.to_owned(),
                    reason: paused.reason.clone(),
                    actor: object.key.to_string(),
                    until: paused.until,
                });
                wanted.insert(queue.redis_name.clone(), note);
            }
        }
        for name in wanted.keys().chain(self.queues.keys()) {
            if wanted.get(name) != self.queues.get(name) {
                self.dirty_queues.insert(name.clone());
            }
        }
        self.queues = wanted;
    }

    /// Every queue that is wanted.
    pub(super) fn queue_names(&self) -> Vec<QueueName> {
        self.queues.keys().cloned().collect()
    }

    /// Looks at all queues again.
    pub(super) fn want_queues_again(&mut self) {
        self.dirty_queues.extend(self.queues.keys().cloned());
    }

    /// Takes every schedule of ours out of force that is not wanted: what was deleted while nobody ran.
    pub(super) async fn sweep<'a>(
        &self,
        wanted: impl Iterator<Item = &'a Arc<ResolvedTask>>,
    ) -> Result<usize, BrokerError> {
        let place = |task: &Arc<ResolvedTask>| (task.entry.template.queue.clone(), task.entry.uid.clone());
        self.scheduler.sweep(&self.cluster, &wanted.map(place).collect()).await
    }

    /// Writes what is to be written. What fails and may pass stays for the next time; what cannot be right is
    /// answered and left.
    pub(super) async fn flush(&mut self) -> (Result<(), BrokerError>, Vec<SchedulerError>) {
        let mut wrong = Vec::new();
        let written = self.flush_all(&mut wrong).await;
        (written, wrong)
    }

    async fn flush_all(&mut self, wrong: &mut Vec<SchedulerError>) -> Result<(), BrokerError> {
        let broker = self.scheduler.broker().clone();
        for queue in self.dirty_queues.clone() {
            self.put_queue(&broker, &queue).await?;
            self.dirty_queues.remove(&queue);
        }
        for (uid, queue) in self.gone.clone() {
            self.scheduler.remove(&queue, &uid, &self.cluster).await?;
            self.gone.remove(&uid);
        }
        let tasks: Vec<_> = self.dirty.values().cloned().collect();
        let writes: Vec<_> =
            tasks.iter().map(|task| self.put(&task.entry).map(move |put| (task, put)).boxed()).collect();
        let mut written = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        let mut done = Vec::new();
        let mut failed = None;
        while let Some((task, put)) = written.next().await {
            match put {
                Ok(()) => done.push(task),
                Err(SchedulerError::Broker { source, .. }) if source.is_retryable() => failed = Some(source),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "will be tried again")
                }
                Err(error) => {
                    wrong.push(error);
                    done.push(task);
                }
            }
        }
        drop(written);
        for task in done {
            let queue = QueueName::new(task.entry.template.queue.as_str())?;
            self.placed.insert(task.entry.uid.clone(), queue);
            self.dirty.remove(&task.entry.uid);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn put_queue(&self, broker: &Broker, queue: &QueueName) -> Result<(), BrokerError> {
        broker.register_queue(queue).await?;
        match self.queues.get(queue).and_then(Option::as_ref) {
            Some(note) => {
                if !broker.pause(queue, note).await? {
                    tracing::info!(queue.name = %queue, "paused by another program already");
                }
            }
            None => drop(broker.resume(queue, Some(SOURCE)).await?),
        }
        Ok(())
    }

    async fn put(&self, entry: &Entry) -> Result<(), SchedulerError> {
        let moved = self.placed.get(&entry.uid).filter(|queue| queue.as_str() != entry.template.queue);
        let applied = match moved {
            Some(from) => self.scheduler.apply_moved(entry, from).await?,
            None => self.scheduler.apply(entry).await?,
        };
        match applied {
            // The file is the truth here, also when an older copy of it was put back.
            Applied::Superseded(stored) if stored.hash != entry.revision.hash => {
                let mut again = entry.clone();
                again.revision.generation = stored.generation + 1;
                again.revision.epoch = stored.epoch;
                self.scheduler.apply(&again).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}
