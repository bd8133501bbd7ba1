//! Doors before which the keepers of queues wait that hold nothing to keep.
//!
//! Keeping a queue costs some fifteen calls a second. For thousands of queues that mostly hold nothing, one question
//! about all of them takes the place of these.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, Concern, Outage, Question};
use crate::task::QueueName;

/// How soon a queue is kept again that got something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of so many looks, one is also for tasks that ended: they go some time after they could.
const LOOKS_PER_ROUND: usize = 30;

/// The doors of some queues: open, while the queue holds something.
pub(super) struct Doors {
    broker: Broker,
    house: Mutex<House>,
}

#[derive(Default)]
struct House {
    doors: BTreeMap<QueueName, watch::Sender<bool>>,
    /// How often one was added or removed.
    changes: u64,
}

impl House {
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<QueueName, watch::Sender<bool>>)) {
        change(&mut self.doors);
        self.changes += 1;
    }
}

/// What is asked about the doors as they were after so many changes, and the last answer.
struct Known {
    changes: u64,
    question: Question,
    /// Which queues held something; `None` where these were not asked about yet.
    held: Option<Vec<bool>>,
}

impl Doors {
    pub(super) fn new(broker: Broker) -> Arc<Self> {
        Arc::new(Self { broker, house: Mutex::default() })
    }

    /// A queue's new door, which is open.
    pub(super) fn add(&self, queue: &QueueName) -> watch::Receiver<bool> {
        let (door, before) = watch::channel(true);
        self.lock().change(|doors| drop(doors.insert(queue.clone(), door)));
        before
    }

    /// Takes the door of a queue away; who waits there goes on.
    pub(super) fn remove(&self, queue: &QueueName) {
        self.lock().change(|doors| drop(doors.remove(queue)));
    }

    /// Opens and closes them until the token is cancelled.
    pub(super) async fn attend(self: Arc<Self>, token: CancellationToken) {
        let mut outage = Outage::new("see which queues are to be kept");
        let (mut known, mut looks) = (None, 0);
        while !token.is_cancelled() {
            let looked = self.look(&mut known, looks).await.map(|()| LOOK_EVERY);
            outage.rest_after(looked, &token).await;
            looks += 1;
        }
    }

    async fn look(&self, known: &mut Option<Known>, look: usize) -> Result<(), BrokerError> {
        let changes = self.lock().changes;
        known.take_if(|known| known.changes != changes);
        let Known { question, held, .. } = known.get_or_insert_with(|| {
            let queues = self.lock().doors.keys().cloned().collect();
            Known { changes, question: self.broker.question(Concern::Keeping, queues), held: None }
        });
        let mut hold = self.broker.which_hold(question).await?;
        // A part of the queues in each look, so that no look costs much more than others.
        let some = || (look % LOOKS_PER_ROUND..question.queues().len()).step_by(LOOKS_PER_ROUND);
        let ended = some().map(|at| question.queues()[at].clone()).collect();
        let have_ended = self.broker.which_hold(&mut self.broker.question(Concern::Ended, ended)).await?;
        for (at, holds) in some().zip(have_ended) {
            hold[at] |= holds;
        }
        let house = self.lock();
        for (at, (queue, holds)) in question.queues().iter().zip(&hold).enumerate() {
            // A door that was not there at the last look is open.
            if held.as_ref().is_none_or(|held| held[at] != *holds)
                && let Some(door) = house.doors.get(queue)
            {
                door.send_if_modified(|is_open| std::mem::replace(is_open, *holds) != *holds);
            }
        }
        *held = Some(hold);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, House> {
        self.house.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a door is open, or the token is cancelled.
pub(super) async fn pass(door: &mut watch::Receiver<bool>, token: &CancellationToken) {
    // Without a door there is nothing to wait for.
    let _gone = token.run_until_cancelled(door.wait_for(|is_open| *is_open)).await;
}
