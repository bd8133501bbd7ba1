//! Cancelling, pausing, running by hand and deleting queues, each side beside the other's workers and tools.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{ArchiveLimits, CancelThen, Cancelled, Owner, PauseNote, QueueRemoval, Resumed};
use cronmill::producer::Task;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_go_is_a_failure_and_the_next_attempt_runs() {
    let stage = Stage::new().await;
    let mut go = stage.peers.worker(&["--retry-delay", "10m"]).await;
    stage.enqueue(Task::new("sleep", Bytes::from_static(br#"{"ms":2500}"#)).id("a").max_retry(3)).await;
    eventually(SOON, "it runs in Go", async || events(&go, "start").pop()).await;
    let asked = stage.broker.cancel_task(&stage.queue, "a", CancelThen::Stop).await.expect("Redis answers");
    assert_eq!(asked, Cancelled::Asked(None));
    stage.cancelled_by_go("a", "retry").await;
    let shown = stage.inspected("a");
    assert_eq!((&shown["retried"], &shown["last_error"]), (&json!(1), &json!("context canceled")));
    assert_eq!(stage.inspected_queue()["failed"], 1);
    go.terminate();
    go.exit(SOON).await;
    // It was meant for that attempt: another one here is not stopped by it.
    stage.peers.inspect(&["run", "default", "a"]);
    let ours = stage.our_worker();
    assert_eq!(ours.saw(1).await[0].attempt, 1);
    stage.reaches("a", "").await;
    ours.stop().await;
    stage.assert_processed(2, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_by_gos_inspector_leaves_no_mark() {
    let stage = Stage::new().await;
    stage.produce(&["--id", "a"]);
    let deaf = Owner::new("host", 1, "deaf");
    stage.claim_as(&deaf).await;
    let ids = ["a".to_owned()];
    let marks = async || stage.broker.cancel_marks(&stage.queue, &deaf, &ids).await.expect("Redis answers");
    stage.peers.inspect(&["cancel", "a"]);
    assert_eq!(marks().await, [None], "who did not listen never hears of it");
    stage.broker.cancel_task(&stage.queue, "a", CancelThen::Stop).await.expect("Redis answers");
    assert_eq!(marks().await, [Some(CancelThen::Stop)]);
}

fn note(until: Option<Timestamp>) -> PauseNote {
    PauseNote { source: "test".into(), reason: "to see".into(), actor: "nobody".into(), until }
}

/// What a keeper does about pauses.
async fn clean(stage: &Stage) {
    stage.broker.clean(&stage.queue, ArchiveLimits::default(), 0).await.expect("Redis answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_ours_holds_in_go_and_only_keeping_ends_it() {
    let stage = Stage::new().await;
    let over = stage.broker.now() - SignedDuration::from_secs(1);
    stage.broker.pause(&stage.queue, &note(Some(over))).await.expect("Redis answers");
    stage.produce(&["--id", "first"]);
    let go = stage.go_worker().await;
    // Another queue's work would be done by now: its forwarder has moved a task that was to wait a second.
    stage.produce(&["--id", "later", "--in", "1s"]);
    stage.reaches("later", "pending").await;
    assert_eq!(stage.inspected_queue()["pending"], 2, "Go knows no end of a pause");
    assert!(events(&go, "start").is_empty());
    clean(&stage).await;
    stage.reaches("first", "").await;
    stage.reaches("later", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_go_made_is_lifted_by_a_person_only() {
    let stage = Stage::new().await;
    stage.produce(&["--id", "a"]);
    let over = stage.broker.now() - SignedDuration::from_secs(1);
    let paused = stage.broker.pause(&stage.queue, &note(Some(over))).await.expect("Redis answers");
    assert!(paused);
    stage.peers.inspect(&["unpause", "default"]);
    assert_eq!(stage.inspected_queue()["paused"], false, "Go's tools lift ours as well");
    // What we noted is about that second's pause.
    let second = Timestamp::now().as_second();
    until(SOON, "the next second", async || Timestamp::now().as_second() > second).await;
    stage.peers.inspect(&["pause", "default"]);
    clean(&stage).await;
    assert_eq!(stage.inspected_queue()["paused"], true);
    let state = stage.broker.pause_state(&stage.queue).await.expect("Redis answers").expect("paused");
    assert_eq!(state.note, None, "what is left of our note describes another pause");
    let resumed = stage.broker.resume(&stage.queue, Some("test")).await.expect("Redis answers");
    assert_eq!((resumed, stage.inspected_queue()["paused"].as_bool()), (Resumed::Foreign, Some(true)));
    let resumed = stage.broker.resume(&stage.queue, None).await.expect("Redis answers");
    assert_eq!((resumed, stage.inspected_queue()["paused"].as_bool()), (Resumed::Lifted, Some(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gos_inspector_runs_keeps_its_count_of_retries() {
    let stage = Stage::new().await;
    let mut go = stage.peers.worker(&["--retry-delay", "10m"]).await;
    stage.enqueue(Task::new("fail", Bytes::from_static(br#"{"times":1}"#)).id("a").max_retry(1)).await;
    stage.reaches("a", "retry").await;
    go.terminate();
    go.exit(SOON).await;
    stage.peers.inspect(&["run", "default", "a"]);
    assert_eq!(stage.inspected("a")["retried"], 1);
    let ours = stage.our_worker();
    let seen = ours.saw(1).await;
    assert_eq!((seen[0].attempt, seen[0].max_retry), (1, 1));
    stage.reaches("a", "").await;
    // One that was given up has no retry left: it runs once, and is given up again.
    stage.produce(&["--type", "fail", "--payload", r#"{"times":9}"#, "--id", "b", "--max-retry", "0"]);
    stage.reaches("b", "archived").await;
    stage.peers.inspect(&["run", "default", "b"]);
    ours.saw(3).await;
    stage.reaches("b", "archived").await;
    assert_eq!(stage.inspected("b")["retried"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_not_deleted_while_go_runs_a_task() {
    let stage = Stage::new().await;
    let go = stage.go_worker().await;
    stage.enqueue(Task::new("sleep", Bytes::from_static(br#"{"ms":600000}"#)).id("a").max_retry(0)).await;
    eventually(SOON, "it runs in Go", async || events(&go, "start").pop()).await;
    let remove = async || stage.broker.remove_queue(&stage.queue, true, |_| {}).await.expect("asked");
    assert_eq!(remove().await, QueueRemoval::Active { tasks: 1 });
    assert_eq!((stage.state("a").as_str(), &stage.inspected_queue()["paused"]), ("active", &json!(false)));
    stage.cancelled_by_go("a", "archived").await;
    assert_eq!(remove().await, QueueRemoval::Removed { tasks: 1 });
    assert_eq!(stage.redis.keys("*{default}*"), Vec::<String>::new());
}

// asynq looks at five of seven states, and deletes their lists and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_gos_deletion_of_a_queue_leaves_goes_with_the_next_deletion_here() {
    let stage = Stage::new().await;
    let ours = stage.our_worker();
    stage.enqueue(Task::new("ok", None).id("done").retention(Duration::from_secs(3600))).await;
    stage.reaches("done", "completed").await;
    ours.stop().await;
    stage.produce(&["--type", "part", "--id", "member", "--group", "g", "--unique", "1h"]);
    stage.peers.inspect(&["delete-queue", "default", "false"]);
    assert_eq!(stage.peers.inspect(&["queues"]), json!([]));
    assert_eq!([stage.state("done"), stage.state("member")], ["completed", "aggregating"]);
    for left in ["asynq:{default}:groups", "asynq:{default}:unique:*", "asynq:{default}:processed"] {
        assert_eq!(stage.redis.keys(left).len(), 1, "{left}");
    }
    let remove = async |force| stage.broker.remove_queue(&stage.queue, force, |_| {}).await.expect("asked");
    assert_eq!(remove(true).await, QueueRemoval::Absent, "there is no such queue");
    // It is there again as soon as somebody uses it.
    stage.produce(&["--id", "again"]);
    assert_eq!(remove(false).await, QueueRemoval::NotEmpty { tasks: 3, orphans: 0 });
    assert_eq!(remove(true).await, QueueRemoval::Removed { tasks: 3 });
    assert_eq!(stage.redis.keys("*{default}*"), Vec::<String>::new());
}
