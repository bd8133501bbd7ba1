//! Steering by hand and by scaling: run a task now, delete one, keep an owner from taking more work.

use std::time::Duration;

use super::claim::Owner;
use super::keep::millis;
use super::keys::QueueKeys;
use super::{Broker, BrokerError, script};
use crate::task::{QueueName, State};

/// What became of a wish to run a task now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// It is pending now; this is where it was.
    From(State),
    /// It was pending or active already.
    Already(State),
    /// There is no such task.
    Absent,
}

/// What became of a wish to delete a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone; this is where it was.
    From(State),
    /// A worker runs it; nothing changed.
    Active,
    /// There is no such task.
    Absent,
}

impl Broker {
    /// Makes a task pending that waits, was given up, or is done.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn run_now(&self, queue: &QueueName, id: &str) -> Result<Ran, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RUN.key(keys.task(id));
        call.key(keys.pending()).key(keys.scheduled()).key(keys.retry()).key(keys.archived());
        call.key(keys.completed()).key(keys.groups());
        call.arg(id).arg(self.now_in(queue.as_str()).as_nanosecond().to_string()).arg(keys.group_prefix());
        let state: String = self.run("run a task now", queue.as_str(), &call).await?;
        Ok(match state.parse() {
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
        call.key(keys.completed()).key(keys.groups()).arg(id).arg(keys.group_prefix());
        let state: String = self.run("delete a task", queue.as_str(), &call).await?;
        Ok(match state.parse() {
            Err(_) => Deleted::Absent,
            Ok(State::Active) => Deleted::Active,
            Ok(state) => Deleted::From(state),
        })
    }

    /// Whether an owner is told to take no more work from a queue.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn is_cordoned(&self, queue: &QueueName, owner: &Owner) -> Result<bool, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.exists(QueueKeys::new(queue).cordon(owner.as_str()));
        let (exists,): (bool,) = self.pipe("read a cordon", queue.as_str(), &pipe).await?;
        Ok(exists)
    }

    /// Tells an owner to take no more work from a queue, for as long as `life`.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn cordon(&self, queue: &QueueName, owner: &Owner, life: Duration) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.pset_ex(QueueKeys::new(queue).cordon(owner.as_str()), 1, millis(life)).ignore();
        self.pipe("cordon a worker", queue.as_str(), &pipe).await
    }

    /// Takes the cordon away.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn uncordon(&self, queue: &QueueName, owner: &Owner) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.del(QueueKeys::new(queue).cordon(owner.as_str())).ignore();
        self.pipe("uncordon a worker", queue.as_str(), &pipe).await
    }
}
