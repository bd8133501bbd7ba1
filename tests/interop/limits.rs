//! What bounds a task on both sides: timeouts, deadlines, a time to begin by, retention, and how much the archive
//! holds.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{ArchiveLimits, QueueRemoval};
use cronmill::producer::Task;
use cronmill::task::EXPIRES_HEADER;
use serde_json::{Value, json};

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

/// Copies a task so many times into the archive; each copy was given up a second later than the one before.
const FILL: &str = r"
local message = redis.call('HGET', ARGV[1] .. 't:template', 'msg')
for n = 1, ARGV[2] do
  redis.call('HSET', ARGV[1] .. 't:old' .. n, 'msg', message, 'state', 'archived')
  redis.call('ZADD', ARGV[1] .. 'archived', ARGV[3] + n, 'old' .. n)
end
return #redis.call('KEYS', ARGV[1] .. 't:*')
";

#[tokio::test(flavor = "multi_thread")]
async fn gos_timeouts_and_deadlines_hold_here() {
    let stage = Stage::new().await;
    let past = (stage.broker.now().as_second() - 10).to_string();
    stage.produce(&["--id", "late", "--deadline", &past, "--max-retry", "5"]);
    let slow = ["--type", "sleep", "--payload", r#"{"ms":600000}"#, "--timeout", "1s"];
    stage.produce(&[&slow[..], &["--id", "slow", "--max-retry", "1"]].concat());
    let worker = stage.our_worker();
    stage.reaches("late", "archived").await;
    let late = stage.inspected("late");
    assert_eq!(late["retried"], 0, "no retry is spent on what cannot succeed: {late}");
    stage.reaches("slow", "archived").await;
    let slow = stage.inspected("slow");
    assert_eq!(slow["retried"], 1, "{slow}");
    let runs: Vec<_> = worker.seen().iter().map(|seen| (seen.id.clone(), seen.attempt)).collect();
    assert_eq!(runs, [("slow".to_owned(), 0), ("slow".to_owned(), 1)], "what was late never ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_deadline_go_spends_every_retry() {
    let stage = Stage::new().await;
    let past = jiff::Timestamp::now() - Duration::from_secs(10);
    stage.enqueue(Task::new("ok", None).id("late").deadline(past).max_retry(2)).await;
    let go = stage.go_worker().await;
    stage.reaches("late", "archived").await;
    let shown = stage.inspected("late");
    assert_eq!((&shown["retried"], &shown["last_error"]), (&json!(2), &json!("context deadline exceeded")));
    assert_eq!(stage.inspected_queue()["failed"], 3);
    assert_eq!(events(&go, "start"), Vec::<Value>::new(), "and it never ran");
}

// asynq gives the slot back when the time is over, not when the handler has ended.
#[tokio::test(flavor = "multi_thread")]
async fn go_gives_a_slot_away_while_its_handler_runs_on() {
    let stage = Stage::new().await;
    for id in ["a", "b"] {
        let task = Task::new("stubborn", Bytes::from_static(br#"{"ms":2500}"#)).id(id).max_retry(0);
        stage.enqueue(task.timeout(Duration::from_secs(1))).await;
    }
    let go = stage.peers.worker(&["--concurrency", "1"]).await;
    let starts = eventually(SOON, "both have started", async || {
        Some(events(&go, "start")).filter(|starts| starts.len() == 2)
    })
    .await;
    let first_end = eventually(SOON, "one has ended", async || events(&go, "end").into_iter().next()).await;
    assert!(starts[1]["unix_ns"].as_i64() < first_end["unix_ns"].as_i64(), "{starts:?} {first_end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn go_runs_what_has_expired() {
    let stage = Stage::new().await;
    let past = stage.broker.now().as_second() - 1;
    stage.produce(&["--id", "a", "--header", &format!("{EXPIRES_HEADER}={past}")]);
    let go = stage.go_worker().await;
    let start = eventually(SOON, "it runs in Go", async || events(&go, "start").pop()).await;
    assert_eq!(start["id"], "a");
    // Unless keeping came first.
    drop(go);
    stage.produce(&["--id", "b", "--header", &format!("{EXPIRES_HEADER}={past}")]);
    assert_eq!(stage.broker.expire_unstarted(&stage.queue).await.expect("Redis answers"), 1);
    assert_eq!(stage.inspected("b")["state"], "archived");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_completed_the_other_deletes_after_its_retention() {
    let stage = Stage::new().await;
    let completed = "asynq:{default}:completed";
    let go = stage.go_worker().await;
    stage.enqueue(Task::new("ok", None).id("by-go").retention(Duration::from_secs(3600))).await;
    stage.reaches("by-go", "completed").await;
    drop(go);
    let clean = async || {
        stage.broker.clean(&stage.queue, ArchiveLimits::default(), 0).await.expect("Redis answers").expired
    };
    assert_eq!(clean().await, 0, "its retention is not over");
    stage.redis.cli(["ZADD", completed, "XX", "1", "by-go"]);
    assert_eq!((clean().await, stage.state("by-go").as_str()), (1, ""));

    let ours = stage.our_worker();
    stage.produce(&["--id", "by-us", "--retention", "1h"]);
    stage.reaches("by-us", "completed").await;
    ours.stop().await;
    stage.redis.cli(["ZADD", completed, "XX", "1", "by-us"]);
    let _go = stage.peers.worker(&["--clean", "100ms"]).await;
    stage.reaches("by-us", "").await;
}

/// An archive of 10,500 tasks, each with its hash.
fn full_archive(stage: &Stage) {
    stage.produce(&["--id", "template", "--in", "1h"]);
    let since = (stage.broker.now().as_second() - 20_000).to_string();
    stage.redis.cli(["EVAL", FILL, "0", "asynq:{default}:", "10500", &since]);
    stage.peers.inspect(&["delete", "default", "template"]);
    assert_eq!((archived(stage), tasks(stage)), (10_500, 10_500));
}

fn archived(stage: &Stage) -> usize {
    stage.redis.cli(["ZCARD", "asynq:{default}:archived"]).parse().expect("a number")
}

/// How many tasks there are, wherever they stand.
fn tasks(stage: &Stage) -> usize {
    let count = "return #redis.call('KEYS', 'asynq:{default}:t:*')";
    stage.redis.cli(["EVAL", count, "0"]).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_go_trims_the_whole_archive_to_its_own_limits() {
    let stage = Stage::new().await;
    full_archive(&stage);
    // Whatever limits ours has: with larger ones it drops nothing.
    let limits = ArchiveLimits { tasks_max: 20_000, ..ArchiveLimits::default() };
    let cleaned = stage.broker.clean(&stage.queue, limits, 0).await.expect("Redis answers");
    assert_eq!((cleaned.dropped.total(), archived(&stage)), (0, 10_500));
    let _go = stage.go_worker().await;
    let task = Task::new("fail", Bytes::from_static(br#"{"times":9}"#)).id("new").max_retry(0);
    stage.enqueue(task).await;
    stage.reaches("new", "archived").await;
    assert_eq!((archived(&stage), tasks(&stage)), (9_999, 9_999));
    // By age as well: two are too old, and the number would cost one.
    let old = (stage.broker.now().as_second() - 91 * 24 * 3600).to_string();
    stage.redis.cli(["ZADD", "asynq:{default}:archived", "XX", &old, "old10499", &old, "old10500"]);
    let task = Task::new("fail", Bytes::from_static(br#"{"times":9}"#)).id("newer").max_retry(0);
    stage.enqueue(task).await;
    stage.reaches("newer", "archived").await;
    assert_eq!((archived(&stage), tasks(&stage)), (9_998, 9_998));
    let dropped = stage.redis.cli(["EXISTS", "cronmill:{default}:dropped"]);
    assert_eq!(dropped, "0", "nobody counts what Go drops");
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_by_gos_inspector_leaves_tasks_that_stand_nowhere() {
    let stage = Stage::new().await;
    full_archive(&stage);
    stage.produce(&["--id", "new"]);
    stage.peers.inspect(&["archive", "default", "new"]);
    assert_eq!((archived(&stage), tasks(&stage)), (9_999, 10_501));
    let removal = stage.broker.remove_queue(&stage.queue, false, |_| {}).await.expect("asked");
    assert_eq!(removal, QueueRemoval::NotEmpty { tasks: 9_999, orphans: 502 });
    let removal = stage.broker.remove_queue(&stage.queue, true, |_| {}).await.expect("asked");
    assert!(matches!(removal, QueueRemoval::Removed { .. }), "{removal:?}");
    until(SOON, "nothing of it is left", async || tasks(&stage) == 0).await;
}
