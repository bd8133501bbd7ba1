//! Steering by hand: run a task now, archive or delete one.

use super::keys::QueueKeys;
use super::unique::{FOREIGN_LOCK_LIFE_S, own_lock};
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName, State};

/// What became of a wish to run a task now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// It is pending now; this is where it was.
    From(State),
    /// It was pending, active or being aggregated already.
    Already(State),
    /// It is unique, it had ended, and this task has taken its place since. Nothing changed.
    Locked(String),
    /// There is no such task.
    Absent,
}

/// What became of a wish to delete a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone; this is where it was.
    From(State),
    /// A worker runs or aggregates it; nothing changed.
    Active,
    /// There is no such task.
    Absent,
}

/// What became of a wish to archive a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// It is in the archive now; this is where it was.
    From(State),
    /// It was there already.
    Already,
    /// A worker runs or aggregates it; nothing changed.
    Active,
    /// There is no such task.
    Absent,
}

impl Broker {
    /// Makes a task pending that waits, was given up, or is done. A unique one that had ended takes its lock again.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn run_now(&self, queue: &QueueName, id: &str) -> Result<Ran, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RUN.key(keys.task(id));
        call.key(keys.pending()).key(keys.scheduled()).key(keys.retry()).key(keys.archived());
        call.key(keys.completed()).key(keys.groups()).key(keys.locks());
        call.arg(id).arg(self.now_in(queue.as_str()).as_nanosecond().to_string()).arg(keys.group_prefix());
        call.arg(keys.task_prefix()).arg(FOREIGN_LOCK_LIFE_S);
        let (state, holder): (String, String) = self.run("run a task now", queue.as_str(), &call).await?;
        Ok(match state.parse() {
            _ if !holder.is_empty() => Ran::Locked(holder),
            Err(_) => Ran::Absent,
            Ok(state @ (State::Active | State::Pending)) => Ran::Already(state),
            Ok(state) => Ran::From(state),
        })
    }

    /// Deletes a task that is not running, and the lock it holds if it is unique.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn delete(&self, queue: &QueueName, id: &str) -> Result<Deleted, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::DELETE.key(keys.task(id));
        call.key(keys.pending()).key(keys.scheduled()).key(keys.retry()).key(keys.archived());
        call.key(keys.completed()).key(keys.groups()).key(keys.aggregation_sets()).key(keys.locks());
        call.arg(id).arg(keys.group_prefix()).arg(self.lock_of(queue, id).await?);
        let state: String = self.run("delete a task", queue.as_str(), &call).await?;
        Ok(match state.parse() {
            Err(_) => Deleted::Absent,
            Ok(State::Active) => Deleted::Active,
            Ok(state) => Deleted::From(state),
        })
    }

    /// Gives up a task that is not running: it goes to the archive as it is. The lock it holds is given back.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn archive(&self, queue: &QueueName, id: &str) -> Result<Archived, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::ARCHIVE.key(keys.task(id));
        call.key(keys.pending()).key(keys.scheduled()).key(keys.retry()).key(keys.archived());
        call.key(keys.completed()).key(keys.groups()).key(keys.locks());
        call.arg(id).arg(self.now_in(queue.as_str()).as_second()).arg(keys.group_prefix());
        call.arg(self.lock_of(queue, id).await?);
        let state: String = self.run("archive a task", queue.as_str(), &call).await?;
        Ok(match state.parse() {
            Err(_) => Archived::Absent,
            Ok(State::Active) => Archived::Active,
            Ok(State::Archived) => Archived::Already,
            Ok(state) => Archived::From(state),
        })
    }

    /// The key of a task's unique lock, as its message has it; empty when there is none.
    async fn lock_of(&self, queue: &QueueName, id: &str) -> Result<String, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        pipe.hget(keys.task(id), "msg");
        let (raw,): (Option<Vec<u8>>,) = self.pipe("read a task", queue.as_str(), &pipe).await?;
        let message = raw.and_then(|raw| Message::decode(raw).ok()).unwrap_or_default();
        Ok(own_lock(keys, &message).to_owned())
    }
}
