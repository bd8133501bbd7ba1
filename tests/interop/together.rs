//! Both workers on one queue at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use cronmill::producer::Task;
use cronmill::task::QueueName;
use cronmill::worker::{Builder, Server};
use serde_json::Value;

use crate::stage::{OurWorker, SOON, Seen, Stage};
use crate::support::peers::events;
use crate::support::{eventually, full_size, until};

#[tokio::test(flavor = "multi_thread")]
async fn both_workers_share_a_queue_and_every_task_runs_once() {
    let tasks: usize = full_size(2_000, 50_000);
    // So long that one worker alone would take some seconds, and neither is through before the other begins.
    let payload = full_size(r#"{"ms":20}"#, r#"{"ms":1}"#);
    let stage = Stage::new().await;
    let half = (tasks / 2).to_string();
    stage.produce(&["--type", "sleep", "--payload", payload, "--id", "go", "--count", &half]);
    let sleep = |n: usize| Task::new("sleep", Bytes::from_static(payload.as_bytes())).id(format!("ours-{n}"));
    let ours = (0..tasks / 2).map(sleep).collect();
    for verdict in stage.client.enqueue_batch(ours).await {
        verdict.expect("a new task");
    }
    assert_eq!(stage.inspected_queue()["pending"], tasks);

    // Nobody works before both are up.
    stage.peers.inspect(&["pause", "default"]);
    let go = stage.go_worker().await;
    let ours = stage.our_worker();
    until(SOON, "both are up", async || {
        stage.peers.inspect(&["servers"]).as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    stage.peers.inspect(&["unpause", "default"]);
    let queue_is_empty = async || stage.inspected_queue()["size"] == 0;
    until(SOON * full_size(1, 10), "all tasks are done", queue_is_empty).await;

    let told = async || events(&go, "end").len() + ours.seen().len() >= tasks;
    until(SOON, "both have told of all", told).await;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    let (by_go, by_us) = (events(&go, "end"), ours.seen());
    assert!(!by_go.is_empty() && !by_us.is_empty(), "{} by Go, {} by us", by_go.len(), by_us.len());
    let ids = by_go.iter().map(|end| end["id"].as_str().expect("an id").to_owned());
    for id in ids.chain(by_us.into_iter().map(|seen| seen.id)) {
        *runs.entry(id).or_default() += 1;
    }
    assert_eq!(runs.len(), tasks);
    assert!(runs.values().all(|times| *times == 1), "{:?}", runs.iter().find(|(_, times)| **times != 1));
    ours.stop().await;
    stage.assert_processed(tasks as u64, 0);
}

fn weighted(stage: &Stage, weights: [(&str, u32); 3]) -> Builder {
    let queues = weights.map(|(name, weight)| (QueueName::new(name).expect("valid"), weight));
    Server::builder(stage.broker.clone()).queues(queues).concurrency(10)
}

// Each side draws the queue of each slot with its weight, so the shares are the weights however the two divide the work.
#[tokio::test(flavor = "multi_thread")]
async fn weights_are_the_shares_of_both_workers_together() {
    const SHARES: [(&str, u32, f64); 3] = [("critical", 6, 0.6), ("default", 3, 0.3), ("low", 1, 0.1)];
    let (each, looked_at) = full_size((4_000, 3_000), (100_000, 30_000));
    let stage = Stage::new().await;
    for (queue, ..) in SHARES {
        let tasks = (0..each).map(|_| Task::new(queue, None).queue(queue)).collect();
        for verdict in stage.client.enqueue_batch(tasks).await {
            verdict.expect("a new task");
        }
    }
    let go = stage.peers.worker(&["--queues", "critical=6,default=3,low=1"]).await;
    let ours = OurWorker::built(weighted(&stage, SHARES.map(|(queue, weight, _)| (queue, weight))));
    let by_go = || -> Vec<(i64, String)> {
        let start = |start: &Value| {
            (start["unix_ns"].as_i64().expect("a time"), start["type"].as_str().expect("text").to_owned())
        };
        events(&go, "start").iter().map(start).collect()
    };
    let by_us = || -> Vec<(i64, String)> {
        let start = |seen: Seen| (i64::try_from(seen.started.as_nanosecond()).expect("in range"), seen.kind);
        ours.seen().into_iter().map(start).collect()
    };
    let enough = || {
        let (by_go, by_us) = (by_go(), by_us());
        // From when both work, however long one was alone.
        let both = by_go.first()?.0.max(by_us.first()?.0);
        let mut all: Vec<_> = by_go.iter().chain(&by_us).filter(|(at, _)| *at >= both).cloned().collect();
        all.sort_unstable();
        (all.len() >= looked_at + each / 4).then_some((by_go, by_us, both, all))
    };
    let limit = SOON * full_size(1, 10);
    let (by_go, by_us, both, all) = eventually(limit, "enough have run", async || enough()).await;
    let window = &all[..looked_at];
    for (queue, _, share) in SHARES {
        let found = window.iter().filter(|(_, kind)| kind == queue).count() as f64 / looked_at as f64;
        assert!((found - share).abs() < full_size(0.04, 0.02), "{queue}: {found}, not {share}");
    }
    let end = window.last().expect("some").0;
    for one in [&by_go, &by_us] {
        let in_window = one.iter().filter(|(at, _)| (both..=end).contains(at)).count();
        assert!(in_window > looked_at / 50, "{in_window} of {looked_at} by one of them");
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_strictly_first_is_first_in_both_workers() {
    let stage = Stage::new().await;
    let endless = |queue: &str| Task::new("sleep", Bytes::from_static(br#"{"ms":600000}"#)).queue(queue);
    for _ in 0..30 {
        stage.enqueue(endless("low")).await;
    }
    for _ in 0..25 {
        stage.enqueue(endless("critical")).await;
    }
    // Together they have twenty slots, so there is always a critical task left.
    let ours = OurWorker::built(weighted(&stage, [("critical", 2), ("low", 1), ("none", 1)]).strict(true));
    let go = stage.peers.worker(&["--queues", "critical=2,low=1", "--strict", "--concurrency", "10"]).await;
    let active = |queue: &str| stage.redis.cli(["LLEN", &format!("asynq:{{{queue}}}:active")]);
    until(SOON, "all slots are taken", async || events(&go, "start").len() == 10 && ours.seen().len() == 10)
        .await;
    assert_eq!((active("critical").as_str(), active("low").as_str()), ("20", "0"));
}
