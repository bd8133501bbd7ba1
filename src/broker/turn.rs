//! Turns at what one process at a time does, for a queue or for a whole Redis.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::{Broker, BrokerError, Owner};
use crate::task::QueueName;

/// How long a turn lasts unless renewed: the longest a queue goes without after who had it died.
const LENGTH: Duration = Duration::from_secs(3);
/// How often a turn is renewed, and how often the others ask for it.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// What is done in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Keeping a queue.
    Keep,
    /// Looking at a queue's groups.
    Aggregate,
    /// Showing the schedules of a Redis to asynq's tools.
    Mirror,
}

/// One process's part in the turns at a duty.
#[derive(Debug)]
pub(crate) struct Turn {
    duty: Duty,
    is_held: bool,
    next: Instant,
}

impl Turn {
    /// Nobody has asked yet.
    pub(crate) fn new(duty: Duty) -> Self {
        Self { duty, is_held: false, next: Instant::now() }
    }

    /// Whether it is our turn; asks when that is to be asked again.
    ///
    /// # Errors
    /// [`BrokerError::Command`]: without an answer nobody knows whose turn it is, and the next call asks again.
    pub(crate) async fn is_ours(
        &mut self,
        broker: &Broker,
        queue: &QueueName,
        who: &Owner,
    ) -> Result<bool, BrokerError> {
        match self.duty {
            Duty::Keep => self.asked(broker.take_keeper_turn(queue, who, LENGTH)).await,
            Duty::Aggregate => self.asked(broker.take_aggregator_turn(queue, who, LENGTH)).await,
            Duty::Mirror => self.is_ours_for_all(broker, who).await,
        }
    }

    /// The same of a duty that is about no one queue.
    ///
    /// # Errors
    /// As [`is_ours`](Self::is_ours).
    pub(crate) async fn is_ours_for_all(
        &mut self,
        broker: &Broker,
        who: &Owner,
    ) -> Result<bool, BrokerError> {
        self.asked(broker.take_mirror_turn(who, LENGTH)).await
    }

    /// The answer of before, or that of a question which is asked only when it is time.
    async fn asked(
        &mut self,
        question: impl Future<Output = Result<bool, BrokerError>>,
    ) -> Result<bool, BrokerError> {
        let now = Instant::now();
        if now < self.next {
            return Ok(self.is_held);
        }
        let answer = question.await;
        let is_ours = matches!(answer, Ok(true));
        if std::mem::replace(&mut self.is_held, is_ours) != is_ours {
            debug!(duty = ?self.duty, is_ours, "a turn changed");
        }
        answer?;
        self.next = now + RENEW_EVERY;
        Ok(is_ours)
    }

    /// Whether it was ours when that was asked last.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// When it is to be asked again.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }
}
