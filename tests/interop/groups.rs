//! Groups that both sides fill and aggregate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cronmill::producer::Task;
use cronmill::worker::{AggregationSet, Context, HandlerError, Server, Task as Running};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

/// A worker of ours that joins payloads with commas, as the Go worker does, and notes what it joined.
struct Aggregating {
    joined: Arc<Mutex<Vec<String>>>,
    token: CancellationToken,
    running: JoinHandle<()>,
}

impl Aggregating {
    fn start(stage: &Stage) -> Self {
        let joined = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&joined);
        let aggregate = move |set: AggregationSet| {
            let mut payloads: Vec<_> =
                set.tasks().iter().map(|task| String::from_utf8_lossy(&task.payload).into_owned()).collect();
            payloads.sort();
            let text = payloads.join(",");
            notes.lock().expect("nobody panics while holding it").push(text.clone());
            async move { Ok::<_, BoxError>(Task::new("aggregated", Bytes::from(text))) }
        };
        let server = Server::builder(stage.broker.clone()).aggregator(aggregate);
        let server = server.group_grace(Duration::from_secs(1)).build().expect("a valid configuration");
        let token = CancellationToken::new();
        let stop = token.clone();
        let handler = |_: Context, _: Running| std::future::ready(Ok::<(), HandlerError>(()));
        let running =
            tokio::spawn(async move { server.run(handler, stop).await.expect("it runs until told to stop") });
        Self { joined, token, running }
    }

    fn joined(&self) -> Vec<String> {
        self.joined.lock().expect("nobody panics while holding it").clone()
    }

    async fn stop(self) {
        self.token.cancel();
        self.running.await.expect("it ends in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_go_fills_is_aggregated_here_and_its_locks_are_free() {
    let stage = Stage::new().await;
    for payload in ["a", "b", "c"] {
        stage.produce(&["--type", "part", "--payload", payload, "--group", "g", "--unique", "1h"]);
    }
    assert_eq!(stage.inspected_queue()["aggregating"], 3);
    let worker = Aggregating::start(&stage);
    until(SOON, "they are one task", async || !worker.joined().is_empty()).await;
    assert_eq!(worker.joined(), ["a,b,c"]);
    let is_empty = async || stage.inspected_queue()["size"] == 0;
    until(SOON, "it has run", is_empty).await;
    worker.stop().await;
    assert_eq!(stage.redis.keys("asynq:{default}:unique:*"), Vec::<String>::new());
    stage.produce(&["--type", "part", "--payload", "a", "--unique", "1h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_we_fill_is_aggregated_by_go_also_when_it_was_scheduled() {
    let stage = Stage::new().await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"a")).group("g")).await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"b")).group("g").after(Duration::from_secs(1))).await;
    // A keeper of ours moves the second one, with the group's name; only Go aggregates.
    let keeping = stage.our_worker();
    let go = stage.peers.worker(&["--aggregate", "--group-grace", "4s"]).await;
    let aggregated = eventually(SOON, "Go aggregates", async || events(&go, "aggregate").pop()).await;
    assert_eq!((&aggregated["type"], &aggregated["payload"]), (&"g".into(), &"a,b".into()));
    keeping.stop().await;
    drop(go);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_aggregate_one_queue_and_every_task_is_in_one_set() {
    let stage = Stage::new().await;
    let go = stage.peers.worker(&["--aggregate"]).await;
    let ours = Aggregating::start(&stage);
    let tasks = (0..600).map(|n| Task::new("part", Bytes::from(n.to_string())).group(format!("g{}", n / 10)));
    for outcome in stage.client.enqueue_batch(tasks.collect()).await {
        outcome.expect("a new task");
    }
    // The Inspector does not count what is being aggregated.
    let is_empty = async || stage.redis.keys("asynq:{default}:t:*").is_empty();
    until(SOON, "all are aggregated and have run", is_empty).await;
    let by_go =
        events(&go, "aggregate").into_iter().map(|event| event["payload"].as_str().expect("text").to_owned());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for payload in by_go.chain(ours.joined()) {
        payload.split(',').for_each(|part| *times.entry(part.to_owned()).or_default() += 1);
    }
    assert_eq!(times.len(), 600);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_go_is_aggregating_is_left_to_it() {
    let stage = Stage::new().await;
    let go = stage.peers.worker(&["--aggregate"]).await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"a")).group("slow")).await;
    eventually(SOON, "Go aggregates", async || events(&go, "aggregate").pop()).await;
    let ours = Aggregating::start(&stage);
    let is_empty =
        async || stage.inspected_queue()["size"] == 0 && stage.redis.keys("asynq:{default}:t:*").is_empty();
    until(SOON, "Go has finished it", is_empty).await;
    assert_eq!(ours.joined(), Vec::<String>::new());
    ours.stop().await;
}
