//! Our client, and Go's worker.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cronmill::producer::Task;
use cronmill::task::State;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{Process, eventually};

/// Waits until the Go worker has ended that many attempts, and returns them.
async fn ended(worker: &Process, attempts: usize) -> Vec<Value> {
    let what = format!("{attempts} attempts end in Go");
    eventually(SOON, &what, async || Some(events(worker, "end")).filter(|all| all.len() >= attempts)).await
}

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_task_of_ours_runs_in_go_once() {
    let stage = Stage::new().await;
    let mut worker = stage.go_worker().await;
    let deadline = Timestamp::now() + SignedDuration::from_secs(77);
    stage.enqueue(Task::new("ok", payload("hello")).id("a").deadline(deadline)).await;
    let end = ended(&worker, 1).await.remove(0);
    assert_eq!((&end["id"], &end["type"], &end["payload"]), (&json!("a"), &json!("ok"), &json!("hello")));
    assert_eq!((&end["retried"], &end["max_retry"]), (&json!(0), &json!(25)));
    assert_eq!(end["deadline_s"], deadline.as_second());
    stage.reaches("a", "").await;
    worker.terminate();
    assert!(worker.exit(SOON).await.success());
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_task_of_ours_runs_in_go_at_its_time() {
    let stage = Stage::new().await;
    let worker = stage.go_worker().await;
    let due = Timestamp::from_second(Timestamp::now().as_second() + 2).expect("in range");
    stage.enqueue(Task::new("ok", None).id("at").at(due)).await;
    stage.enqueue(Task::new("ok", None).id("after").after(Duration::from_secs(2))).await;
    assert_eq!((stage.state("at").as_str(), stage.state("after").as_str()), ("scheduled", "scheduled"));
    for end in ended(&worker, 2).await {
        let late_ms = end["unix_ns"].as_i64().expect("a number") / 1_000_000 - due.as_millisecond();
        assert!((0..4000).contains(&late_ms), "{late_ms} ms after its time: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_of_ours_is_retried_in_go_with_its_headers() {
    let stage = Stage::new().await;
    let worker = stage.go_worker().await;
    let task =
        Task::new("fail", payload(r#"{"times":2}"#)).id("a").header("trace", "abc").header("empty", "");
    stage.enqueue(task).await;
    let all = ended(&worker, 3).await;
    let retried: Vec<_> = all.iter().map(|end| end["retried"].as_i64()).collect();
    assert_eq!(retried, [Some(0), Some(1), Some(2)]);
    assert!(all.iter().all(|end| end["headers"] == json!({"trace": "abc", "empty": ""})), "{all:?}");
    stage.reaches("a", "").await;
    stage.assert_processed(3, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_ours_that_go_archives_is_read_here() {
    let stage = Stage::new().await;
    let _worker = stage.go_worker().await;
    let headers = BTreeMap::from([("trace".to_owned(), "abc".to_owned())]);
    let task = Task::new("fail", payload(r#"{"times":9}"#)).id("a").max_retry(1).headers(headers.clone());
    stage.enqueue(task).await;
    stage.reaches("a", "archived").await;
    let view = stage.broker.task(&stage.queue, "a").await.expect("Redis answers").expect("it is kept");
    assert_eq!((view.state, view.message.retried), (State::Archived, 1));
    assert_eq!(view.message.error, "attempt 1 fails as asked");
    assert_eq!(view.message.header_map(), headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_written_in_go_is_read_here() {
    let stage = Stage::new().await;
    let _worker = stage.go_worker().await;
    let task = Task::new("result", payload("forty-two")).id("a").retention(Duration::from_secs(3600));
    stage.enqueue(task).await;
    stage.reaches("a", "completed").await;
    let view = stage.broker.task(&stage.queue, "a").await.expect("Redis answers").expect("it is kept");
    assert_eq!((view.state, view.result.as_deref()), (State::Completed, Some(&b"forty-two"[..])));
    let kept = view.at.expect("it is deleted one day").as_second() - view.message.completed_s;
    assert_eq!(kept, 3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_of_ours_reaches_what_go_runs() {
    let stage = Stage::new().await;
    let worker = stage.go_worker().await;
    stage.enqueue(Task::new("sleep", payload(r#"{"ms":600000}"#)).id("a").max_retry(0)).await;
    eventually(SOON, "it runs in Go", async || events(&worker, "start").pop()).await;
    stage.broker.cancel("a").await.expect("Redis answers");
    stage.reaches("a", "archived").await;
    assert_eq!(stage.inspected("a")["last_error"], "context canceled");
}
