//! Queues without workers and without work, waited on, so that the first task wakes their fleet at once.
//!
//! It is an addition: what is not waited on, since there is no room or others wait there already, is seen with the next
//! look at all queues.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::{Broker, BrokerError, Owner};
use crate::task::QueueName;

/// How long a place among those who wait is taken for.
const TURN: Duration = Duration::from_secs(15);
/// One wait: short enough that the place is renewed in time.
const WAIT: Duration = Duration::from_secs(10);
/// How long a queue is left alone on which nobody can wait.
const REST: Duration = Duration::from_secs(10);
/// How long giving up a place may take; it lapses by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// The queues of one Redis that are waited on.
pub(super) struct IdleQueues {
    broker: Broker,
    owner: Owner,
    room: Arc<Semaphore>,
    waits: HashMap<QueueName, Wait>,
    sender: UnboundedSender<(QueueName, Heard)>,
    heard: UnboundedReceiver<(QueueName, Heard)>,
}

enum Wait {
    /// It ends with this.
    On { _until_dropped: DropGuard },
    /// Not before then.
    RestingUntil(Instant),
}

enum Heard {
    Work,
    /// Others wait there, or it cannot be waited on.
    Nothing,
}

impl IdleQueues {
    pub(super) fn new(broker: Broker, owner: Owner, room: Arc<Semaphore>) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        Self { broker, owner, room, waits: HashMap::new(), sender, heard }
    }

    /// Waits on exactly these from now on, as far as there is room.
    pub(super) fn wait_on(&mut self, queues: &HashSet<QueueName>) {
        let now = Instant::now();
        self.waits.retain(|queue, wait| match wait {
            Wait::On { .. } => queues.contains(queue),
            Wait::RestingUntil(then) => now < *then,
        });
        for queue in queues {
            if self.waits.contains_key(queue) {
                continue;
            }
            let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return };
            let stop = CancellationToken::new();
            let waiter = Waiter {
                broker: self.broker.clone(),
                owner: self.owner.clone(),
                queue: queue.clone(),
                _place: place,
            };
            tokio::spawn(waiter.run(stop.clone(), self.sender.clone()));
            self.waits.insert(queue.clone(), Wait::On { _until_dropped: stop.drop_guard() });
        }
    }

    /// The next queue that has got work. Cancel-safe.
    pub(super) async fn rung(&mut self) -> QueueName {
        loop {
            let Some((queue, heard)) = self.heard.recv().await else { std::future::pending().await };
            // Who was told to stop may have heard something all the same.
            if !matches!(self.waits.get(&queue), Some(Wait::On { .. })) {
                continue;
            }
            match heard {
                Heard::Work => {
                    self.waits.remove(&queue);
                    return queue;
                }
                Heard::Nothing => {
                    self.waits.insert(queue, Wait::RestingUntil(Instant::now() + REST));
                }
            }
        }
    }
}

/// Waits on one queue.
struct Waiter {
    broker: Broker,
    owner: Owner,
    queue: QueueName,
    _place: OwnedSemaphorePermit,
}

impl Waiter {
    async fn run(self, stop: CancellationToken, sender: UnboundedSender<(QueueName, Heard)>) {
        let heard = stop.run_until_cancelled(self.wait()).await;
        if let Some(Err(error)) = &heard {
            tracing::debug!(queue.name = %self.queue, reason = error.reason(), "cannot wait for work: {error}");
        }
        if let Some(heard) = heard {
            let heard = if matches!(heard, Ok(true)) { Heard::Work } else { Heard::Nothing };
            // Nobody listens any more only when this replica leads no more.
            let _ = sender.send((self.queue.clone(), heard));
        }
        // A worker that comes now shall find the place free.
        let _lapses = timeout(FAREWELL, self.broker.release_waiter(&self.queue, &self.owner)).await;
    }

    /// Waits for work; `false` where others do already.
    async fn wait(&self) -> Result<bool, BrokerError> {
        let mut waiter = None;
        loop {
            if !self.broker.take_waiter(&self.queue, &self.owner, TURN).await? {
                return Ok(false);
            }
            let waiter = match &mut waiter {
                Some(waiter) => waiter,
                none => none.insert(self.broker.waiter(&self.queue).await?),
            };
            if waiter.wait(WAIT).await? {
                return Ok(true);
            }
        }
    }
}
