//! Waiting for work without asking again and again.
//!
//! `BLMOVE pending pending RIGHT RIGHT` moves the oldest id onto its own place: nothing changes, and it blocks
//! until there is one. It is woken by every producer, Go's included. Few processes wait so, and only on a queue
//! that was found empty: on a queue with work it would return at once.

use std::time::Duration;

use futures::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{RedisError, RedisResult, make_extension_error};

use super::claim::Owner;
use super::error::Doing;
use super::keep::millis;
use super::keys::{CANCEL, QueueKeys};
use super::link::Moves;
use super::{Broker, BrokerError, script};
use crate::task::QueueName;

/// Owners that wait blocked on one queue at most: one to take the work, one in case that one has gone.
const WAITERS_MAX: usize = 2;

impl Broker {
    /// Becomes or stays one of the few that wait blocked on a queue; `false`: all places are taken.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn take_waiter(
        &self,
        queue: &QueueName,
        owner: &Owner,
        turn: Duration,
    ) -> Result<bool, BrokerError> {
        let mut call = script::WAITER.key(QueueKeys::new(queue).waiters());
        call.arg(owner.as_str()).arg(millis(turn)).arg(WAITERS_MAX);
        let taken: i64 = self.run("take a waiter's place", queue.as_str(), &call).await?;
        Ok(taken == 1)
    }

    /// Gives the place up.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; the place lapses by itself.
    pub async fn release_waiter(&self, queue: &QueueName, owner: &Owner) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.zrem(QueueKeys::new(queue).waiters(), owner.as_str()).ignore();
        self.pipe("release a waiter's place", queue.as_str(), &pipe).await
    }

    /// Opens a connection of its own to wait on.
    ///
    /// # Errors
    /// [`BrokerError::Connect`] or [`BrokerError::Login`].
    pub async fn waiter(&self, queue: &QueueName) -> Result<Waiter, BrokerError> {
        let pending = QueueKeys::new(queue).pending();
        let moves = self.moves();
        let connection = self.own_connection(&pending).await?;
        Ok(Waiter { connection, pending, queue: queue.clone(), broker: self.clone(), moves })
    }

    /// Listens to cancellations on a connection of its own.
    ///
    /// # Errors
    /// [`BrokerError::Connect`] or [`BrokerError::Command`].
    pub async fn cancellations(&self) -> Result<Cancellations, BrokerError> {
        let moves = self.moves();
        let mut channel = self.own_subscription().await?;
        channel.subscribe(CANCEL).await.doing("listen to cancellations", "*")?;
        Ok(Cancellations { channel, moves })
    }
}

/// Waits for a queue to hold work. Dropping it closes its connection.
pub struct Waiter {
    connection: MultiplexedConnection,
    pending: String,
    queue: QueueName,
    broker: Broker,
    moves: Moves,
}

impl Waiter {
    /// Waits until something is pending (`true`) or the time is up (`false`).
    ///
    /// Not cancel-safe: the server goes on waiting, so drop the waiter after dropping this future.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when the connection broke or the queue is elsewhere now: open a new waiter.
    pub async fn wait(&mut self, timeout: Duration) -> Result<bool, BrokerError> {
        let mut command = redis::cmd("BLMOVE");
        command.arg(&self.pending).arg(&self.pending).arg("RIGHT").arg("RIGHT").arg(timeout.as_secs_f64());
        // A server that died without a word answers never: what takes much longer than asked is broken.
        let answer =
            tokio::time::timeout(timeout + Duration::from_secs(5), command.query_async(&mut self.connection));
        let answer: RedisResult<Option<Vec<u8>>> = tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| {
                Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))
            }),
            () = self.moves.moved() => Err(make_extension_error("UNBLOCKED".into(), None)),
        };
        if let Err(error) = &answer {
            self.broker.link().note(error).await;
        }
        Ok(answer.doing("wait for work", self.queue.as_str())?.is_some())
    }
}

/// Ids of tasks to cancel, as they are published.
pub struct Cancellations {
    channel: PubSub,
    moves: Moves,
}

impl Cancellations {
    /// The next id; `None` when the connection ended, or another server is the one to listen to: listen anew.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<String> {
        let mut messages = self.channel.on_message();
        let message = tokio::select! {
            message = messages.next() => message?,
            () = self.moves.moved() => return None,
        };
        Some(String::from_utf8_lossy(message.get_payload_bytes()).into_owned())
    }
}
