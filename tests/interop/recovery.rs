//! Workers of either side that die, drain or lose their lease beside the other: what comes back, where, and at what
//! cost.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Extended, Finish, FinishOutcome, Finished, Owner};
use cronmill::producer::Task;
use cronmill::worker::Server;
use serde_json::json;

use crate::crash::{lease_passes, long_sleep, our_worker_process};
use crate::stage::{OurWorker, SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

fn sleeping(ms: u32) -> Task {
    Task::new("sleep", Bytes::from(format!(r#"{{"ms":{ms}}}"#)))
}

#[tokio::test(flavor = "multi_thread")]
async fn gos_inspector_shows_what_a_dead_worker_held_and_can_move_none_of_it() {
    let stage = Stage::new().await;
    stage.produce(&["--id", "a"]);
    stage.claim_as(&Owner::new("host", 1, "dead")).await;
    assert_eq!(stage.listed("active")[0]["orphaned"], false);
    stage.end_lease("a");
    assert_eq!(stage.listed("active")[0]["orphaned"], true);
    for verb in ["run", "archive", "delete"] {
        let why = stage.peers.refused(&[verb, "default", "a"]);
        assert!(why.contains("in active state") || why.contains("already running"), "{verb}: {why}");
    }
    assert_eq!(stage.state("a"), "active");
    assert_eq!(stage.recover().await.requeued, 1, "keeping brings it back");
    assert_eq!(stage.inspected("a")["retried"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gos_recoverer_archives_what_has_no_retries_left() {
    let stage = Stage::new().await;
    let mut doomed = our_worker_process(&stage);
    stage.enqueue(long_sleep("a").max_retry(0)).await;
    doomed.line(SOON, |line| line == "start a").await;
    doomed.kill9();
    lease_passes(&stage, "a").await;
    let go = stage.go_worker().await;
    stage.reaches("a", "archived").await;
    let shown = stage.inspected("a");
    assert_eq!((&shown["last_error"], &shown["retried"]), (&json!("asynq: task lease expired"), &json!(0)));
    assert_eq!(stage.inspected_queue()["failed"], 1);
    assert_eq!(events(&go, "start"), Vec::<serde_json::Value>::new(), "it never ran to its end");
}

// Go's recoverer looks when it starts and then once a minute, ours every second.
#[tokio::test(flavor = "multi_thread")]
async fn beside_go_a_keeper_of_ours_comes_first() {
    let stage = Stage::new().await;
    let mut doomed = our_worker_process(&stage);
    stage.enqueue(sleeping(2_000).id("a").max_retry(0)).await;
    doomed.line(SOON, |line| line == "start a").await;
    doomed.kill9();
    let _go = stage.go_worker().await;
    assert_eq!(stage.state("a"), "active");
    let ours = stage.our_worker();
    lease_passes(&stage, "a").await;
    stage.reaches("a", "").await;
    ours.stop().await;
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_worker_puts_back_runs_in_go_first_and_at_no_attempt() {
    let stage = Stage::new().await;
    let builder = Server::builder(stage.broker.clone()).concurrency(1);
    let ours = OurWorker::built(builder.shutdown_timeout(Duration::from_millis(200)));
    stage.enqueue(sleeping(2_000).id("a").max_retry(0)).await;
    ours.saw(1).await;
    stage.enqueue(Task::new("ok", None).id("b")).await;
    ours.stop().await;
    let waiting: Vec<_> = stage.listed("pending").iter().map(|task| task["id"].clone()).collect();
    assert_eq!(waiting, ["a", "b"], "the oldest first");
    let go = stage.peers.worker(&["--concurrency", "1"]).await;
    let starts = eventually(SOON, "both run in Go", async || {
        Some(events(&go, "start")).filter(|starts| starts.len() == 2)
    })
    .await;
    assert_eq!((&starts[0]["id"], &starts[0]["retried"]), (&json!("a"), &json!(0)));
    stage.reaches("b", "").await;
    stage.assert_processed(2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_go_worker_puts_back_runs_here_first_and_at_no_attempt() {
    let stage = Stage::new().await;
    let mut go = stage.peers.worker(&["--concurrency", "1", "--drain", "200ms"]).await;
    stage.produce(&["--type", "sleep", "--payload", r#"{"ms":2000}"#, "--id", "a", "--max-retry", "0"]);
    eventually(SOON, "it runs in Go", async || events(&go, "start").pop()).await;
    stage.enqueue(Task::new("ok", None).id("b")).await;
    go.terminate();
    assert!(go.exit(SOON).await.success());
    let ours = OurWorker::built(Server::builder(stage.broker.clone()).concurrency(1));
    let seen = ours.saw(2).await;
    assert_eq!((seen[0].id.as_str(), seen[0].attempt), ("a", 0));
    stage.reaches("b", "").await;
    ours.stop().await;
    stage.assert_processed(2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_ours_that_lost_its_task_to_go_can_change_nothing() {
    let stage = Stage::new().await;
    stage.enqueue(sleeping(600_000).id("a").max_retry(5)).await;
    let stale = Owner::new("host", 1, "stale");
    let held = stage.claim_as(&stale).await;
    stage.end_lease("a");
    let go = stage.go_worker().await;
    eventually(SOON, "Go has taken it over", async || events(&go, "start").pop()).await;

    let lease = stage.redis.cli(["ZSCORE", "asynq:{default}:lease", "a"]);
    let extended =
        stage.broker.extend(&stage.queue, &stale, &["a".to_owned()], Duration::from_secs(30)).await;
    assert_eq!(extended.expect("Redis answers"), [Extended::Lost]);
    let written = stage.broker.write_result(&stage.queue, &stale, "a", b"stale").await;
    assert!(!written.expect("Redis answers"));
    let finish = Finish {
        message: held.body.expect("our own message").into(),
        outcome: FinishOutcome::Done,
        leased_until: held.leased_until,
    };
    let finished = stage.broker.finish(&stage.queue, &stale, &[finish]).await.expect("Redis answers");
    assert_eq!(finished, [Finished::Lost]);
    assert_eq!(stage.redis.cli(["ZSCORE", "asynq:{default}:lease", "a"]), lease);
    let shown = stage.inspected("a");
    assert_eq!((&shown["state"], &shown["result_present"]), (&json!("active"), &json!(false)));
}

// asynq names no owner: whoever reports the id ends the attempt, whosever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_go_worker_that_lost_its_task_ends_the_attempt_of_ours() {
    let stage = Stage::new().await;
    let go = stage.go_worker().await;
    stage.enqueue(Task::new("stubborn", Bytes::from_static(br#"{"ms":2500}"#)).id("a")).await;
    eventually(SOON, "it runs in Go", async || events(&go, "start").pop()).await;
    go.freeze();
    stage.end_lease("a");
    assert_eq!(stage.recover().await.requeued, 1);
    let stale = Owner::new("host", 1, "ours");
    let held = stage.claim_as(&stale).await;
    assert_eq!(held.id, "a");
    go.thaw();
    stage.reaches("a", "").await;
    let finish = Finish {
        message: held.body.expect("our own message").into(),
        outcome: FinishOutcome::Done,
        leased_until: held.leased_until,
    };
    let finished = stage.broker.finish(&stage.queue, &stale, &[finish]).await.expect("Redis answers");
    assert_eq!(finished, [Finished::Lost], "and ours is not counted a second time");
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_go_cannot_read_stays_active_until_keeping_archives_it() {
    let stage = Stage::new().await;
    stage.produce(&["--id", "sound", "--in", "1h"]);
    stage.redis.cli(["HSET", "asynq:{default}:t:broken", "msg", "no message", "state", "pending"]);
    stage.redis.cli(["LPUSH", "asynq:{default}:pending", "broken"]);
    let go = stage.go_worker().await;
    stage.reaches("broken", "active").await;
    stage.produce(&["--id", "next"]);
    stage.reaches("next", "").await;
    assert_eq!(stage.redis.cli(["LRANGE", "asynq:{default}:active", "0", "-1"]), "broken");
    drop(go);
    stage.end_lease("broken");
    until(SOON, "keeping archives it", async || {
        stage.recover().await;
        stage.state("broken") == "archived"
    })
    .await;
    let shown = stage.inspected("broken");
    assert_eq!((&shown["type"], &shown["payload"]), (&json!("cronmill:undecodable"), &json!("no message")));
    assert_eq!(stage.listed("archived").len(), 1, "and the Inspector can list it");
}
