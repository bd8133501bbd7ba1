//! Groups that both sides fill and aggregate.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
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

/// Go takes a group to aggregate it and dies meanwhile; returns the key of its set.
async fn set_of_a_dead_go_worker(stage: &Stage) -> String {
    let mut go = stage.peers.worker(&["--aggregate"]).await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"a")).group("slow")).await;
    eventually(SOON, "Go aggregates", async || events(&go, "aggregate").pop()).await;
    go.kill9();
    let sets = stage.redis.cli_lines(["ZRANGE", "asynq:{default}:aggregation_sets", "0", "-1"]);
    assert_eq!(sets.len(), 1, "{sets:?}");
    // To Go's tools its task is nowhere meanwhile.
    assert_eq!(stage.inspected_queue()["aggregating"], 0);
    stage.redis.cli(["ZADD", "asynq:{default}:aggregation_sets", "XX", "1", &sets[0]]);
    sets.into_iter().next().expect("one")
}

// asynq's client refuses such a name, its Redis does not: another program may have written it.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_name_is_no_text_is_aggregated_by_either() {
    let stage = Stage::new().await;
    let rename = || {
        let raw = |text: &'static [u8]| OsStr::from_bytes(text);
        stage.redis.cli([raw(b"RENAME"), raw(b"asynq:{default}:g:g"), raw(b"asynq:{default}:g:\xff:\xc3(")]);
        stage.redis.cli(["SREM", "asynq:{default}:groups", "g"]);
        stage.redis.cli([raw(b"SADD"), raw(b"asynq:{default}:groups"), raw(b"\xff:\xc3(")]);
    };
    stage.produce(&["--type", "part", "--payload", "a", "--group", "g"]);
    rename();
    let ours = Aggregating::start(&stage);
    until(SOON, "we aggregate what Go stored", async || ours.joined() == ["a"]).await;
    until(SOON, "nothing is left", async || stage.redis.keys("asynq:{default}:t:*").is_empty()).await;
    ours.stop().await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"b")).group("g")).await;
    rename();
    let go = stage.peers.worker(&["--aggregate"]).await;
    let aggregated =
        eventually(SOON, "Go aggregates what we stored", async || events(&go, "aggregate").pop());
    let aggregated = aggregated.await;
    assert_eq!((&aggregated["type"], &aggregated["payload"]), (&"\u{fffd}:\u{fffd}(".into(), &"b".into()));
}

// asynq does not list the group again.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_go_gives_back_waits_until_another_task_joins() {
    let stage = Stage::new().await;
    let set = set_of_a_dead_go_worker(&stage).await;
    let go = stage.go_worker().await;
    until(SOON, "Go has given it back", async || stage.redis.cli(["EXISTS", &set]) == "0").await;
    drop(go);
    assert_eq!(stage.redis.cli(["ZCARD", "asynq:{default}:g:slow"]), "1");
    assert_eq!(stage.peers.inspect(&["groups", "default"]), serde_json::json!([]));
    let ours = Aggregating::start(&stage);
    stage.enqueue(Task::new("part", Bytes::from_static(b"c")).group("other")).await;
    until(SOON, "the other group is aggregated", async || ours.joined() == ["c"]).await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"b")).group("slow")).await;
    until(SOON, "both are one task", async || ours.joined() == ["c", "a,b"]).await;
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_gives_back_what_a_dead_go_worker_took_and_it_is_aggregated() {
    let stage = Stage::new().await;
    set_of_a_dead_go_worker(&stage).await;
    let ours = Aggregating::start(&stage);
    until(SOON, "it is aggregated", async || ours.joined() == ["a"]).await;
    ours.stop().await;
}

// asynq's forwarder does not list the group either.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_go_forwards_to_waits_until_another_task_joins() {
    let stage = Stage::new().await;
    let go = stage.peers.worker(&["--aggregate"]).await;
    stage.enqueue(Task::new("part", Bytes::from_static(b"a")).group("g").after(Duration::from_secs(1))).await;
    let is_member = async || stage.redis.cli(["ZCARD", "asynq:{default}:g:g"]) == "1";
    until(SOON, "Go has forwarded it", is_member).await;
    assert_eq!(stage.peers.inspect(&["groups", "default"]), serde_json::json!([]));
    stage.produce(&["--type", "part", "--payload", "b", "--group", "g"]);
    let aggregated = eventually(SOON, "Go aggregates", async || events(&go, "aggregate").pop()).await;
    let mut parts: Vec<_> = aggregated["payload"].as_str().expect("text").split(',').collect();
    parts.sort_unstable();
    assert_eq!(parts, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gos_client_leaves_out_the_group_of_a_scheduled_task() {
    let stage = Stage::new().await;
    stage.produce(&["--type", "part", "--payload", "a", "--group", "g", "--in", "1s", "--id", "a"]);
    assert_eq!(stage.redis.cli(["HGET", "asynq:{default}:t:a", "group"]), "");
    let ours = Aggregating::start(&stage);
    stage.reaches("a", "").await;
    assert_eq!(ours.joined(), Vec::<String>::new(), "it ran alone");
    assert_eq!(stage.inspected_queue()["processed"], 1);
    ours.stop().await;
}
