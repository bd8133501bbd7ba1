//! Storing new tasks.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;

use super::expire::begin_by;
use super::keys::{QUEUES, QueueKeys};
use super::packed::Packing;
use super::reply::ceil_s;
use super::unique::{life_s, own_lock};
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName};

/// Largest message stored: what Redis takes as one value, less room for its envelope.
pub const MESSAGE_BYTES_MAX: usize = 511 * 1024 * 1024;
/// Tasks one script call stores.
const TASKS_PER_CALL: usize = 100;
/// Message bytes one script call carries, unless a single task is larger.
const BYTES_PER_CALL: usize = 256 * 1024;
/// A queue's name is entered among the queues again after this long: another program may have deleted it.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);

/// A task to store.
#[derive(Clone)]
pub struct NewTask {
    /// The message, with its id and its queue.
    pub message: Message,
    /// When it may run; `None`, or a moment that is past, for at once.
    pub due: Option<Timestamp>,
    /// How long the lock that the message names holds unless it is given back before or put off; in whole
    /// seconds, 10 at least. `None`, where the message names one: a minute.
    pub lock_for: Option<Duration>,
}

impl NewTask {
    /// A message that may run at once, or from then on.
    #[must_use]
    pub fn new(message: Message, due: Option<Timestamp>) -> Self {
        Self { message, due, lock_for: None }
    }
}

impl std::fmt::Debug for NewTask {
    /// Without the payload, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewTask({} in {}, due {:?})", self.message.id, self.message.queue, self.due)
    }
}

/// What became of a task to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It stands in Redis.
    Stored,
    /// Its id is taken in its queue; nothing changed.
    Conflict,
    /// It is unique, and another task holds its lock; nothing changed.
    Duplicate {
        /// That task's id; empty when what stands under the lock's key is no lock.
        holder: String,
    },
}

impl Broker {
    /// Stores one task: pending, scheduled, or in the group that its message names.
    ///
    /// Not cancel-safe: dropped midway, the task may be stored or not.
    ///
    /// # Errors
    /// [`BrokerError::TooLarge`], [`BrokerError::QueueName`], and [`BrokerError::Command`]; when that
    /// [is ambiguous](BrokerError::is_ambiguous) the task may stand: repeat with the same id, and a conflict
    /// tells that it does.
    pub async fn enqueue(&self, message: &Message, due: Option<Timestamp>) -> Result<Enqueued, BrokerError> {
        self.enqueue_unique(message, due, None).await
    }

    /// Stores one task whose message may name a lock, for so long.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_unique(
        &self,
        message: &Message,
        due: Option<Timestamp>,
        lock_for: Option<Duration>,
    ) -> Result<Enqueued, BrokerError> {
        let queue = QueueName::new(message.queue.as_str())?;
        let mut verdicts = self.enqueue_chunk(&queue, &[(message, due, lock_for)]).await?;
        Ok(verdicts.remove(0))
    }

    /// Stores many tasks, a hundred a round trip, and answers for each in its place.
    ///
    /// Not cancel-safe: dropped midway, some tasks are stored and some are not.
    ///
    /// # Errors
    /// Each task has its own, as in [`enqueue`](Self::enqueue); tasks sent together share one.
    pub async fn enqueue_batch<T: Borrow<NewTask>>(
        &self,
        tasks: &[T],
    ) -> Vec<Result<Enqueued, Arc<BrokerError>>> {
        let mut verdicts: Vec<Option<Result<Enqueued, Arc<BrokerError>>>> = vec![None; tasks.len()];
        let mut by_queue: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, task) in tasks.iter().enumerate() {
            by_queue.entry(task.borrow().message.queue.as_str()).or_default().push(place);
        }
        let sends = by_queue.into_iter().flat_map(|(queue, places)| {
            chunks(tasks, places).into_iter().map(move |chunk| self.send_chunk(queue, tasks, chunk))
        });
        for (places, result) in join_all(sends).await {
            for (i, place) in places.into_iter().enumerate() {
                verdicts[place] = Some(result.as_ref().map(|stored| stored[i].clone()).map_err(Arc::clone));
            }
        }
        verdicts.into_iter().map(|verdict| verdict.expect("every task is in one chunk")).collect()
    }

    async fn send_chunk<T: Borrow<NewTask>>(
        &self,
        queue: &str,
        tasks: &[T],
        places: Vec<usize>,
    ) -> (Vec<usize>, Result<Vec<Enqueued>, Arc<BrokerError>>) {
        let part = |&place: &usize| {
            let NewTask { message, due, lock_for } = tasks[place].borrow();
            (message, *due, *lock_for)
        };
        let chunk: Vec<_> = places.iter().map(part).collect();
        let result = match QueueName::new(queue) {
            Ok(name) => self.enqueue_chunk(&name, &chunk).await,
            Err(error) => Err(error.into()),
        };
        (places, result.map_err(Arc::new))
    }

    async fn enqueue_chunk(
        &self,
        queue: &QueueName,
        tasks: &[(&Message, Option<Timestamp>, Option<Duration>)],
    ) -> Result<Vec<Enqueued>, BrokerError> {
        const DOING: &str = "store tasks";
        let keys = QueueKeys::new(queue);
        let now = self.now_in(queue.as_str());
        let mut call = script::ENQUEUE.call();
        call.key(keys.pending()).key(keys.scheduled()).key(keys.groups()).key(keys.locks());
        call.key(keys.expiring());
        call.arg(keys.task_prefix()).arg(keys.group_prefix()).arg(now.as_nanosecond().to_string());
        let mut packed = Packing::default();
        packed.array(tasks.len() * NEW_STRINGS);
        for (message, due, lock_for) in tasks {
            pack_new(&mut packed, keys, now, message, *due, *lock_for)?;
        }
        call.arg(packed.into_bytes());
        self.register_queue_sometimes(queue).await?;
        let stored: Vec<redis::Value> = self.run(DOING, queue.as_str(), &call).await?;
        if stored.len() != tasks.len() {
            let problem = format!("{} answers for {} tasks", stored.len(), tasks.len());
            return Err(BrokerError::Reply { doing: DOING, problem });
        }
        Ok(stored.into_iter().map(verdict).collect())
    }

    /// Enters a queue's name among the queues that tools list.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when Redis does not answer.
    pub async fn register_queue(&self, queue: &QueueName) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.sadd(QUEUES, queue.as_str()).ignore();
        self.pipe::<()>("register the queue", queue.as_str(), &pipe).await?;
        self.registered().note(queue);
        Ok(())
    }

    pub(super) async fn register_queue_sometimes(&self, queue: &QueueName) -> Result<(), BrokerError> {
        match self.registered().is_recent(queue) {
            true => Ok(()),
            false => self.register_queue(queue).await,
        }
    }
}

/// Whether Redis takes a message of so many bytes.
pub(super) fn check_size(id: &str, bytes: usize) -> Result<(), BrokerError> {
    match bytes > MESSAGE_BYTES_MAX {
        true => Err(BrokerError::TooLarge { id: id.to_owned(), bytes, max: MESSAGE_BYTES_MAX }),
        false => Ok(()),
    }
}

/// Strings by which scripts that store a task know it.
pub(super) const NEW_STRINGS: usize = 7;

/// Packs them.
pub(super) fn pack_new(
    packed: &mut Packing,
    keys: QueueKeys<'_>,
    now: Timestamp,
    message: &Message,
    due: Option<Timestamp>,
    lock_for: Option<Duration>,
) -> Result<(), BrokerError> {
    let raw = message.encode();
    check_size(&message.id, raw.len())?;
    packed.string(&message.id).string(raw).string(due_s(due, now).to_string()).string(&message.group);
    packed.string(own_lock(keys, message)).string(life_s(lock_for).to_string());
    packed.string(begin_by(message).map_or(String::new(), |at| at.to_string()));
    Ok(())
}

/// When a new task is due, in Unix s, as those scripts read it: 0 for now.
fn due_s(due: Option<Timestamp>, now: Timestamp) -> i64 {
    due.filter(|due| *due > now).map_or(0, ceil_s)
}

/// Reads what those scripts answer for a task.
pub(super) fn verdict(answer: redis::Value) -> Enqueued {
    match answer {
        redis::Value::Int(1) => Enqueued::Stored,
        redis::Value::BulkString(id) => {
            Enqueued::Duplicate { holder: String::from_utf8_lossy(&id).into_owned() }
        }
        _ => Enqueued::Conflict,
    }
}

/// When each queue's name was last entered in a set of queues. Bounded: it forgets all when it grows large.
#[derive(Default)]
pub(super) struct Registered(Mutex<HashMap<QueueName, Instant>>);

impl Registered {
    const NAMES_MAX: usize = 10_000;

    pub(super) fn is_recent(&self, queue: &QueueName) -> bool {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(queue).is_some_and(|at| at.elapsed() < REGISTER_AGAIN)
    }

    pub(super) fn note(&self, queue: &QueueName) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= Self::NAMES_MAX {
            names.clear();
        }
        names.insert(queue.clone(), Instant::now());
    }
}

/// Cuts places into chunks that one script call may carry.
fn chunks<T: Borrow<NewTask>>(tasks: &[T], places: Vec<usize>) -> Vec<Vec<usize>> {
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for place in places {
        let size = tasks[place].borrow().message.payload.len() + 256;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < TASKS_PER_CALL && bytes + size <= BYTES_PER_CALL => {
                chunk.push(place);
                bytes += size;
            }
            _ => {
                chunks.push(vec![place]);
                bytes = size;
            }
        }
    }
    chunks
}
