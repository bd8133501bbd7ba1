//! One keeper for each queue in force.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::doors::Doors;
use super::{Keeper, OnDrop};
use crate::broker::{ArchiveLimits, Broker, Dropped, Owner};
use crate::task::QueueName;

/// Starts and ends keepers as queues come and go; the others are left alone.
pub struct Keepers {
    broker: Broker,
    owner: Owner,
    on_drop: Arc<OnDrop>,
    doors: Arc<Doors>,
    /// Nobody attends to the doors any more once it is dropped.
    _attended: DropGuard,
    kept: BTreeMap<QueueName, Kept>,
    ending: Vec<JoinHandle<()>>,
}

struct Kept {
    limits: ArchiveLimits,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Keepers {
    /// Keeps nothing yet. `on_drop` is called when the limits of a queue's archive have cost tasks; it must not block.
    /// To be called where tokio runs.
    #[must_use]
    pub fn new(
        broker: Broker,
        owner: Owner,
        on_drop: impl Fn(&QueueName, Dropped) + Send + Sync + 'static,
    ) -> Self {
        let (doors, stop) = (Doors::new(broker.clone()), CancellationToken::new());
        tokio::spawn(Arc::clone(&doors).attend(stop.clone()));
        let (on_drop, _attended) = (Arc::new(on_drop), stop.drop_guard());
        Self { broker, owner, on_drop, doors, _attended, kept: BTreeMap::new(), ending: Vec::new() }
    }

    /// Keeps exactly these queues from now on, each archive within its limits.
    pub fn keep(&mut self, queues: &BTreeMap<QueueName, ArchiveLimits>) {
        self.ending.retain(|keeping| !keeping.is_finished());
        for (queue, kept) in self.kept.extract_if(.., |queue, kept| queues.get(queue) != Some(&kept.limits)) {
            kept.stop.cancel();
            self.doors.remove(&queue);
            self.ending.push(kept.keeping);
        }
        for (queue, limits) in queues {
            if !self.kept.contains_key(queue) {
                self.kept.insert(queue.clone(), self.start(queue, *limits));
            }
        }
    }

    fn start(&self, queue: &QueueName, limits: ArchiveLimits) -> Kept {
        let (stop, hear) = (CancellationToken::new(), Arc::clone(&self.on_drop));
        let keeper = Keeper::new(self.broker.clone(), vec![queue.clone()], self.owner.clone());
        let keeper = keeper
            .behind(self.doors.add(queue))
            .archive_limits(limits)
            .on_drop(move |queue, dropped| hear(queue, dropped));
        Kept { limits, keeping: tokio::spawn(keeper.run(stop.clone())), stop }
    }

    /// Ends all of them. Cancel-safe: dropped, they end a moment later.
    pub async fn end(&mut self) {
        self.keep(&BTreeMap::new());
        join_all(self.ending.drain(..)).await;
    }
}

impl fmt::Debug for Keepers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keepers").field("queues", &self.kept.keys()).finish_non_exhaustive()
    }
}
