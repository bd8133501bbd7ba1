//! One Redis with both sides on it, and a worker of ours that does what the Go worker does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, ClaimRequest, Claimed, ClaimedTask, Owner, Recovered};
use cronmill::producer::{Client, Task as NewTask};
use cronmill::task::QueueName;
use cronmill::worker::{Builder, Context, HandlerError, Server, Task};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Peers, Process, RedisServer, eventually, until};

/// How long anything may take that is no wait of its own.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// What both sides wait before a retry here.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Both sides leave each other's leases alone for that long after they are over.
pub(crate) const GRACE_S: i64 = 30;

/// A private Redis, our connection to it, and Go programs on it.
pub(crate) struct Stage {
    pub(crate) redis: RedisServer,
    pub(crate) peers: Peers,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    pub(crate) queue: QueueName,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let redis = RedisServer::start();
        let peers = Peers::on(&redis.url());
        let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
        let client = Client::new(broker.clone());
        Self { redis, peers, broker, client, queue: QueueName::new("default").expect("valid") }
    }

    /// Enqueues with our client.
    pub(crate) async fn enqueue(&self, task: NewTask) {
        self.client.enqueue(task).await.expect("a new task on our own Redis");
    }

    /// Enqueues one task with Go's client.
    pub(crate) fn produce(&self, flags: &[&str]) {
        let answers = self.peers.produce(flags);
        assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:?}");
    }

    /// A worker of ours in this process.
    pub(crate) fn our_worker(&self) -> OurWorker {
        OurWorker::start(self.broker.clone())
    }

    /// A Go worker that retries as quickly as ours.
    pub(crate) async fn go_worker(&self) -> Process {
        self.peers.worker(&["--retry-delay", "1s"]).await
    }

    /// What asynq's Inspector says of a task of the default queue.
    pub(crate) fn inspected(&self, id: &str) -> Value {
        self.peers.inspect(&["task", "default", id])
    }

    /// What asynq's Inspector says of the default queue.
    pub(crate) fn inspected_queue(&self) -> Value {
        self.peers.inspect(&["queue", "default"])
    }

    /// Where a task stands, as Redis has it; empty when there is none.
    pub(crate) fn state(&self, id: &str) -> String {
        self.redis.cli(["HGET", &format!("asynq:{{default}}:t:{id}"), "state"])
    }

    /// Waits until a task stands there; an empty state means gone.
    pub(crate) async fn reaches(&self, id: &str, state: &str) {
        let what = format!("task {id} is {state:?}");
        until(SOON, &what, async || self.state(id) == state).await;
    }

    /// Claims the oldest task as a worker of ours that does nothing further.
    pub(crate) async fn claim_as(&self, owner: &Owner) -> ClaimedTask {
        // Not Go's 30 s: tests let time pass by moving leases, so another's would end in the same second.
        let lease = Duration::from_secs(20);
        let request = ClaimRequest { queue: &self.queue, owner, sequence: 1, max: 1, lease };
        match self.broker.claim(&request).await.expect("Redis answers") {
            Claimed::Tasks(mut tasks) => tasks.pop().expect("a task is pending"),
            other => panic!("{other:?}"),
        }
    }

    /// Lets asynq's Inspector cancel a task until that has made of it what it should. A worker may not listen yet.
    pub(crate) async fn cancelled_by_go(&self, id: &str, state: &str) {
        until(SOON, "the worker has heard Go", async || {
            self.peers.inspect(&["cancel", id]);
            self.state(id) == state
        })
        .await;
    }

    /// Lets the lease of a running task be over, with every grace after it, as the passing of time does.
    pub(crate) fn end_lease(&self, id: &str) {
        let past = (self.broker.now().as_second() - GRACE_S - 2).to_string();
        self.redis.cli(["ZADD", "asynq:{default}:lease", "XX", &past, id]);
    }

    /// What a keeper of ours does about leases that are over.
    pub(crate) async fn recover(&self) -> Recovered {
        self.broker.recover(&self.queue, |_| RETRY_DELAY).await.expect("Redis answers")
    }

    /// What a list of asynq's Inspector holds of the default queue.
    pub(crate) fn listed(&self, state: &str) -> Vec<Value> {
        self.peers.inspect(&["list", "default", state]).as_array().expect("a list").clone()
    }

    /// Fails unless nothing is left of any task but these counts.
    pub(crate) fn assert_processed(&self, processed: u64, failed: u64) {
        let queue = self.inspected_queue();
        let counts = ["size", "processed", "failed", "processed_total", "failed_total"]
            .map(|name| queue[name].as_u64());
        assert_eq!(counts, [0, processed, failed, processed, failed].map(Some), "{queue}");
        assert_eq!(self.redis.keys("asynq:{default}:t:*"), Vec::<String>::new());
        for container in ["active", "lease"] {
            assert_eq!(
                self.redis.cli(["EXISTS", &format!("asynq:{{default}}:{container}")]),
                "0",
                "{container}"
            );
        }
    }
}

/// One attempt as our handler saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) payload: Bytes,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) attempt: i32,
    pub(crate) max_retry: i32,
    pub(crate) deadline: Timestamp,
    pub(crate) started: Timestamp,
}

/// A worker of ours with the handlers of the Go worker. Dropping it stops it.
pub(crate) struct OurWorker {
    seen: Arc<Mutex<Vec<Seen>>>,
    token: CancellationToken,
    running: JoinHandle<()>,
}

impl OurWorker {
    pub(crate) fn start(broker: Broker) -> Self {
        Self::built(Server::builder(broker).concurrency(10).retry_delay(|_, _, _| RETRY_DELAY))
    }

    /// One with settings of its own.
    pub(crate) fn built(builder: Builder) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let token = CancellationToken::new();
        let server = builder.build().expect("a valid configuration");
        let (notes, stop) = (Arc::clone(&seen), token.clone());
        let handler = move |context: Context, task: Task| {
            notes.lock().expect("nobody panics while holding it").push(see(&context, &task));
            perform(context, task)
        };
        let running =
            tokio::spawn(async move { server.run(handler, stop).await.expect("it runs until told to stop") });
        Self { seen, token, running }
    }

    /// The attempts so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics while holding it").clone()
    }

    /// Waits until the handler was called that often, and returns the calls.
    pub(crate) async fn saw(&self, calls: usize) -> Vec<Seen> {
        let what = format!("{calls} attempts");
        eventually(SOON, &what, async || Some(self.seen()).filter(|seen| seen.len() >= calls)).await
    }

    /// Drains it.
    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.running.await.expect("it ends in order");
    }
}

fn see(context: &Context, task: &Task) -> Seen {
    Seen {
        id: context.id().to_owned(),
        kind: task.kind().to_owned(),
        payload: task.payload().clone(),
        headers: context.headers(),
        attempt: context.attempt(),
        max_retry: context.max_retry(),
        deadline: context.deadline(),
        started: context.started(),
    }
}

/// The same as the Go worker does for the types `fail`, `result`, `sleep` and `stubborn`; anything else succeeds.
pub(crate) async fn perform(context: Context, task: Task) -> Result<(), HandlerError> {
    match task.kind() {
        "fail" => {
            let plan: Value = serde_json::from_slice(task.payload())?;
            if i64::from(context.attempt()) >= plan["times"].as_i64().unwrap_or(0) {
                return Ok(());
            }
            let error = HandlerError::msg(format!("attempt {} fails as asked", context.attempt()));
            Err(if plan["skip_retry"] == true { HandlerError::skip_retry(error) } else { error })
        }
        "result" => Ok(context.result_writer().write(task.payload()).await?),
        "sleep" => {
            let plan: Value = serde_json::from_slice(task.payload())?;
            let time = Duration::from_millis(plan["ms"].as_u64().unwrap_or(0));
            match tokio::time::timeout(time, context.cancelled()).await {
                Ok(reason) => Err(HandlerError::msg(reason.to_string())),
                Err(_elapsed) => Ok(()),
            }
        }
        // A handler that does not hear that it is to stop.
        "stubborn" => {
            let plan: Value = serde_json::from_slice(task.payload())?;
            tokio::time::sleep(Duration::from_millis(plan["ms"].as_u64().unwrap_or(0))).await;
            Ok(())
        }
        _ => Ok(()),
    }
}
