//! Sends together what many callers enqueue at the same time.
//!
//! The first callers go at once, each by itself. Whoever comes while a few calls for its queue are on their way waits
//! for the next one, with all others who do. No timer delays anything: the more callers, the larger the calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::broker::{Broker, BrokerError, Enqueued, NewTask};

/// Calls for one queue on their way at once: more than one, so that a distant Redis is not waited for twice.
const CALLS_MAX: usize = 2;
/// Tasks sent together.
const TASKS_MAX: usize = 100;

/// What became of a task.
type Verdict = Result<Enqueued, Arc<BrokerError>>;
/// A task whose caller waits.
type Asked = (Arc<NewTask>, oneshot::Sender<Verdict>);

/// Gathers tasks of callers at the same time.
#[derive(Clone)]
pub(super) struct Gatherer {
    broker: Broker,
    queues: Arc<Mutex<HashMap<String, Waiting>>>,
}

/// The callers of one queue. Forgotten as soon as no call is on its way.
#[derive(Default)]
struct Waiting {
    calls: usize,
    tasks: Vec<Asked>,
}

/// A call on its way; with its end the next one begins, also when its caller lost interest.
struct Call {
    gatherer: Gatherer,
    queue: String,
    is_over: bool,
}

impl Gatherer {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, queues: Arc::default() }
    }

    /// Stores one task, together with those of others if there are many.
    pub(super) async fn enqueue(&self, new: NewTask) -> (NewTask, Verdict) {
        let answer = {
            let mut queues = self.lock();
            let waiting = queues.entry(new.message.queue.clone()).or_default();
            if waiting.calls < CALLS_MAX {
                waiting.calls += 1;
                Err(new)
            } else {
                let (sender, answer) = oneshot::channel();
                let new = Arc::new(new);
                waiting.tasks.push((Arc::clone(&new), sender));
                Ok((answer, new))
            }
        };
        match answer {
            Err(new) => {
                let _call = Call::new(self.clone(), new.message.queue.clone());
                let verdict = self.broker.enqueue_unique(&new.message, new.due, new.lock_for).await;
                (new, verdict.map_err(Arc::new))
            }
            Ok((answer, new)) => {
                let verdict = answer.await.unwrap_or_else(|_ended| Err(Arc::new(abandoned())));
                (Arc::unwrap_or_clone(new), verdict)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for a queue, for one call; without any, the call that asks is no longer on its way.
    fn next(&self, queue: &str) -> Vec<Asked> {
        let mut queues = self.lock();
        let Some(waiting) = queues.get_mut(queue) else { return Vec::new() };
        let count = waiting.tasks.len().min(TASKS_MAX);
        if count > 0 {
            return waiting.tasks.drain(..count).collect();
        }
        waiting.calls -= 1;
        if waiting.calls == 0 {
            queues.remove(queue);
        }
        Vec::new()
    }

    /// Sends what waits, as long as something does.
    async fn send(self, queue: String, mut waiting: Vec<Asked>) {
        let mut call = Call::new(self, queue);
        while !waiting.is_empty() {
            let (tasks, senders): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let verdicts = call.gatherer.broker.enqueue_batch(&tasks).await;
            drop(tasks);
            for (sender, verdict) in senders.into_iter().zip(verdicts) {
                // Who asked may have lost interest.
                let _unheard = sender.send(verdict);
            }
            waiting = call.gatherer.next(&call.queue);
        }
        call.is_over = true;
    }
}

impl Call {
    fn new(gatherer: Gatherer, queue: String) -> Self {
        Self { gatherer, queue, is_over: false }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let queue = std::mem::take(&mut self.queue);
        let mut waiting = self.gatherer.next(&queue);
        if waiting.is_empty() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(self.gatherer.clone().send(queue, waiting))),
            // Outside of a runtime nothing can be sent: those who wait learn that it was not.
            Err(_) => {
                while !waiting.is_empty() {
                    waiting = self.gatherer.next(&queue);
                }
            }
        }
    }
}

/// The runtime that was to send it has ended.
fn abandoned() -> BrokerError {
    let problem = "the runtime that was to send it has ended".to_owned();
    BrokerError::Reply { doing: "store tasks", problem }
}
