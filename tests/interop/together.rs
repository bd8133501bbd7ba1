//! Both workers on one queue at once.

use std::collections::BTreeMap;

use cronmill::producer::Task;

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{full_size, until};

#[tokio::test(flavor = "multi_thread")]
async fn both_workers_share_a_queue_and_every_task_runs_once() {
    let tasks: usize = full_size(2_000, 50_000);
    let stage = Stage::new().await;
    let half = (tasks / 2).to_string();
    stage.produce(&["--id", "go", "--count", &half]);
    let ours = (0..tasks / 2).map(|n| Task::new("ok", None).id(format!("ours-{n}"))).collect();
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
