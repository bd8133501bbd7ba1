//! Putting the schedules of a file into force, and keeping them there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::broker::{BrokerError, FileMark, Page};
use crate::causes;
use crate::schedule::{Entry, Timing};
use crate::scheduler::{Applied, Scheduler, SchedulerError};
use crate::task::QueueName;

/// Entries written at once.
const WRITES_AT_ONCE: usize = 64;
/// Entries read at once.
const PAGE: usize = 200;
/// How often everything is compared with Redis again.
const COMPARE: Duration = Duration::from_secs(60);
/// How often it is looked whether the file is still the one in force.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a file was read everything is compared at each look: a process of another file of this name may have
/// been writing just then, and has not seen yet that it must not.
const RACE: Duration = Duration::from_secs(5);

/// The schedules that this process fires: those of its file, or all of its file's name where another file is in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Living(Arc<Mutex<Option<HashSet<String>>>>);

impl Living {
    pub(super) fn contains(&self, uid: &str) -> bool {
        let living = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        living.as_ref().is_none_or(|uids| uids.contains(uid))
    }

    fn set(&self, uids: Option<HashSet<String>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = uids;
    }
}

/// What is to stand in Redis.
pub(super) struct Force {
    scheduler: Scheduler,
    cluster: String,
    file: String,
    host: String,
    living: Living,
    entries: Vec<Entry>,
    hash: String,
    /// The file was read and Redis does not know yet.
    is_unsaid: bool,
    /// When Redis was told.
    said: Option<Instant>,
    /// The other file that is in force.
    superseded_by: Option<FileMark>,
    /// When all of it was last compared with Redis.
    compared: Option<Instant>,
    /// What was told of each entry, by uid.
    told: HashMap<String, String>,
}

impl Force {
    pub(super) fn new(
        scheduler: Scheduler,
        cluster: String,
        file: String,
        host: String,
        living: Living,
    ) -> Self {
        Self {
            scheduler,
            cluster,
            file,
            host,
            living,
            entries: Vec::new(),
            hash: String::new(),
            is_unsaid: false,
            said: None,
            superseded_by: None,
            compared: None,
            told: HashMap::new(),
        }
    }

    /// Takes in what was read. From this moment on this process fires nothing that is gone.
    pub(super) fn take(&mut self, entries: Vec<Entry>) {
        self.living.set(Some(entries.iter().map(|entry| entry.uid.clone()).collect()));
        self.hash = hash(&entries);
        self.entries = entries;
        self.is_unsaid = true;
    }

    /// Does what there is to do; answers how long there is nothing more.
    pub(super) async fn step(&mut self) -> Result<Duration, BrokerError> {
        let broker = self.scheduler.broker();
        if std::mem::take(&mut self.is_unsaid) {
            let (file, host) = (self.file.clone(), self.host.clone());
            let mark = FileMark::new(self.hash.clone(), file, host, broker.now());
            if let Err(error) = broker.put_file_mark(&self.cluster, &mark).await {
                self.is_unsaid = true;
                return Err(error);
            }
            (self.said, self.superseded_by, self.compared) = (Some(Instant::now()), None, None);
        } else {
            match broker.file_mark(&self.cluster).await? {
                Some(mark) if mark.hash != self.hash => {
                    self.give_way(mark);
                    return Ok(LOOK);
                }
                Some(_) => self.come_back(),
                None => {
                    tracing::warn!("Redis has lost what was in force; it is put there again");
                    self.is_unsaid = true;
                    return Ok(Duration::ZERO);
                }
            }
        }
        let is_race = self.said.is_some_and(|at| at.elapsed() < RACE);
        if is_race || self.compared.is_none_or(|at| at.elapsed() >= COMPARE) {
            self.compare().await?;
            self.compared = Some(Instant::now());
        }
        Ok(LOOK)
    }

    /// Everything is to be compared with Redis again.
    pub(super) fn compare_all(&mut self) {
        self.compared = None;
    }

    /// Another file of this name was read later.
    fn give_way(&mut self, mark: FileMark) {
        if self.superseded_by.as_ref().is_none_or(|known| known.hash != mark.hash) {
            tracing::warn!(
                reason = "OtherFileInForce",
                "another file of this Name was read on {} at {}, {}, and is in force in place of {}; a file with schedules \
                 of its own needs a Name of its own, and a restart puts this one into force",
                mark.host,
                mark.read,
                mark.file,
                self.file
            );
            self.living.set(None);
            self.superseded_by = Some(mark);
        }
    }

    fn come_back(&mut self) {
        if self.superseded_by.take().is_some() {
            tracing::info!("{} is in force again", self.file);
            self.living.set(Some(self.entries.iter().map(|entry| entry.uid.clone()).collect()));
            self.compared = None;
        }
    }

    /// Takes out what is not in the file, and writes what is.
    async fn compare(&mut self) -> Result<(), BrokerError> {
        let stored = self.stored().await?;
        let wanted: HashMap<_, _> =
            self.entries.iter().map(|entry| (entry.uid.clone(), entry.template.queue.clone())).collect();
        let mut elsewhere = HashMap::new();
        for (queue, uid, name) in &stored {
            match wanted.get(uid) {
                Some(place) if place == queue.as_str() => {}
                Some(_) => drop(elsewhere.insert(uid.as_str(), queue)),
                None => {
                    self.scheduler.remove(queue, uid, &self.cluster).await?;
                    self.told.remove(uid);
                    tracing::info!(
                        entry.id = %uid, queue.name = %queue,
                        "{name} is no longer in the file and was taken out"
                    );
                }
            }
        }
        let put = |entry: Entry| {
            let from = elsewhere.get(entry.uid.as_str()).copied();
            let scheduler = &self.scheduler;
            async move {
                let put = put(scheduler, &entry, from).await;
                (entry, put)
            }
        };
        let puts: Vec<_> = self.entries.clone().into_iter().map(put).collect();
        let done: Vec<_> = stream::iter(puts).buffer_unordered(WRITES_AT_ONCE).collect().await;
        let mut failed = None;
        for (entry, put) in done {
            match put {
                Err(SchedulerError::Broker { source, .. }) if source.is_retryable() => failed = Some(source),
                put => self.tell(&entry, put),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The schedules of this name that stand in Redis: queue, uid and name.
    async fn stored(&self) -> Result<Vec<(QueueName, String, String)>, BrokerError> {
        let broker = self.scheduler.broker();
        let mut found = Vec::new();
        for queue in broker.scheduled_queues().await? {
            let mut offset = 0;
            loop {
                let page = broker.entries(&queue, Page { offset, limit: PAGE }).await?;
                let read = page.len();
                for stored in page.into_iter().filter(|stored| stored.cluster == self.cluster) {
                    let name = stored.entry.map_or_else(|_| stored.uid.clone(), |entry| entry.key());
                    found.push((queue.clone(), stored.uid, name));
                }
                offset += read;
                if read < PAGE {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Logs what became of an entry, once.
    fn tell(&mut self, entry: &Entry, put: Result<(), SchedulerError>) {
        let said = match &put {
            Ok(()) => entry.revision.hash.clone(),
            Err(error) => causes::on_one_line(error),
        };
        if self.told.get(&entry.uid) == Some(&said) {
            return;
        }
        let (uid, name, queue) = (&entry.uid, entry.key(), &entry.template.queue);
        match put {
            Ok(()) => {
                let spec = entry.timing.schedules.concat();
                let zone = entry.timing.time_zone.as_deref().unwrap_or("UTC");
                let timing = Timing::parse(&entry.timing).ok();
                let next = timing.and_then(|timing| timing.next_after(self.scheduler.broker().now()));
                let next = next.map_or_else(|| "never".to_owned(), |next| next.to_string());
                let kind = &entry.template.kind;
                tracing::info!(
                    entry.id = %uid, queue.name = %queue, task.r#type = %kind,
                    "registered {name}: {spec:?} in {zone}, next at {next}"
                );
            }
            Err(error) => tracing::error!(
                entry.id = %uid, queue.name = %queue, reason = error.reason(),
                "could not register {name}: {said}"
            ),
        }
        self.told.insert(uid.clone(), said);
    }
}

/// Writes an entry, and takes it out of the other queue it stands in.
async fn put(scheduler: &Scheduler, entry: &Entry, from: Option<&QueueName>) -> Result<(), SchedulerError> {
    let applied = match from {
        Some(from) => scheduler.apply_moved(entry, from).await?,
        None => scheduler.apply(entry).await?,
    };
    if let Applied::Superseded(stored) = applied
        && stored.hash != entry.revision.hash
    {
        // Which file is in force is decided already.
        let mut again = entry.clone();
        (again.revision.generation, again.revision.epoch) = (stored.generation + 1, stored.epoch);
        scheduler.apply(&again).await?;
    }
    Ok(())
}

/// A hash of all schedules, in whatever order they stand.
fn hash(entries: &[Entry]) -> String {
    let mut hashes: Vec<_> = entries.iter().map(Entry::content_hash).collect();
    hashes.sort();
    let digest = Sha256::digest(hashes.concat());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
