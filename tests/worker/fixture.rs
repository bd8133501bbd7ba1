//! What the tests of the worker share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cronmill::broker::{Broker, NewTask};
use cronmill::task::{Message, QueueName};
use cronmill::worker::{Builder, Handler, Server, WorkerError, WorkerStats};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support;
pub(crate) use crate::support::task::{message, queue};

/// Longest a condition may take to come true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds and says how long that took.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    support::until(PATIENCE, what, async || holds()).await;
    start.elapsed()
}

/// Watches for a while that a condition goes on holding.
pub(crate) async fn holds_for(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds(), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A worker that runs until it is stopped.
pub(crate) struct Worker {
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) owner: String,
    pub(crate) token: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    pub(crate) fn start(builder: Builder, handler: impl Handler) -> Self {
        let server = builder.build().expect("a worker");
        let (stats, owner) = (server.stats(), server.owner().to_string());
        let token = CancellationToken::new();
        let running = tokio::spawn(server.run(handler, token.clone()));
        Self { stats, owner, token, running }
    }

    pub(crate) async fn stop(self) -> Arc<WorkerStats> {
        self.token.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended.expect("the worker ends").expect("no panic").expect("no error");
        assert_eq!(self.stats.holding(), 0, "a stopped worker holds nothing");
        assert_eq!(self.stats.running(), 0, "a stopped worker runs nothing");
        self.stats
    }
}

/// A builder for one queue, with short times.
pub(crate) fn builder(broker: &Broker, queue: &QueueName) -> Builder {
    Server::builder(broker.clone()).queue(queue.clone(), 1).shutdown_timeout(Duration::from_millis(200))
}

pub(crate) async fn enqueue(broker: &Broker, message: Message) {
    let stored = broker.enqueue(&message, None).await.expect("stored");
    assert_eq!(stored, cronmill::broker::Enqueued::Stored);
}

/// Enqueues tasks `0` to `n - 1`.
pub(crate) async fn enqueue_many(broker: &Broker, queue: &QueueName, n: usize) {
    let tasks: Vec<_> = (0..n).map(|i| NewTask::new(message(queue, &i.to_string()), None)).collect();
    for verdict in broker.enqueue_batch(&tasks).await {
        verdict.expect("stored");
    }
}

/// A list many handlers write to.
#[derive(Debug)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn add(&self, entry: T) {
        self.0.lock().expect("no panic under the lock").push(entry);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().expect("no panic under the lock").clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no panic under the lock").len()
    }
}
