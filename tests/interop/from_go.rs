//! Go's client and Inspector, and our worker.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::stage::{SOON, Stage};
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_task_from_go_runs_here_once() {
    let stage = Stage::new().await;
    let worker = stage.our_worker();
    stage.produce(&["--type", "ok", "--payload", "hello", "--id", "a", "--timeout", "90s"]);
    let seen = worker.saw(1).await.remove(0);
    stage.reaches("a", "").await;
    assert_eq!((seen.id.as_str(), seen.kind.as_str(), &seen.payload[..]), ("a", "ok", &b"hello"[..]));
    assert_eq!((seen.attempt, seen.max_retry), (0, 25));
    assert_eq!(seen.deadline.duration_since(seen.started).as_secs(), 90);
    worker.stop().await;
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_task_from_go_runs_here_at_its_time() {
    let stage = Stage::new().await;
    let worker = stage.our_worker();
    // Go's program takes its time to start.
    let due = Timestamp::now().as_second() + 5;
    stage.produce(&["--id", "a", "--at", &due.to_string()]);
    assert_eq!(stage.state("a"), "scheduled");
    let started = worker.saw(1).await[0].started;
    stage.reaches("a", "").await;
    let late_ms = started.as_millisecond() - due * 1000;
    assert!((0..2000).contains(&late_ms), "{late_ms} ms after its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_from_go_is_retried_here_and_go_sees_why() {
    let stage = Stage::new().await;
    let worker = stage.our_worker();
    stage.produce(&["--type", "fail", "--payload", r#"{"times":2}"#, "--id", "a", "--header", "trace=abc"]);
    stage.reaches("a", "retry").await;
    let waiting = stage.inspected("a");
    assert_eq!(
        (&waiting["retried"], &waiting["last_error"]),
        (&json!(1), &json!("attempt 0 fails as asked"))
    );
    let attempts: Vec<i32> = worker.saw(3).await.iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [0, 1, 2]);
    // Each retry rewrites the message; the headers must come through.
    let trace = BTreeMap::from([("trace".to_owned(), "abc".to_owned())]);
    assert!(worker.seen().iter().all(|seen| seen.headers == trace), "{:?}", worker.seen());
    stage.reaches("a", "").await;
    worker.stop().await;
    stage.assert_processed(3, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_from_go_that_fails_for_good_is_archived_here() {
    let stage = Stage::new().await;
    let _worker = stage.our_worker();
    let task = ["--type", "fail", "--payload", r#"{"times":9}"#];
    stage.produce(&[&task[..], &["--id", "used-up", "--max-retry", "0"]].concat());
    let skipping = ["--type", "fail", "--payload", r#"{"times":9,"skip_retry":true}"#, "--id", "skipped"];
    stage.produce(&skipping);
    for id in ["used-up", "skipped"] {
        stage.reaches(id, "archived").await;
        let archived = stage.inspected(id);
        assert_eq!((&archived["state"], &archived["retried"]), (&json!("archived"), &json!(0)), "{archived}");
        assert_eq!(archived["last_error"], "attempt 0 fails as asked");
        let age = Timestamp::now().as_second() - archived["last_failed_s"].as_i64().expect("it has failed");
        assert!((0..=60).contains(&age), "{archived}");
    }
    assert_eq!(stage.inspected_queue()["archived"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_written_here_is_read_by_go() {
    let stage = Stage::new().await;
    let _worker = stage.our_worker();
    stage.produce(&["--type", "result", "--payload", "forty-two", "--id", "a", "--retention", "1h"]);
    stage.reaches("a", "completed").await;
    let done = stage.inspected("a");
    assert_eq!((&done["result"], &done["state"]), (&json!("forty-two"), &json!("completed")));
    assert_eq!(done["retention_s"], 3600.0);
    let age = Timestamp::now().as_second() - done["completed_s"].as_i64().expect("it is completed");
    assert!((0..=60).contains(&age), "{done}");
    assert_eq!(stage.inspected_queue()["completed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn go_sees_our_worker_and_cancels_what_it_runs() {
    let stage = Stage::new().await;
    let worker = stage.our_worker();
    let flags = ["--type", "sleep", "--payload", r#"{"ms":600000}"#, "--id", "a", "--max-retry", "0"];
    stage.produce(&flags);
    worker.saw(1).await;
    until(SOON, "the Inspector shows the running task", async || {
        let servers = stage.peers.inspect(&["servers"]);
        servers[0]["running"][0]["id"] == "a"
    })
    .await;
    let server = stage.peers.inspect(&["servers"])[0].clone();
    assert_eq!(server["pid"], std::process::id());
    assert_eq!((&server["concurrency"], &server["status"]), (&json!(10), &json!("active")));
    assert_eq!(server["queues"], json!({"default": 1}));
    assert_eq!(server["running"][0]["type"], "sleep");
    stage.peers.inspect(&["cancel", "a"]);
    stage.reaches("a", "archived").await;
    worker.stop().await;
    assert_eq!(stage.peers.inspect(&["servers"]), json!([]), "a stopped worker withdraws itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_by_go_holds_here_until_go_lifts_it() {
    let stage = Stage::new().await;
    stage.produce(&["--id", "first"]);
    stage.peers.inspect(&["pause", "default"]);
    let worker = stage.our_worker();
    until(SOON, "our worker is up", async || stage.peers.inspect(&["servers"])[0]["status"] == "active")
        .await;
    stage.produce(&["--id", "second"]);
    // Another queue's work would be done by now: what is checked is that nothing was claimed meanwhile.
    stage.produce(&["--id", "later", "--in", "1s"]);
    stage.reaches("later", "pending").await;
    assert_eq!((worker.seen(), stage.inspected_queue()["pending"].as_u64()), (Vec::new(), Some(3)));
    stage.peers.inspect(&["unpause", "default"]);
    worker.saw(3).await;
    stage.reaches("later", "").await;
}
