//! One keeper for each queue in force.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Owner};
use crate::keeper::Keeper;
use crate::task::QueueName;

/// Starts and ends keepers as queues come and go; the others are left alone.
#[derive(Debug)]
pub(super) struct Keepers {
    broker: Broker,
    owner: Owner,
    kept: BTreeMap<QueueName, Kept>,
    ending: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Kept {
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Keepers {
    pub(super) fn new(broker: Broker, owner: Owner) -> Self {
        Self { broker, owner, kept: BTreeMap::new(), ending: Vec::new() }
    }

    /// Keeps exactly these queues from now on.
    pub(super) fn keep(&mut self, queues: &BTreeSet<QueueName>) {
        self.ending.retain(|keeping| !keeping.is_finished());
        for (_, kept) in self.kept.extract_if(.., |queue, _| !queues.contains(queue)) {
            kept.stop.cancel();
            self.ending.push(kept.keeping);
        }
        for queue in queues {
            let (broker, owner) = (&self.broker, &self.owner);
            self.kept.entry(queue.clone()).or_insert_with(|| {
                let stop = CancellationToken::new();
                let keeper = Keeper::new(broker.clone(), vec![queue.clone()], owner.clone());
                Kept { keeping: tokio::spawn(keeper.run(stop.clone())), stop }
            });
        }
    }

    /// Ends all of them. Cancel-safe: dropped, they end a moment later.
    pub(super) async fn end(&mut self) {
        self.keep(&BTreeSet::new());
        join_all(self.ending.drain(..)).await;
    }
}
