//! One keeper for each queue in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Tell};
use crate::broker::{ArchiveLimits, Broker, Owner};
use crate::keeper::Keeper;
use crate::task::QueueName;

/// Starts and ends keepers as queues come and go; the others are left alone.
pub(super) struct Keepers {
    broker: Broker,
    owner: Owner,
    tell: Tell,
    kept: BTreeMap<QueueName, Kept>,
    ending: Vec<JoinHandle<()>>,
}

struct Kept {
    limits: ArchiveLimits,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Keepers {
    pub(super) fn new(broker: Broker, owner: Owner, tell: Tell) -> Self {
        Self { broker, owner, tell, kept: BTreeMap::new(), ending: Vec::new() }
    }

    /// Keeps exactly these queues from now on, each archive within its limits.
    pub(super) fn keep(&mut self, queues: &BTreeMap<QueueName, ArchiveLimits>) {
        self.ending.retain(|keeping| !keeping.is_finished());
        for (_, kept) in self.kept.extract_if(.., |queue, kept| queues.get(queue) != Some(&kept.limits)) {
            kept.stop.cancel();
            self.ending.push(kept.keeping);
        }
        for (queue, limits) in queues {
            if !self.kept.contains_key(queue) {
                self.kept.insert(queue.clone(), self.start(queue, *limits));
            }
        }
    }

    fn start(&self, queue: &QueueName, limits: ArchiveLimits) -> Kept {
        let (stop, tell) = (CancellationToken::new(), Arc::clone(&self.tell));
        let keeper = Keeper::new(self.broker.clone(), vec![queue.clone()], self.owner.clone());
        let keeper = keeper.archive_limits(limits).on_drop(move |queue, dropped| {
            tell(Event::Dropped { queue: queue.to_string(), age: dropped.age, number: dropped.number });
        });
        Kept { limits, keeping: tokio::spawn(keeper.run(stop.clone())), stop }
    }

    /// Ends all of them. Cancel-safe: dropped, they end a moment later.
    pub(super) async fn end(&mut self) {
        self.keep(&BTreeMap::new());
        join_all(self.ending.drain(..)).await;
    }
}
