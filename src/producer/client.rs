//! The client itself.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::error;

use super::gather::Gatherer;
use super::{EnqueueError, Task};
use crate::broker::{Broker, BrokerError, Enqueued, NewTask};
use crate::task::State;

/// Called before a task is checked and sent.
type BeforeEnqueue = dyn Fn(&Task) + Send + Sync;
/// Called with what became of a task.
type AfterEnqueue = dyn Fn(&Task, Result<&Receipt, &EnqueueError>) + Send + Sync;

/// Puts tasks into queues. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    broker: Broker,
    gatherer: Gatherer,
    before: Option<Arc<BeforeEnqueue>>,
    after: Option<Arc<AfterEnqueue>>,
}

/// A task that Redis has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The task's id, unique within its queue.
    pub id: String,
    /// The queue it is in.
    pub queue: String,
    /// [`State::Pending`], [`State::Scheduled`], or [`State::Aggregating`] when it waits in its group.
    pub state: State,
    /// When it may start: the moment it was enqueued, or the time asked for.
    pub next_process_at: Timestamp,
}

impl Client {
    /// A client on a connection.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        let gatherer = Gatherer::new(broker.clone());
        Self { broker, gatherer, before: None, after: None }
    }

    /// Calls `callback` before each task is checked and sent. It can neither change nor stop the task.
    ///
    /// A panic in it is logged, and the task is sent all the same.
    #[must_use]
    pub fn before_enqueue(mut self, callback: impl Fn(&Task) + Send + Sync + 'static) -> Self {
        self.before = Some(Arc::new(callback));
        self
    }

    /// Calls `callback` with what became of each task. A panic in it is logged.
    #[must_use]
    pub fn after_enqueue(
        mut self,
        callback: impl Fn(&Task, Result<&Receipt, &EnqueueError>) + Send + Sync + 'static,
    ) -> Self {
        self.after = Some(Arc::new(callback));
        self
    }

    /// Stores one task. Of many callers at the same time, several share one round trip.
    ///
    /// Not cancel-safe: a future dropped before it ends leaves open whether the task was stored. Give the task
    /// an id and enqueue it again to be sure.
    ///
    /// # Errors
    /// [`EnqueueError::Conflict`] when its id is taken in that queue, [`EnqueueError::Duplicate`] when it is unique
    /// and another task holds its lock, [`EnqueueError::Broker`] when Redis did
    /// not answer; the others name a mistake in the task.
    pub async fn enqueue(&self, task: Task) -> Result<Receipt, EnqueueError> {
        self.call_before(&task);
        let now = self.broker.now_in(task.queue_name());
        let outcome = match task.to_message(now) {
            Ok(new) => {
                let (new, verdict) = self.gatherer.enqueue(new).await;
                receipt(new, now, verdict)
            }
            Err(error) => Err(error),
        };
        self.call_after(&task, &outcome);
        outcome
    }

    /// Stores many tasks in few round trips and says of each, in the same order, what became of it.
    ///
    /// A mistake in one, or an id that is taken, does not touch the others. Not cancel-safe, as
    /// [`enqueue`](Self::enqueue).
    pub async fn enqueue_batch(&self, tasks: Vec<Task>) -> Vec<Result<Receipt, EnqueueError>> {
        for task in &tasks {
            self.call_before(task);
        }
        let now = self.broker.now();
        let checked: Vec<Result<NewTask, EnqueueError>> =
            tasks.iter().map(|task| task.to_message(self.broker.now_in(task.queue_name()))).collect();
        let mut refused = Vec::with_capacity(tasks.len());
        let mut sent = Vec::with_capacity(tasks.len());
        for check in checked {
            match check {
                Ok(new) => {
                    sent.push(new);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let verdicts = self.broker.enqueue_batch(&sent).await;
        debug_assert_eq!(verdicts.len(), sent.len(), "one verdict each");
        let mut answered = sent.into_iter().zip(verdicts);
        let outcomes: Vec<_> = refused
            .into_iter()
            .map(|refusal| match refusal {
                Some(error) => Err(error),
                None => {
                    let (new, verdict) = answered.next().expect("the broker answers once for each task sent");
                    receipt(new, now, verdict)
                }
            })
            .collect();
        for (task, outcome) in tasks.iter().zip(&outcomes) {
            self.call_after(task, outcome);
        }
        outcomes
    }

    fn call_before(&self, task: &Task) {
        if let Some(before) = &self.before {
            guarded("before-enqueue", || before(task));
        }
    }

    fn call_after(&self, task: &Task, outcome: &Result<Receipt, EnqueueError>) {
        if let Some(after) = &self.after {
            guarded("after-enqueue", || after(task, outcome.as_ref()));
        }
    }
}

fn receipt(
    new: NewTask,
    now: Timestamp,
    verdict: Result<Enqueued, Arc<BrokerError>>,
) -> Result<Receipt, EnqueueError> {
    let NewTask { message, due, .. } = new;
    let (id, queue) = (message.id, message.queue);
    match verdict {
        Ok(Enqueued::Stored) => {
            let state = match due {
                Some(_) => State::Scheduled,
                None if message.group.is_empty() => State::Pending,
                None => State::Aggregating,
            };
            Ok(Receipt { id, queue, state, next_process_at: due.unwrap_or(now) })
        }
        Ok(Enqueued::Conflict) => Err(EnqueueError::Conflict { id, queue }),
        Ok(Enqueued::Duplicate { holder }) => Err(EnqueueError::Duplicate { id, queue, holder }),
        Err(source) => Err(EnqueueError::Broker { id, queue, source }),
    }
}

/// Calls user code that must not take the caller down with it.
fn guarded(callback: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        error!(callback, "a callback panicked");
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
