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
    doors: Mutex<BTreeMap<QueueName, watch::Sender<bool>>>,
}

impl Doors {
    pub(super) fn new(broker: Broker) -> Arc<Self> {
        Arc::new(Self { broker, doors: Mutex::default() })
    }

    /// A queue's new door, which is open.
    pub(super) fn add(&self, queue: &QueueName) -> watch::Receiver<bool> {
        let (door, before) = watch::channel(true);
        self.lock().insert(queue.clone(), door);
        before
    }

    /// Takes the door of a queue away; who waits there goes on.
    pub(super) fn remove(&self, queue: &QueueName) {
        self.lock().remove(queue);
    }

    /// Opens and closes them until the token is cancelled.
    pub(super) async fn attend(self: Arc<Self>, token: CancellationToken) {
        let mut outage = Outage::new("see which queues are to be kept");
        let (mut question, mut looks) = (Question::new(Concern::Keeping, Vec::new()), 0);
        while !token.is_cancelled() {
            let looked = self.look(&mut question, looks).await.map(|()| LOOK_EVERY);
            outage.rest_after(looked, &token).await;
            looks += 1;
        }
    }

    async fn look(&self, question: &mut Question, look: usize) -> Result<(), BrokerError> {
        if !question.is_about(self.lock().keys()) {
            let queues = self.lock().keys().cloned().collect();
            *question = Question::new(Concern::Keeping, queues);
        }
        let mut hold = self.broker.which_hold(question).await?;
        // A part of the queues in each look, so that no look costs much more than others.
        let some = || (look % LOOKS_PER_ROUND..question.queues().len()).step_by(LOOKS_PER_ROUND);
        let ended = some().map(|at| question.queues()[at].clone()).collect();
        let have_ended = self.broker.which_hold(&Question::new(Concern::Ended, ended)).await?;
        for (at, holds) in some().zip(have_ended) {
            hold[at] |= holds;
        }
        let doors = self.lock();
        for (queue, holds) in question.queues().iter().zip(hold) {
            if let Some(door) = doors.get(queue) {
                door.send_if_modified(|is_open| std::mem::replace(is_open, holds) != holds);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QueueName, watch::Sender<bool>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a door is open, or the token is cancelled.
pub(super) async fn pass(door: &mut watch::Receiver<bool>, token: &CancellationToken) {
    // Without a door there is nothing to wait for.
    let _gone = token.run_until_cancelled(door.wait_for(|is_open| *is_open)).await;
}
