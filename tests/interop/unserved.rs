//! Types that our worker has no handler for, beside a Go worker that has one.

use cronmill::worker::{Context, Mux, Server, Task};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_only_go_serves_ends_up_there_at_no_attempt() {
    let stage = Stage::new().await;
    let mut mux = Mux::new();
    mux.handle("ours", |_: Context, _: Task| async { Ok(()) }).expect("free");
    let stop = CancellationToken::new();
    let server = Server::builder(stage.broker.clone()).build().expect("valid");
    let stats = server.stats();
    let running = tokio::spawn(server.run(mux, stop.clone()));
    stage.produce(&["--type", "ok", "--id", "a", "--max-retry", "0"]);
    until(SOON, "ours has met it", async || stats.unserved() >= 1).await;
    let queues = [stage.queue.clone()];
    assert_eq!(stage.broker.unserved_types(&queues).await.expect("read"), [["ok"]]);
    let shown = stage.inspected("a");
    assert_eq!((&shown["retried"], &shown["last_error"]), (&json!(0), &json!("")));

    let go = stage.go_worker().await;
    until(SOON, "Go's worker shows itself", async || {
        stage.peers.inspect(&["servers"]).as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    // It does not tell what it serves, so nothing is claimed.
    assert_eq!(stage.broker.unserved_types(&queues).await.expect("read"), [[""; 0]]);
    let start = eventually(SOON * 6, "it runs in Go", async || events(&go, "start").pop()).await;
    assert_eq!((&start["id"], &start["retried"]), (&json!("a"), &json!(0)));
    stage.reaches("a", "").await;
    stop.cancel();
    running.await.expect("no panic").expect("it drains");
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_gos_mux_does_not_know_spends_its_attempts() {
    let stage = Stage::new().await;
    let _go = stage.peers.worker(&["--retry-delay", "1s", "--types", "known"]).await;
    stage.produce(&["--type", "known", "--id", "a"]);
    stage.produce(&["--type", "ok", "--id", "b", "--max-retry", "1"]);
    stage.reaches("a", "").await;
    stage.reaches("b", "archived").await;
    let shown = stage.inspected("b");
    assert_eq!(shown["retried"], 1);
    let error = shown["last_error"].as_str().expect("a text");
    assert!(error.contains("handler not found for task"), "{error}");
}
