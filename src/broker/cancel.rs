//! Asking for a running attempt to be stopped, in a way that arrives.
//!
//! A mark in the task names the lease of the attempt it is meant for. It goes along when the lease is extended, and
//! the worker finds it then, after each time it began to listen anew, and when it is told. Whoever ends the attempt
//! honours it, also a keeper that finds the worker dead. The publication that follows is what makes it quick, and the
//! only thing that other programs' workers and tools know.

use super::claim::Owner;
use super::keys::{CANCEL, QueueKeys};
use super::reply::Reply;
use super::{Broker, BrokerError, script};
use crate::task::{QueueName, State};

/// Attempts asked about in one call.
const IDS_PER_CALL: usize = 100;

/// What shall become of a task whose attempt is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelThen {
    /// It is archived, and that is no failure.
    Stop,
    /// It failed and is retried as long as retries are left, as in asynq.
    Retry,
}

/// What became of a wish to cancel a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// A worker runs it and was asked to stop: one of ours, by name, or another program's.
    Asked(Option<String>),
    /// No worker runs it; nothing changed. This is where it is.
    NotActive(State),
    /// There is no such task.
    Absent,
}

impl CancelThen {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Retry => "retry",
        }
    }
}

impl Broker {
    /// Asks whoever runs a task to stop it.
    ///
    /// A worker of ours gets to know within a third of its lease, whatever breaks in between; another program's hears
    /// it only if it listens now, and does what it always does.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn cancel_task(
        &self,
        queue: &QueueName,
        id: &str,
        then: CancelThen,
    ) -> Result<Cancelled, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::CANCEL.key(keys.task(id));
        call.key(keys.lease()).key(keys.holders()).arg(id).arg(then.as_str());
        let (state, owner): (String, String) = self.run("cancel a task", queue.as_str(), &call).await?;
        match state.parse() {
            Err(_) => Ok(Cancelled::Absent),
            Ok(State::Active) => {
                self.cancel(id).await?;
                Ok(Cancelled::Asked(Some(owner).filter(|owner| !owner.is_empty())))
            }
            Ok(state) => Ok(Cancelled::NotActive(state)),
        }
    }

    /// Publishes that a task is to be cancelled, as asynq does. Only those who listen now hear it.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn cancel(&self, id: &str) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.publish(CANCEL, id).ignore();
        self.pipe("publish a cancellation", "*", &pipe).await
    }

    /// Which of the attempts an owner runs are marked to be stopped. Answers for each id in its place.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn cancel_marks(
        &self,
        queue: &QueueName,
        owner: &Owner,
        ids: &[String],
    ) -> Result<Vec<Option<CancelThen>>, BrokerError> {
        const DOING: &str = "read cancellations";
        let keys = QueueKeys::new(queue);
        let mut marks = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(IDS_PER_CALL) {
            let mut call = script::CANCELS.key(keys.lease());
            call.key(keys.holders()).arg(keys.task_prefix()).arg(owner.as_str()).arg(chunk);
            let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
            while !reply.is_empty() {
                marks.push(match reply.text()?.as_str() {
                    "stop" => Some(CancelThen::Stop),
                    "retry" => Some(CancelThen::Retry),
                    _ => None,
                });
            }
        }
        Ok(marks)
    }
}
