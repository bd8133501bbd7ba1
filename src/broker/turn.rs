//! Turns at what one process at a time does for a queue.

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
}

/// One process's part in the turns at a duty for one queue.
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
        let now = Instant::now();
        if now < self.next {
            return Ok(self.is_held);
        }
        let before = std::mem::take(&mut self.is_held);
        self.is_held = match self.duty {
            Duty::Keep => broker.take_keeper_turn(queue, who, LENGTH).await?,
            Duty::Aggregate => broker.take_aggregator_turn(queue, who, LENGTH).await?,
        };
        self.next = now + RENEW_EVERY;
        if before != self.is_held {
            debug!(queue.name = %queue, duty = ?self.duty, is_ours = self.is_held, "a turn changed");
        }
        Ok(self.is_held)
    }

    /// When it is to be asked again.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }
}
