//! Snoozes, expiries, error histories and cancellations with Go's programs on the same Redis, and the example in Go.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::Page;
use cronmill::producer::Task;
use cronmill::task::{EXPIRES_HEADER, QueueName, State};
use cronmill::worker::{Context, HandlerError, Server};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::stage::{OurWorker, SOON, Stage};
use crate::support::peers::events;
use crate::support::{Process, eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn go_shows_a_snoozed_task_as_scheduled_and_runs_it() {
    let stage = Stage::new().await;
    stage.produce(&["--type", "ok", "--id", "a", "--max-retry", "0", "--header", "trace=abc"]);
    let stop = CancellationToken::new();
    let server = Server::builder(stage.broker.clone()).build().expect("valid");
    let snoozing = |_: Context, _: cronmill::worker::Task| async {
        Err(HandlerError::snooze(Duration::from_secs(600)).because("not yet"))
    };
    let running = tokio::spawn(server.run(snoozing, stop.clone()));
    stage.reaches("a", "scheduled").await;
    stop.cancel();
    running.await.expect("no panic").expect("it drains");
    let shown = stage.inspected("a");
    assert_eq!(
        (&shown["state"], &shown["retried"], &shown["last_error"]),
        (&json!("scheduled"), &json!(0), &json!(""))
    );
    let queue = stage.inspected_queue();
    assert_eq!(
        (&queue["scheduled"], &queue["processed"], &queue["failed"]),
        (&json!(1), &json!(0), &json!(0))
    );
    let worker = stage.go_worker().await;
    stage.peers.inspect(&["run", "default", "a"]);
    let start = eventually(SOON, "it runs in Go", async || events(&worker, "start").pop()).await;
    assert_eq!((&start["retried"], &start["headers"]["trace"]), (&json!(0), &json!("abc")));
    stage.reaches("a", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_begin_by_that_go_sets_holds_here() {
    let stage = Stage::new().await;
    let past = stage.broker.now().as_second() - 1;
    stage.produce(&["--id", "a", "--header", &format!("{EXPIRES_HEADER}={past}")]);
    stage.produce(&["--id", "b", "--header", &format!("{EXPIRES_HEADER}={}", past + 600)]);
    let worker = stage.our_worker();
    stage.reaches("a", "archived").await;
    stage.reaches("b", "").await;
    assert_eq!(worker.seen().iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["b"]);
    let shown = stage.inspected("a");
    assert!(shown["last_error"].as_str().expect("a text").starts_with("expired: "), "{shown}");
    worker.stop().await;
    let queue = stage.inspected_queue();
    assert_eq!((&queue["processed"], &queue["failed"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_history_outlives_an_attempt_in_go() {
    let stage = Stage::new().await;
    let payload = Bytes::from_static(br#"{"times":3}"#);
    stage.enqueue(Task::new("fail", payload).id("a").retention(Duration::from_secs(600))).await;
    // Each has one attempt: the next one comes by hand.
    let builder = Server::builder(stage.broker.clone()).retry_delay(|_, _, _| Duration::from_secs(600));
    let ours = OurWorker::built(builder);
    stage.reaches("a", "retry").await;
    ours.stop().await;
    stage.peers.inspect(&["run", "default", "a"]);
    let mut go = stage.peers.worker(&["--retry-delay", "10m"]).await;
    until(SOON, "Go has failed too", async || stage.inspected("a")["retried"] == 2).await;
    go.terminate();
    go.exit(SOON).await;
    stage.peers.inspect(&["run", "default", "a"]);
    let ours = stage.our_worker();
    stage.reaches("a", "completed").await;
    ours.stop().await;
    let history = stage.broker.task_history(&stage.queue, "a").await.expect("read");
    let told: Vec<_> = history.errors.iter().map(|error| (error.attempt, error.text.as_str())).collect();
    assert_eq!(
        told,
        [(2, "attempt 2 fails as asked"), (0, "attempt 0 fails as asked")],
        "Go tells nothing of its own"
    );
    let view = stage.broker.task(&stage.queue, "a").await.expect("read").expect("kept");
    assert_eq!(view.state, State::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_go_cancels_is_archived_here_and_not_run_again() {
    let stage = Stage::new().await;
    let worker = stage.our_worker();
    stage.produce(&["--type", "sleep", "--payload", r#"{"ms":600000}"#, "--id", "a", "--max-retry", "5"]);
    worker.saw(1).await;
    until(SOON, "the worker has heard Go", async || {
        stage.peers.inspect(&["cancel", "a"]);
        stage.state("a") == "archived"
    })
    .await;
    let shown = stage.inspected("a");
    assert_eq!((&shown["retried"], &shown["last_error"]), (&json!(0), &json!("cancelled by request")));
    let queue = stage.inspected_queue();
    assert_eq!((&queue["archived"], &queue["failed"]), (&json!(1), &json!(0)));
    worker.stop().await;
}

/// Builds the example in Go into a folder.
fn build_example(folder: &Path) -> PathBuf {
    let program = folder.join("go-worker");
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/go-worker");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(module).env("CGO_ENABLED", "0");
    let built = build.output().expect("go is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_go_runs_what_we_enqueue() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(build_example(folder.path()));
    command.env("CRONMILL_REDIS_URL", stage.redis.url()).env("CRONMILL_QUEUES", "default=1,other=2");
    let mut worker = Process::start("go-worker", &mut command);
    let greet = |payload: &'static str| Task::new("greet", Bytes::from_static(payload.as_bytes()));
    stage.enqueue(greet(r#"{"name": "Ada"}"#).id("a").retention(Duration::from_secs(600))).await;
    stage.enqueue(greet("no JSON").id("bad")).await;
    worker.line(SOON, |line| line == "task a: hello Ada").await;
    stage.reaches("a", "completed").await;
    stage.reaches("bad", "archived").await;
    let view = stage.broker.task(&stage.queue, "a").await.expect("read").expect("kept");
    assert_eq!(view.result.as_deref(), Some(&b"hello Ada"[..]));
    worker.terminate();
    assert!(worker.exit(SOON).await.success(), "{worker:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_go_is_the_fleet_of_its_manifest() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    build_example(folder.path());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/go-worker/tasks.yaml");
    let mut dev = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    dev.args(["dev", "--redis", &stage.redis.url(), "-f"]).arg(manifest).current_dir(folder.path());
    let _dev = Process::start("cronmill dev", &mut dev);
    let queue = QueueName::new("go").expect("valid");
    let page = Page { offset: 0, limit: 1 };
    let done = eventually(2 * SOON, "a tick was run by Go", async || {
        stage.broker.tasks(&queue, State::Completed, page).await.expect("read").pop()
    })
    .await;
    assert_eq!((done.message.kind.as_str(), done.result.as_deref()), ("greet", Some(&b"hello Ada"[..])));
}
