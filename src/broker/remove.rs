//! Deleting a queue, so that nothing of it is left behind.
//!
//! First the queue is closed: a script sees that nothing uses it and pauses it. Then its tasks go in bounded steps,
//! then every key with its name, and last its name among the queues. Interrupted anywhere, the same
//! call goes on from there. Keys go only while the queue holds nothing, so one that a producer fills meanwhile
//! loses nothing.

use super::bulk::{BulkVerb, Selection};
use super::error::Doing as _;
use super::keys::{QUEUES, QueueKeys, SCHEDULED_QUEUES, glob_escaped};
use super::link::Shard;
use super::script::{self, Call};
use super::{Broker, BrokerError};
use crate::task::{QueueName, State};

/// What the pause of a queue that is being deleted names as its source.
const SOURCE: &str = "deletion";
/// Keys that one step of a scan looks at.
const SCAN_STEP: usize = 500;
/// Keys that one script deletes.
const KEYS_PER_CALL: usize = 100;
/// How often a queue is emptied again that others go on filling.
const ROUNDS_MAX: usize = 5;

/// What became of a wish to delete a queue. Where it was not deleted, nothing changed but what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRemoval {
    /// Nothing of it is left.
    Removed {
        /// Tasks deleted with it.
        tasks: u64,
    },
    /// There is no such queue.
    Absent,
    /// Workers run this many of its tasks, or aggregate groups of it.
    Active {
        /// Tasks that run.
        tasks: u64,
    },
    /// Schedules make tasks for it.
    Schedules {
        /// How many.
        count: u64,
    },
    /// It holds tasks, and was to be deleted only without.
    NotEmpty {
        /// How many, in all seven states.
        tasks: u64,
        /// How many more stand in no list: what another program left behind.
        orphans: u64,
    },
    /// Others went on filling it while it was emptied; it is paused.
    Refilled {
        /// Tasks deleted so far.
        tasks: u64,
    },
}

/// Where a scan of a queue's keys stands.
#[derive(Default)]
struct Census {
    tasks: u64,
    entries: u64,
}

impl Broker {
    /// Deletes a queue and every key of it: with `force` also its waiting tasks, and the locks they hold.
    /// `progress` hears how many tasks were deleted so far.
    ///
    /// A queue that is in use is left: by running tasks or schedules always, by waiting tasks without `force`. It
    /// looks through the names of all keys in Redis, some hundreds a step. Cancel-safe: called again it goes on
    /// from there; until then the queue is paused.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn remove_queue(
        &self,
        queue: &QueueName,
        force: bool,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<QueueRemoval, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("SISMEMBER").arg(QUEUES).arg(queue.as_str());
        let (known,): (bool,) = self.pipe("look for the queue", queue.as_str(), &pipe).await?;
        if !known {
            return Ok(QueueRemoval::Absent);
        }
        let census = self.census(queue).await?;
        if census.entries > 0 {
            return Ok(QueueRemoval::Schedules { count: census.entries });
        }
        if !force && census.tasks > 0 && self.length(queue, State::Active).await? == 0 {
            let tasks = self.size(queue).await?;
            return Ok(QueueRemoval::NotEmpty { tasks, orphans: census.tasks.saturating_sub(tasks) });
        }
        let mut tasks = 0;
        for _ in 0..ROUNDS_MAX {
            if let Some(refusal) = self.close(queue, force).await? {
                return Ok(refusal);
            }
            if force {
                tasks += self.empty(queue, tasks, &mut progress).await?;
            }
            if self.drop_all_keys(queue).await? {
                self.forget(queue).await?;
                return Ok(QueueRemoval::Removed { tasks });
            }
        }
        Ok(QueueRemoval::Refilled { tasks })
    }

    /// All tasks of a queue, counted exactly.
    async fn size(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        let mut size = self.count_aggregating(queue, None).await?;
        for state in State::ALL.into_iter().filter(|state| *state != State::Aggregating) {
            size += self.length(queue, state).await?;
        }
        Ok(size)
    }

    /// Stops claims, or tells why the queue cannot go.
    async fn close(&self, queue: &QueueName, force: bool) -> Result<Option<QueueRemoval>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::CLOSE_QUEUE.call();
        with_holders(&mut call, keys).key(keys.paused()).key(keys.pause_note());
        call.arg(u8::from(force)).arg(self.now_in(queue.as_str()).as_second()).arg(SOURCE);
        let found: String = self.run("close the queue", queue.as_str(), &call).await?;
        Ok(match found.as_str() {
            "" => None,
            "active" => Some(QueueRemoval::Active { tasks: self.length(queue, State::Active).await? }),
            "schedules" => Some(QueueRemoval::Schedules { count: self.entry_count(queue).await? }),
            _ => Some(QueueRemoval::NotEmpty { tasks: self.size(queue).await?, orphans: 0 }),
        })
    }

    /// Deletes what waits.
    async fn empty(
        &self,
        queue: &QueueName,
        before: u64,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<u64, BrokerError> {
        let mut tasks = 0;
        for state in BulkVerb::Delete.states() {
            let so_far = before + tasks;
            let selection = Selection::of(*state);
            let handled =
                self.bulk(queue, BulkVerb::Delete, &selection, |done| progress(so_far + done)).await?;
            tasks += handled.tasks;
        }
        Ok(tasks)
    }

    /// Deletes every key with the queue's name: counters, receipts, locks, ledgers, and what other programs have
    /// left behind; the pause last. `false` when the queue holds something again.
    async fn drop_all_keys(&self, queue: &QueueName) -> Result<bool, BrokerError> {
        let keys = QueueKeys::new(queue);
        let others = self.lookalikes(queue).await?;
        let pause = [keys.paused(), keys.pause_note()].map(String::into_bytes);
        for prefix in keys.prefixes() {
            let mut scan = self.scan(queue, &prefix)?;
            while let Some(mut found) = scan.next().await? {
                found.retain(|key| !pause.contains(key) && is_own(key, &others));
                for some in found.chunks(KEYS_PER_CALL) {
                    if !self.drop_keys(queue, some).await? {
                        return Ok(false);
                    }
                }
            }
        }
        self.drop_keys(queue, &pause).await
    }

    async fn drop_keys(&self, queue: &QueueName, what: &[Vec<u8>]) -> Result<bool, BrokerError> {
        let mut call = script::DROP_KEYS.call();
        with_holders(&mut call, QueueKeys::new(queue));
        for key in what {
            call.arg(key.as_slice());
        }
        let held: String = self.run("delete the queue's keys", queue.as_str(), &call).await?;
        Ok(held.is_empty())
    }

    /// Takes the queue's name off the lists: the last step.
    async fn forget(&self, queue: &QueueName) -> Result<(), BrokerError> {
        for list in [SCHEDULED_QUEUES, QUEUES] {
            let mut pipe = redis::pipe();
            pipe.cmd("SREM").arg(list).arg(queue.as_str()).ignore();
            self.pipe::<()>("forget the queue", queue.as_str(), &pipe).await?;
        }
        Ok(())
    }

    /// Counts the hashes of tasks and of schedules, wherever they stand.
    async fn census(&self, queue: &QueueName) -> Result<Census, BrokerError> {
        let keys = QueueKeys::new(queue);
        let others = self.lookalikes(queue).await?;
        let mut census = Census::default();
        for (prefix, count) in
            [(keys.task_prefix(), &mut census.tasks), (keys.entry_prefix(), &mut census.entries)]
        {
            let mut scan = self.scan(queue, &prefix)?;
            while let Some(found) = scan.next().await? {
                *count += found.iter().filter(|key| is_own(key, &others)).count() as u64;
            }
        }
        Ok(census)
    }

    /// What the keys of other queues begin with whose names make them look like this one's: `a}:b` beside `a`.
    async fn lookalikes(&self, queue: &QueueName) -> Result<Vec<String>, BrokerError> {
        let start = format!("{queue}}}:");
        let names = self.queues().await?.into_iter().filter(|name| name.as_str().starts_with(&start));
        Ok(names.flat_map(|name| QueueKeys::new(&name).prefixes()).collect())
    }

    /// Begins to walk through all keys of the server that holds the queue: those with this prefix.
    fn scan<'a>(&'a self, queue: &'a QueueName, prefix: &str) -> Result<KeyScan<'a>, BrokerError> {
        let pattern = format!("{}*", glob_escaped(prefix));
        Ok(KeyScan { broker: self, queue, pattern, server: self.shard_of(queue.as_str())?, cursor: Some(0) })
    }
}

/// A walk through the keys of one server. A cursor means nothing to another one, so where the queue has moved to
/// another server meanwhile, it begins there anew.
struct KeyScan<'a> {
    broker: &'a Broker,
    queue: &'a QueueName,
    pattern: String,
    server: Shard,
    cursor: Option<u64>,
}

impl KeyScan<'_> {
    /// Some more keys; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, BrokerError> {
        let server = self.broker.shard_of(self.queue.as_str())?;
        if server.address != self.server.address {
            (self.server, self.cursor) = (server, Some(0));
        }
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(SCAN_STEP);
        let answer = step.query_async(&mut self.server.link).await;
        if let Err(error) = &answer {
            self.broker.note(error).await;
        }
        let (next, found): (u64, Vec<Vec<u8>>) =
            answer.doing("look through the queue's keys", self.queue.as_str())?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(found))
    }
}

/// Whether a key with this queue's name is not another one's.
fn is_own(key: &[u8], others: &[String]) -> bool {
    !others.iter().any(|other| key.starts_with(other.as_bytes()))
}

/// The keys that hold a queue's tasks and schedules, in the order in which scripts take them.
fn with_holders<'a>(call: &'a mut Call, keys: QueueKeys<'_>) -> &'a mut Call {
    call.key(keys.active()).key(keys.aggregation_sets()).key(keys.due()).key(keys.pending());
    call.key(keys.scheduled()).key(keys.retry()).key(keys.archived()).key(keys.completed()).key(keys.groups())
}
