//! A Redis with something of everything on it: tasks in each state, groups, a worker that works, schedules that fired.

use std::process::{Command, Output};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, ClaimRequest, Claimed, Finish, FinishOutcome, Finished, Owner, PauseNote};
use cronmill::producer::{Client, Task};
use cronmill::schedule::{Entry, TickOutcome, local_uid};
use cronmill::scheduler::Scheduler;
use cronmill::task::QueueName;
use cronmill::worker::{Context, HandlerError, Server, Task as Running};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::SOON;
use crate::support::entry::changed;
use crate::support::{self, RedisServer, until};

/// How often the worker shows what it runs.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The queues that [`Full`] fills.
pub(crate) const QUEUES: [&str; 3] = ["mails", "orders", "reports"];

pub(crate) struct Full {
    pub(crate) redis: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) scheduler: Scheduler,
    stop: CancellationToken,
    parts: Vec<JoinHandle<()>>,
}

impl Full {
    /// Fills a new Redis; nothing moves on it any more but heartbeats.
    pub(crate) async fn new() -> Self {
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
        let owner = Owner::new("host", 1, "firing");
        let scheduler = Scheduler::new(broker.clone(), owner);
        let full = Self { redis, broker, scheduler, stop: CancellationToken::new(), parts: Vec::new() };
        full.fill_orders().await;
        full.fill_mails().await;
        full.work_on_reports().await.fire().await
    }

    /// What the program prints as JSON.
    pub(crate) fn cronmill(&self, words: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
        command.args(words).args(["-o", "json", "--redis-url", &self.redis.url()]);
        let Output { status, stdout, stderr } = command.output().expect("it was just built");
        assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("JSON")
    }

    /// Ends the worker and the firing loop in order.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        for part in self.parts.drain(..) {
            part.await.expect("it ends in order");
        }
    }

    async fn enqueue(&self, task: Task) {
        Client::new(self.broker.clone()).enqueue(task).await.expect("a new task on our own Redis");
    }

    /// 6 pending, 3 scheduled, 2 active, 2 in retry, 1 archived, 2 completed, 1 done; 5 in two groups.
    async fn fill_orders(&self) {
        let order = |n: u32| {
            let payload = Bytes::from(format!(r#"{{"order":{},"user":{}}}"#, 4200 + n, 17 * n));
            Task::new("order:check-status", payload).queue("orders").retention(Duration::from_secs(86_400))
        };
        for n in 0..14 {
            self.enqueue(order(n)).await;
        }
        for n in 14..17 {
            self.enqueue(order(n).after(Duration::from_secs(600 * u64::from(n)))).await;
        }
        for n in 0..5 {
            let note = Task::new("order:note", Bytes::from(format!(r#"{{"note":{n}}}"#))).queue("orders");
            self.enqueue(note.group(if n < 3 { "shop-7" } else { "shop-9" })).await;
        }
        let queue = QueueName::new("orders").expect("valid");
        let owner = Owner::new("host", 2, "other");
        let lease = Duration::from_secs(3600);
        let request = ClaimRequest { queue: &queue, owner: &owner, sequence: 1, max: 8, lease };
        let Claimed::Tasks(claimed) = self.broker.claim(&request).await.expect("Redis answers") else {
            panic!("fourteen tasks are pending")
        };
        let now = self.broker.now();
        let retry = || FinishOutcome::Retry { at: now + Duration::from_secs(3600), counts_as_failure: true };
        let outcomes = [
            retry(),
            retry(),
            FinishOutcome::Archive,
            FinishOutcome::Complete,
            FinishOutcome::Complete,
            FinishOutcome::Done,
        ];
        let finish = |(outcome, task): (FinishOutcome, cronmill::broker::ClaimedTask)| {
            let (mut message, leased_until) = (task.body.expect("our own message"), task.leased_until);
            match outcome {
                FinishOutcome::Complete => message.completed_s = now.as_second(),
                FinishOutcome::Done => {}
                _ => {
                    message.error = "order service: connection refused".into();
                    message.last_failed_s = now.as_second();
                    message.retried += 1;
                }
            }
            Finish { message: message.into(), outcome, leased_until }
        };
        let finishes: Vec<Finish> = outcomes.into_iter().zip(claimed).map(finish).collect();
        let verdicts = self.broker.finish(&queue, &owner, &finishes).await.expect("Redis answers");
        assert!(verdicts.iter().all(|verdict| *verdict == Finished::Stored), "{verdicts:?}");
    }

    /// 4 pending, in a queue that is paused.
    async fn fill_mails(&self) {
        for n in 0..4 {
            let payload = Bytes::from(format!(r#"{{"to":"user-{n}"}}"#));
            self.enqueue(Task::new("mail:welcome", payload).queue("mails")).await;
        }
        let note = PauseNote {
            source: "test".into(),
            reason: "migration".into(),
            actor: "nobody".into(),
            until: None,
        };
        let queue = QueueName::new("mails").expect("valid");
        assert!(self.broker.pause(&queue, &note).await.expect("Redis answers"));
    }

    /// A worker runs 2 tasks for as long as it lives; 1 more is scheduled.
    async fn work_on_reports(mut self) -> Self {
        let report =
            || Task::new("report:monthly", Bytes::from_static(br#"{"month":"2026-10"}"#)).queue("reports");
        self.enqueue(report().id("october")).await;
        self.enqueue(report().id("again")).await;
        self.enqueue(report().id("later").after(Duration::from_secs(7200))).await;
        let queues = [("reports", 3)].map(|(name, weight)| (QueueName::new(name).expect("valid"), weight));
        let server = Server::builder(self.broker.clone()).queues(queues).concurrency(4).heartbeat(HEARTBEAT);
        let server = server.shutdown_timeout(Duration::ZERO).build().expect("a valid configuration");
        let handler = |context: Context, _: Running| async move {
            context.cancelled().await;
            Err(HandlerError::msg("told to stop"))
        };
        let stop = self.stop.clone();
        self.parts.push(tokio::spawn(async move {
            server.run(handler, stop).await.expect("it runs until told to stop");
        }));
        until(SOON, "the worker shows what it runs", async || {
            let servers = self.broker.servers().await.expect("Redis answers");
            servers.first().is_some_and(|server| server.running.len() == 2)
        })
        .await;
        self
    }

    /// Four schedules: one has fired three times, one is suspended.
    async fn fire(mut self) -> Self {
        let often = entry("settle-orders", "* * * * * *", "orders", 1);
        self.put(&often).await;
        self.put(&entry("welcome-mails", "*/20 3 1 1 *", "mails", 1)).await;
        self.put(&entry("monthly-report", "0 5 1 2 *", "reports", 1)).await;
        self.put(&Entry { suspend: true, ..entry("old-report", "0 6 1 2 *", "reports", 1) }).await;
        let (scheduler, stop) = (self.scheduler.clone(), self.stop.clone());
        self.parts.push(tokio::spawn(async move { scheduler.run(stop).await }));
        let queue = QueueName::new("orders").expect("valid");
        // A machine that stands still for a second makes a tick too late.
        until(SOON, "a schedule fires three times", async || {
            let ticks = self.broker.ticks(&queue, &often.uid, 100).await.expect("Redis answers");
            ticks.iter().filter(|tick| tick.outcome == TickOutcome::Enqueued).count() >= 3
        })
        .await;
        self.put(&entry("settle-orders", "30 4 1 1 *", "orders", 2)).await;
        self
    }

    pub(crate) async fn put(&self, entry: &Entry) {
        self.scheduler.apply(entry).await.expect("it can be put into force");
    }
}

/// A schedule whose tasks nobody runs.
pub(crate) fn entry(name: &str, schedule: &str, queue: &str, generation: u64) -> Entry {
    changed(support::entry::entry(name, schedule), |entry| {
        entry.uid = local_uid("CronTask", "shop", name).to_string();
        entry.revision.generation = generation;
        entry.timing.time_zone = Some("Asia/Shanghai".into());
        entry.template.kind = name.replace('-', ":");
        entry.template.queue = queue.into();
        entry.template.payload = Bytes::from_static(br#"{"shop":"main"}"#);
        entry.template.timeout_s = Some(1800);
        entry.template.retention_s = 3600;
    })
}
