//! Groups: tasks that wait to become one task.
//!
//! What is ripe in a group is taken away as an aggregation set, which stands in `aggregation_sets` until the task
//! that came of it takes its place. Both happen in one step, so no task is aggregated twice or lost. A set that
//! nobody finishes in time goes back to its group.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::claim::seconds;
use super::enqueue::{NEW_STRINGS, pack_new, verdict};
use super::keys::QueueKeys;
use super::packed::Packing;
use super::reply::{Reply, from_s};
use super::unique::lock_in;
use super::{Broker, BrokerError, Enqueued, NewTask, script};
use crate::task::{Message, QueueName};

/// Most tasks of one aggregation set: taking and finishing one are single steps, which hold Redis for a moment only.
pub const SET_TASKS_MAX: usize = 200;
/// Sets one call takes or finishes.
const SETS_PER_CALL: usize = 50;
/// Groups one call looks at, about.
const GROUPS_PER_CALL: usize = 50;
/// Tasks read in one round trip.
const TASKS_PER_PAGE: usize = 100;
/// Calls on their way at once: Redis finds the next one when it is done with one.
const CALLS_AT_ONCE: usize = 2;
/// Bytes of new tasks that one call finishes sets with, unless a single one is larger.
const FINISH_BYTES_PER_CALL: usize = 256 * 1024;
/// What the last part of our sets' keys begins with. asynq's is a UUID, which does not.
const OURS: &str = "cronmill-";
/// Grace for sets whose deadline carries another program's clock.
const FOREIGN_GRACE_S: i64 = 30;
/// Tasks one call gives back.
const TASKS_PER_RECLAIM: usize = 100;

/// When a group is ripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// When nothing joined it for so long. In whole seconds.
    pub grace: Duration,
    /// When its first task has waited so long; `None`: however long.
    pub max_delay: Option<Duration>,
    /// When it has so many tasks, which is also the most that one set has; 200 at most.
    pub max_size: usize,
}

/// A look at some of a queue's groups.
#[derive(Debug)]
pub struct Looked {
    /// Where the next look goes on; `None` after the last group.
    pub cursor: Option<String>,
    /// When the first of the groups looked at, and not taken, is ripe as it stands.
    pub next_ripe: Option<Timestamp>,
    /// What was ripe, still to be read.
    pub sets: Vec<SetKey>,
}

/// Names an aggregation set. Names of groups are whatever a producer wrote, so neither need be text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetKey {
    /// The group it was.
    pub group: Bytes,
    /// Where it stands.
    pub key: Bytes,
}

/// An aggregation set and its tasks, by the second in which they joined. `Debug` does not show payloads.
pub struct TakenSet {
    /// The group it was; need be no text.
    pub group: Bytes,
    /// Names the set in further calls.
    pub key: Bytes,
    /// Its tasks.
    pub tasks: Vec<Message>,
    /// Tasks nobody can read: id, which need be no text, bytes, and why.
    pub unreadable: Vec<(Bytes, Bytes, String)>,
}

impl TakenSet {
    fn read(SetKey { group, key }: SetKey, ids: Vec<Vec<u8>>, raws: Vec<Option<Vec<u8>>>) -> Self {
        let mut set = Self { group, key, tasks: Vec::with_capacity(ids.len()), unreadable: Vec::new() };
        for (id, raw) in ids.into_iter().zip(raws).filter_map(|(id, raw)| Some((id, Bytes::from(raw?)))) {
            match (Message::decode(raw.clone()), String::from_utf8(id)) {
                // It is called what it stands under, whatever it says.
                (Ok(message), Ok(id)) => set.tasks.push(Message { id, ..message }),
                (Err(error), Ok(id)) => set.unreadable.push((id.into(), raw, error.to_string())),
                (_, Err(id)) => {
                    set.unreadable.push((id.into_bytes().into(), raw, "its id is no text".into()))
                }
            }
        }
        set
    }
}

impl std::fmt::Debug for TakenSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TakenSet({} tasks of group {:?}, {:?})", self.tasks.len(), self.group, self.key)
    }
}

/// The end of an aggregation set.
#[derive(Debug)]
pub struct SetFinish {
    /// The set.
    pub key: Bytes,
    /// Ids of all its tasks.
    pub ids: Vec<String>,
    /// Its unique tasks: id, and the key of the lock.
    pub locks: Vec<(String, String)>,
    /// What takes their place.
    pub task: NewTask,
}

impl SetFinish {
    /// Ends a set with the task that came of it.
    #[must_use]
    pub fn new(key: Bytes, tasks: &[Message], task: NewTask) -> Self {
        let ids = tasks.iter().map(|task| task.id.clone()).collect();
        let unique = tasks.iter().filter(|task| !task.unique_key.is_empty());
        let locks = unique.map(|task| (task.id.clone(), task.unique_key.clone())).collect();
        Self { key, ids, locks, task }
    }
}

/// What became of the end of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetFinished {
    /// The new task stands in Redis, the set's own are gone.
    Stored,
    /// The set is no longer theirs: it went back to its group, or was finished before.
    Lost,
    /// The new task cannot be stored, since its id or its lock is taken. The set is as it was.
    Refused(Enqueued),
}

/// A group as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name; what is no text in it is replaced, so such a group cannot be named in a call.
    pub name: String,
    /// Tasks that wait in it.
    pub tasks: u64,
    /// Tasks taken out of it that are being aggregated.
    pub aggregating: u64,
    /// When the first of its waiting tasks joined.
    pub oldest: Option<Timestamp>,
    /// When the last one did.
    pub newest: Option<Timestamp>,
}

impl Broker {
    /// Looks at some fifty groups from `cursor` on (`None`: from the start) and takes away what is ripe,
    /// for so long: at most `max` sets.
    ///
    /// Not cancel-safe, and an answer that is lost is not given again: what was taken goes back to its groups
    /// when `life` is over.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn take_sets(
        &self,
        queue: &QueueName,
        cursor: Option<&str>,
        limits: &GroupLimits,
        max: usize,
        life: Duration,
    ) -> Result<Looked, BrokerError> {
        const DOING: &str = "take aggregation sets";
        let keys = QueueKeys::new(queue);
        let mut call = script::TAKE_SETS.key(keys.groups());
        call.key(keys.aggregation_sets()).arg(keys.group_prefix()).arg(cursor.unwrap_or("0"));
        call.arg(format!("{OURS}{}", uuid::Uuid::new_v4())).arg(GROUPS_PER_CALL);
        call.arg(max.clamp(1, SETS_PER_CALL)).arg(limits.max_size.clamp(1, SET_TASKS_MAX));
        call.arg(limits.max_delay.map_or(0, seconds)).arg(seconds(limits.grace)).arg(seconds(life));
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let cursor = Some(reply.text()?).filter(|cursor| cursor != "0");
        let next_ripe = reply.maybe_int()?.map(from_s);
        let mut sets = Vec::new();
        while !reply.is_empty() {
            sets.push(SetKey { group: reply.bytes()?, key: reply.bytes()? });
        }
        Ok(Looked { cursor, next_ripe, sets })
    }

    /// Reads the tasks of sets that were taken. Nobody else touches them, so this need not be one step.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn read_sets(
        &self,
        queue: &QueueName,
        taken: Vec<SetKey>,
    ) -> Result<Vec<TakenSet>, BrokerError> {
        const DOING: &str = "read aggregation sets";
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        for set in &taken {
            pipe.zrange(set.key.as_ref(), 0, -1);
        }
        let members: Vec<Vec<Vec<u8>>> = self.pipe(DOING, queue.as_str(), &pipe).await?;
        let ids: Vec<&Vec<u8>> = members.iter().flatten().collect();
        let page = |page: &[&Vec<u8>]| {
            let mut pipe = redis::pipe();
            for id in page {
                pipe.hget([keys.task_prefix().as_bytes(), id].concat(), "msg");
            }
            pipe
        };
        let pages: Vec<_> = ids.chunks(TASKS_PER_PAGE).map(page).collect();
        let reads = pages
            .into_iter()
            .map(|pipe| async move { self.pipe::<Vec<Option<Vec<u8>>>>(DOING, queue.as_str(), &pipe).await });
        let raws: Vec<Vec<_>> = stream::iter(reads).buffered(CALLS_AT_ONCE).try_collect().await?;
        let raws = raws.concat();
        self.forget_vanished(queue, &taken, &members, &raws).await?;
        let mut raws = raws.into_iter();
        let set = |(set, ids): (SetKey, Vec<Vec<u8>>)| {
            let raws: Vec<_> = raws.by_ref().take(ids.len()).collect();
            TakenSet::read(set, ids, raws)
        };
        Ok(taken.into_iter().zip(members).map(set).collect())
    }

    /// Takes ids without a task out of their sets.
    async fn forget_vanished(
        &self,
        queue: &QueueName,
        sets: &[SetKey],
        members: &[Vec<Vec<u8>>],
        raws: &[Option<Vec<u8>>],
    ) -> Result<(), BrokerError> {
        let places =
            sets.iter().zip(members).flat_map(|(set, ids)| ids.iter().map(move |id| (set.key.as_ref(), id)));
        let vanished: Vec<_> = places.zip(raws).filter(|(_, raw)| raw.is_none()).collect();
        if vanished.is_empty() {
            return Ok(());
        }
        tracing::warn!(queue.name = %queue, tasks = vanished.len(), "dropped ids without a task from groups");
        let mut pipe = redis::pipe();
        for ((set, id), _) in vanished {
            pipe.zrem(set, id).ignore();
        }
        self.pipe("drop ids without a task", queue.as_str(), &pipe).await
    }

    /// Puts a new task in the place of each set, each whole or not at all, and answers for each in its place.
    /// The locks of unique tasks in the set are given back.
    ///
    /// Safe to repeat: what was stored the first time answers [`SetFinished::Lost`] the second time.
    ///
    /// # Errors
    /// [`BrokerError::Command`], and [`BrokerError::TooLarge`] for a task that is. Of several calls' worth some
    /// may be stored; repeat to know.
    pub async fn finish_sets(
        &self,
        queue: &QueueName,
        finishes: &[SetFinish],
    ) -> Result<Vec<SetFinished>, BrokerError> {
        const DOING: &str = "finish aggregation sets";
        let keys = QueueKeys::new(queue);
        self.register_queue_sometimes(queue).await?;
        let mut calls = Vec::new();
        let mut rest = finishes;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_len(rest));
            let now = self.now_in(queue.as_str());
            let mut call = script::FINISH_SETS.key(keys.aggregation_sets());
            call.key(keys.pending()).key(keys.scheduled()).key(keys.groups()).key(keys.locks());
            call.key(keys.expiring())
                .arg(keys.task_prefix())
                .arg(keys.group_prefix())
                .arg(now.as_nanosecond().to_string());
            call.arg(packed_ends(keys, now, chunk)?);
            calls.push(call);
            rest = later;
        }
        let answers = calls
            .into_iter()
            .map(|call| async move { self.run::<Vec<redis::Value>>(DOING, queue.as_str(), &call).await });
        let answers: Vec<Vec<_>> = stream::iter(answers).buffered(CALLS_AT_ONCE).try_collect().await?;
        let verdicts: Vec<_> = answers.into_iter().flatten().map(set_verdict).collect();
        match verdicts.len() == finishes.len() {
            true => Ok(verdicts),
            false => Err(BrokerError::Reply { doing: DOING, problem: "answers are missing".into() }),
        }
    }

    /// Says anew when a set goes back to its group unless it is finished: so long from now, zero for at once.
    /// `false`: it is gone.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn hold_set(&self, queue: &QueueName, set: &[u8], life: Duration) -> Result<bool, BrokerError> {
        let mut call = script::HOLD_SETS.key(QueueKeys::new(queue).aggregation_sets());
        call.arg(if life.is_zero() { 0 } else { seconds(life) }).arg(set);
        let held: Vec<u8> = self.run("hold an aggregation set", queue.as_str(), &call).await?;
        Ok(held == [1])
    }

    /// Archives a task of a set that nobody can read, in an envelope that everybody can. `false`: it is no longer
    /// in that set.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn quarantine_member(
        &self,
        queue: &QueueName,
        set: &[u8],
        id: &[u8],
        raw: Bytes,
        reason: &str,
    ) -> Result<bool, BrokerError> {
        let keys = QueueKeys::new(queue);
        let now_s = self.now_in(queue.as_str()).as_second();
        let shown = String::from_utf8_lossy(id);
        let envelope = Message::undecodable(&shown, queue.as_str(), raw, reason, now_s);
        let mut call = script::QUARANTINE_MEMBER.key(set);
        call.key([keys.task_prefix().as_bytes(), id].concat()).key(keys.archived()).key(keys.locks());
        call.arg(id).arg(envelope.encode().as_ref()).arg(now_s);
        let archived: u8 = self.run("archive an unreadable task", queue.as_str(), &call).await?;
        Ok(archived == 1)
    }

    /// Gives sets back to their groups that nobody finished in time, with the groups' names. Answers how many,
    /// and whether more are left.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn reclaim_sets(&self, queue: &QueueName) -> Result<(usize, bool), BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RECLAIM_SETS.key(keys.aggregation_sets());
        call.key(keys.groups())
            .arg(keys.group_prefix())
            .arg(OURS)
            .arg(FOREIGN_GRACE_S)
            .arg(TASKS_PER_RECLAIM);
        let (moved, more): (usize, u8) =
            self.run("give aggregation sets back", queue.as_str(), &call).await?;
        Ok((moved, more == 1))
    }
}

fn set_verdict(answer: redis::Value) -> SetFinished {
    match answer {
        redis::Value::Int(-1) => SetFinished::Lost,
        answer => match verdict(answer) {
            Enqueued::Stored => SetFinished::Stored,
            refused => SetFinished::Refused(refused),
        },
    }
}

/// Sets and what takes their places, as `finish_sets.lua` reads them.
fn packed_ends(keys: QueueKeys<'_>, now: Timestamp, finishes: &[SetFinish]) -> Result<Vec<u8>, BrokerError> {
    let mut ends = Packing::default();
    ends.array(finishes.len());
    for SetFinish { key, ids, locks, task: NewTask { message, due, lock_for } } in finishes {
        ends.array(1 + NEW_STRINGS + 2).string(key);
        pack_new(&mut ends, keys, now, message, *due, *lock_for)?;
        ends.array(1 + ids.len()).string(key);
        for id in ids {
            ends.string(keys.task(id));
        }
        ends.array(2 * locks.len());
        for (id, lock) in locks {
            ends.string(id).string(lock_in(keys, lock));
        }
    }
    Ok(ends.into_bytes())
}

/// How many sets one call may finish.
fn chunk_len(finishes: &[SetFinish]) -> usize {
    let (mut bytes, mut tasks) = (0, 0);
    let fits = |finish: &&SetFinish| {
        bytes += 256 + finish.task.message.payload.len();
        // Giving a lock back costs about as much as deleting its task.
        tasks += finish.ids.len() + finish.locks.len();
        bytes <= FINISH_BYTES_PER_CALL && tasks <= SET_TASKS_MAX
    };
    finishes.iter().take(SETS_PER_CALL).take_while(fits).count().max(1)
}
