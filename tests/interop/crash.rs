//! A worker is killed without warning while it holds a task, and the other side's worker recovers the task.

use std::process::Command;
use std::time::Duration;

use cronmill::broker::{Broker, Endpoint};
use cronmill::producer::Task;
use cronmill::worker::{Context, Server, Task as RunningTask};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::stage::{GRACE_S, OurWorker, SOON, Stage, perform};
use crate::support::peers::events;
use crate::support::{Process, eventually, full_size, until};

/// Set for the process that is killed: the URL of the Redis to work on.
const CHILD: &str = "CRONMILL_INTEROP_WORKER";
/// Starts this very test program again, as a worker and nothing else.
pub(crate) fn our_worker_process(stage: &Stage) -> Process {
    let itself = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new(itself);
    command.args([
        "--exact",
        "crash::a_worker_in_a_process_of_its_own_drains_when_asked_to_end",
        "--nocapture",
    ]);
    Process::start("our worker", command.env(CHILD, stage.redis.url()))
}

/// What that process does: it prints the id of each task it starts, and works until SIGTERM.
async fn work_as_child(url: String) {
    let endpoint: Endpoint = url.parse().expect("a valid URL");
    let broker = Broker::connect(&endpoint).await.expect("the parent's Redis");
    let server = Server::builder(broker).concurrency(10).build().expect("a valid configuration");
    let token = CancellationToken::new();
    let mut asked =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    let stop = token.clone();
    tokio::spawn(async move {
        asked.recv().await;
        stop.cancel();
    });
    let handler = |context: Context, task: RunningTask| {
        println!("start {}", context.id());
        perform(context, task)
    };
    server.run(handler, token).await.expect("it runs until asked to end");
    println!("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_a_process_of_its_own_drains_when_asked_to_end() {
    if let Ok(url) = std::env::var(CHILD) {
        return work_as_child(url).await;
    }
    let stage = Stage::new().await;
    let mut worker = our_worker_process(&stage);
    stage.enqueue(Task::new("ok", None).id("a")).await;
    worker.line(SOON, |line| line == "start a").await;
    stage.reaches("a", "").await;
    worker.terminate();
    worker.line(SOON, |line| line == "drained").await;
    assert!(worker.exit(SOON).await.success());
}

pub(crate) fn long_sleep(id: &str) -> Task {
    Task::new("sleep", bytes::Bytes::from_static(br#"{"ms":3000}"#)).id(id).max_retry(3)
}

/// Lets the dead worker's lease and the other side's grace pass: in the long form by waiting, otherwise by
/// moving the lease's end into the past, which is all that the passing of time does.
pub(crate) async fn lease_passes(stage: &Stage, id: &str) {
    if full_size(true, false) {
        return stage.end_lease(id);
    }
    let end: i64 =
        stage.redis.cli(["ZSCORE", "asynq:{default}:lease", id]).parse().expect("it holds a lease");
    let over = end + GRACE_S + 1;
    until(Duration::from_secs(120), "the lease passes", async || Timestamp::now().as_second() > over).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_killed_go_worker_is_finished_by_ours_at_no_attempt() {
    let stage = Stage::new().await;
    let mut doomed = stage.go_worker().await;
    stage.enqueue(long_sleep("a")).await;
    eventually(SOON, "it runs in Go", async || events(&doomed, "start").pop()).await;
    doomed.kill9();
    assert_eq!(stage.state("a"), "active");

    let ours = OurWorker::start(stage.broker.clone());
    lease_passes(&stage, "a").await;
    let seen = ours.saw(1).await.remove(0);
    assert_eq!((seen.id.as_str(), seen.attempt), ("a", 0));
    stage.reaches("a", "").await;
    ours.stop().await;
    stage.assert_processed(1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_killed_worker_of_ours_is_finished_by_go() {
    let stage = Stage::new().await;
    let mut doomed = our_worker_process(&stage);
    stage.enqueue(long_sleep("a")).await;
    doomed.line(SOON, |line| line == "start a").await;
    doomed.kill9();
    assert_eq!(stage.state("a"), "active");

    lease_passes(&stage, "a").await;
    // Go looks for expired leases when it starts, and then once a minute.
    let go = stage.go_worker().await;
    let end = eventually(SOON, "Go ends an attempt", async || events(&go, "end").pop()).await;
    assert_eq!((end["id"].as_str(), end.get("error")), (Some("a"), None), "{end}");
    stage.reaches("a", "").await;
    // To Go the lost attempt is a failed one.
    stage.assert_processed(2, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_killed_worker_of_ours_is_finished_by_another_of_ours() {
    let stage = Stage::new().await;
    let mut doomed = our_worker_process(&stage);
    stage.enqueue(long_sleep("a")).await;
    doomed.line(SOON, |line| line == "start a").await;
    doomed.kill9();

    let ours = OurWorker::start(stage.broker.clone());
    lease_passes(&stage, "a").await;
    assert_eq!(ours.saw(1).await[0].attempt, 0);
    stage.reaches("a", "").await;
    ours.stop().await;
    stage.assert_processed(1, 0);
}
