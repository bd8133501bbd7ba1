//! A producer and a worker under load, and what became of each task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cronmill::broker::{Broker, Enqueued};
use cronmill::task::QueueName;
use cronmill::worker::{Context, Server, Task, WorkerError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::support::task::{message, queue};

/// No call may take longer, whatever happens to Redis.
pub(crate) const HANG: Duration = Duration::from_secs(10);

/// What a producer was told.
#[derive(Default)]
pub(crate) struct Told {
    /// Ids that Redis said it has.
    pub(crate) stored: Mutex<BTreeSet<String>>,
    /// Calls that failed; each was repeated with the same id.
    pub(crate) failed: Mutex<Vec<String>>,
    /// The longest call, failed or not.
    pub(crate) longest: Mutex<Duration>,
}

impl Told {
    pub(crate) fn stored(&self) -> usize {
        self.stored.lock().expect("no panic under the lock").len()
    }

    pub(crate) fn longest(&self) -> Duration {
        *self.longest.lock().expect("no panic under the lock")
    }

    pub(crate) fn failures(&self) -> usize {
        self.failed.lock().expect("no panic under the lock").len()
    }

    fn note(&self, took: Duration) {
        let mut longest = self.longest.lock().expect("no panic under the lock");
        *longest = (*longest).max(took);
    }
}

/// Enqueues one task after the other, in turn into each queue, until it is stopped.
pub(crate) struct Producer {
    pub(crate) told: Arc<Told>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Producer {
    pub(crate) fn start(broker: &Broker, queues: &[QueueName]) -> Self {
        let (told, stop) = (Arc::new(Told::default()), CancellationToken::new());
        let (broker, queues) = (broker.clone(), queues.to_vec());
        let (told_there, stop_there) = (Arc::clone(&told), stop.clone());
        let running = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            for number in 0_usize.. {
                pace.tick().await;
                let queue = &queues[number % queues.len()];
                produce(&broker, queue, &number.to_string(), &told_there).await;
                if stop_there.is_cancelled() {
                    break;
                }
            }
        });
        Self { told, stop, running }
    }

    pub(crate) async fn stop(self) -> Arc<Told> {
        self.stop.cancel();
        tokio::time::timeout(3 * HANG, self.running).await.expect("it ends").expect("no panic");
        self.told
    }
}

/// Repeats one task until Redis says that it has it.
async fn produce(broker: &Broker, queue: &QueueName, id: &str, told: &Told) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut may_stand = false;
    loop {
        let start = Instant::now();
        let answer = broker.enqueue(&message(queue, id), None).await;
        told.note(start.elapsed());
        match answer {
            Ok(verdict) => {
                assert!(
                    verdict == Enqueued::Stored || may_stand,
                    "task {id} was never stored and is said to be"
                );
                told.stored.lock().expect("no panic under the lock").insert(id.to_owned());
                return;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}: {:?}", std::error::Error::source(&error));
                may_stand |= error.is_ambiguous();
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                told.failed.lock().expect("no panic under the lock").push(cause);
            }
        }
        pace.tick().await;
    }
}

/// A worker that notes what it runs.
pub(crate) struct Worker {
    pub(crate) ran: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    pub(crate) fn start(broker: &Broker, queues: &[QueueName]) -> Self {
        let mut builder = Server::builder(broker.clone()).concurrency(8).lease(Duration::from_secs(5));
        for queue in queues {
            builder = builder.queue(queue.clone(), 1);
        }
        let server = builder.shutdown_timeout(Duration::from_secs(2)).build().expect("a worker");
        let ran = Arc::new(Mutex::new(BTreeMap::new()));
        let (stop, log) = (CancellationToken::new(), Arc::clone(&ran));
        let handler = move |_: Context, task: Task| {
            *log.lock().expect("no panic under the lock").entry(task.id.clone()).or_default() += 1;
            async { Ok(()) }
        };
        let running = tokio::spawn(server.run(handler, stop.clone()));
        Self { ran, stop, running }
    }

    /// How many tasks have run at least once.
    pub(crate) fn ran(&self) -> usize {
        self.ran.lock().expect("no panic under the lock").len()
    }

    pub(crate) fn has_run(&self, id: &str) -> bool {
        self.ran.lock().expect("no panic under the lock").contains_key(id)
    }

    pub(crate) async fn stop(self) -> BTreeMap<String, usize> {
        self.stop.cancel();
        tokio::time::timeout(3 * HANG, self.running)
            .await
            .expect("it ends")
            .expect("no panic")
            .expect("no error");
        let ran = self.ran.lock().expect("no panic under the lock");
        ran.clone()
    }
}

/// Waits until nothing of a queue is left to do.
pub(crate) async fn until_done(broker: &Broker, queue: &QueueName) {
    crate::support::until(6 * HANG, "the queue is done", async || {
        let summary = broker.queue_summary(queue).await;
        summary.is_ok_and(|summary| summary.size() == 0)
    })
    .await;
}

/// Ids that were said to be stored and never ran, and how many runs there were beyond one each.
pub(crate) fn account(told: &Told, ran: &BTreeMap<String, usize>) -> (Vec<String>, usize) {
    let stored = told.stored.lock().expect("no panic under the lock");
    let lost = stored.iter().filter(|id| !ran.contains_key(*id)).cloned().collect();
    (lost, ran.values().map(|runs| runs - 1).sum())
}
