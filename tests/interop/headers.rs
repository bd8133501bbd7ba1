//! Headers, and what programs that do not know them make of a task.

use std::time::Duration;

use cronmill::producer::Task;
use serde_json::json;

use crate::stage::{SOON, Stage};
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_before_0_26_loses_headers_when_it_reports_a_failure() {
    let stage = Stage::new().await;
    let kept = || Task::new("ok", None).header("trace", "abc").retention(Duration::from_secs(3600));
    stage.enqueue(kept().id("a")).await;
    stage.enqueue(kept().id("later").after(Duration::from_secs(1))).await;
    let old = stage.peers.worker_before_headers().await;
    stage.reaches("a", "retry").await;
    let shown = stage.inspected("a");
    assert_eq!((&shown["retried"], &shown["headers"]), (&json!(1), &json!(null)), "{shown}");
    drop(old);
    // Moving a task rewrites nothing.
    until(SOON, "it is due", async || {
        stage.broker.forward(&stage.queue).await.expect("Redis answers");
        stage.state("later") == "pending"
    })
    .await;
    assert_eq!(stage.inspected("later")["headers"], json!({"trace": "abc"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_by_gos_inspector_keeps_headers_and_moves_no_lock() {
    let stage = Stage::new().await;
    let hour = Duration::from_secs(3600);
    let task = Task::new("one", bytes::Bytes::from_static(b"old")).id("a").header("trace", "abc");
    stage.enqueue(task.unique(hour).after(hour)).await;
    stage.peers.inspect(&["edit", "default", "a", "new"]);
    let shown = stage.inspected("a");
    assert_eq!((&shown["payload"], &shown["headers"]), (&json!("new"), &json!({"trace": "abc"})));
    let of = |payload| ["--type", "one", "--payload", payload, "--unique", "1h", "--in", "1h"];
    assert_eq!(stage.peers.produce(&of("old"))[0]["error"], "duplicate");
    stage.produce(&of("new"));
}
