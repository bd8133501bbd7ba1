//! `cronmill-worker` as a process: start, work, kill, drain, and what it says to bad input.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};
use cronmill::task::{QueueName, State};

use crate::support::http::{free_address, get};
use crate::support::{Process, RedisServer, eventually, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A program for a task that does not end by itself.
const NAP: &str = "nap=/bin/sleep 3600";

fn worker(url: &str, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRONMILL_") {
            command.env_remove(name);
        }
    }
    Process::start("cronmill-worker", command.env("CRONMILL_REDIS_URL", url).args(flags))
}

async fn enqueue(redis: &RedisServer, kind: &str, payload: &'static str) -> String {
    let broker = Broker::connect(&redis.url().parse().unwrap()).await.unwrap();
    let task = Task::new(kind, Bytes::from_static(payload.as_bytes())).retention(Duration::from_secs(600));
    Client::new(broker).enqueue(task).await.unwrap().id
}

/// The task's state, retries used and result.
async fn look(redis: &RedisServer, id: &str) -> (State, i32, String) {
    let broker = Broker::connect(&redis.url().parse().unwrap()).await.unwrap();
    let queue = QueueName::new("default").unwrap();
    let view = broker.task(&queue, id).await.unwrap().expect("the task is kept");
    let result = view.result.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default();
    (view.state, view.message.retried, result)
}

async fn done(redis: &RedisServer, id: &str) -> (i32, String) {
    eventually(LIMIT, "the task completes", async || {
        let (state, retried, result) = look(redis, id).await;
        (state == State::Completed).then_some((retried, result))
    })
    .await
}

async fn readiness_becomes(addr: SocketAddr, status: u16, body: &str) {
    until(LIMIT, &format!("/readyz says {status} {body}"), async || {
        get(addr, "/readyz").await.is_some_and(|(found, said)| found == status && said.trim_end() == body)
    })
    .await;
}

#[tokio::test]
async fn a_handler_runs_and_leaves_its_result() {
    let redis = RedisServer::start();
    let _worker = worker(&redis.url(), &[]);
    let hello = enqueue(&redis, "hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(done(&redis, &hello).await, (0, r#"{"hello":"Ada","attempt":0}"#.to_owned()));
}

#[tokio::test]
async fn a_bad_payload_goes_to_the_archive_at_once_with_its_reason() {
    let redis = RedisServer::start();
    let _worker = worker(&redis.url(), &[]);
    let id = enqueue(&redis, "hello", r#"{"nam": "Ada"}"#).await;
    until(LIMIT, "the task is archived", async || look(&redis, &id).await.0 == State::Archived).await;
    let raw = redis.cli_bytes(["HGET", &format!("asynq:{{default}}:t:{id}"), "msg"]);
    assert!(String::from_utf8_lossy(&raw).contains("unknown field `nam`"));
}

#[tokio::test]
async fn a_drain_hands_the_task_back_without_an_attempt_and_says_so_on_readyz() {
    let redis = RedisServer::start();
    let addr = free_address().await;
    let listen = addr.to_string();
    let mut worker = worker(&redis.url(), &["--shutdown-timeout=1s", "--listen", &listen, "--exec", NAP]);
    readiness_becomes(addr, 200, "ready").await;
    let id = enqueue(&redis, "exec:nap", "").await;
    until(LIMIT, "the worker holds it", async || look(&redis, &id).await.0 == State::Active).await;
    worker.terminate();
    readiness_becomes(addr, 503, "not ready: draining").await;
    assert_eq!(worker.exit(LIMIT).await.code(), Some(0));
    let (state, retried, _) = look(&redis, &id).await;
    assert_eq!((state, retried), (State::Pending, 0));
}

#[tokio::test]
async fn a_second_signal_puts_back_what_a_patient_worker_holds() {
    let redis = RedisServer::start();
    let (mut worker, id) = patient_worker(&redis).await;
    worker.terminate();
    told(&worker, "SIGTERM received: draining").await;
    assert!(worker.ended().is_none());
    worker.terminate();
    let asked = Instant::now();
    assert_eq!(worker.exit(LIMIT).await.code(), Some(0));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?} is not within a second or two");
    let (state, retried, _) = look(&redis, &id).await;
    assert_eq!((state, retried), (State::Pending, 0));
}

#[tokio::test]
async fn a_third_signal_leaves_at_once_with_3() {
    let redis = RedisServer::start();
    let (mut worker, _) = patient_worker(&redis).await;
    // Without Redis it cannot put anything back, so that it is still there for the third.
    redis.freeze();
    for heard in ["SIGTERM received: draining", "SIGTERM received: hurrying"] {
        worker.terminate();
        told(&worker, heard).await;
        assert!(worker.ended().is_none());
    }
    worker.terminate();
    assert_eq!(worker.exit(LIMIT).await.code(), Some(3));
    told(&worker, "left at the third signal").await;
}

/// A worker that would drain for an hour, with the task it holds.
async fn patient_worker(redis: &RedisServer) -> (Process, String) {
    let worker = worker(&redis.url(), &["--shutdown-timeout=1h", "--exec", NAP]);
    let id = enqueue(redis, "exec:nap", "").await;
    until(LIMIT, "the worker holds it", async || look(redis, &id).await.0 == State::Active).await;
    (worker, id)
}

/// Waits until a worker has said this.
async fn told(worker: &Process, what: &str) {
    let said = async || worker.stderr().iter().any(|line| line.contains(what));
    until(LIMIT, &format!("the worker says: {what}"), said).await;
}

#[tokio::test]
async fn it_waits_for_redis_in_one_line_and_stays_ready_when_redis_goes() {
    let mut redis = RedisServer::start();
    redis.kill9();
    let addr = free_address().await;
    let worker = worker(&redis.url(), &["--listen", &addr.to_string()]);
    let waits = || worker.stderr().iter().filter(|line| line.contains("waiting for redis")).count();
    until(LIMIT, "it says that it waits", async || waits() > 0).await;
    readiness_becomes(addr, 503, "not ready: redis was not reached yet").await;
    assert_eq!(get(addr, "/livez").await, Some((200, "ok\n".to_owned())));
    redis.start_again();
    readiness_becomes(addr, 200, "ready").await;
    assert_eq!(waits(), 1);
    let id = enqueue(&redis, "hello", "").await;
    done(&redis, &id).await;
    redis.kill9();
    let failed = "cronmill_queue_stats_failures_total{queue=\"default\"} 1";
    until(LIMIT, "a scrape misses the queue", async || {
        get(addr, "/metrics").await.is_some_and(|(status, text)| status == 200 && text.contains(failed))
    })
    .await;
    assert_eq!(get(addr, "/readyz").await, Some((200, "ready\n".to_owned())));
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let redis = RedisServer::start();
    let addr = free_address().await;
    let _worker = worker(&redis.url(), &["--concurrency=3", "--listen", &addr.to_string()]);
    let good = enqueue(&redis, "hello", "").await;
    let bad = enqueue(&redis, "hello", "[]").await;
    done(&redis, &good).await;
    until(LIMIT, "the bad one is archived", async || look(&redis, &bad).await.0 == State::Archived).await;
    let wanted = [
        "cronmill_tasks_finished_total{queue=\"default\",outcome=\"succeeded\"} 1",
        "cronmill_tasks_finished_total{queue=\"default\",outcome=\"archived\"} 1",
        "cronmill_task_run_seconds_count{queue=\"default\"} 2",
        "cronmill_queue_wait_seconds_count{queue=\"default\"} 2",
        "cronmill_worker_slots 3",
        "cronmill_worker_busy_slots 0",
        "asynq_tasks_enqueued_total{queue=\"default\",state=\"completed\"} 1",
        "asynq_tasks_enqueued_total{queue=\"default\",state=\"archived\"} 1",
        "asynq_tasks_processed_total{queue=\"default\"} 2",
        "asynq_tasks_failed_total{queue=\"default\"} 1",
    ];
    // What has ended in Redis is counted, and its slot is free, a moment later.
    let end = Instant::now() + LIMIT;
    until(2 * LIMIT, "all is counted", async || {
        let (_, text) = get(addr, "/metrics").await.unwrap();
        let missing = wanted.iter().find(|line| !text.lines().any(|found| found == **line));
        assert!(missing.is_none() || Instant::now() < end, "{missing:?} is not in\n{text}");
        missing.is_none()
    })
    .await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it_with_2_and_shows_no_password() {
    let locked = RedisServer::options().password("right").start();
    let evicting = RedisServer::options().config("maxmemory-policy", "allkeys-lru").start();
    let wrong = format!("redis://:wr0ng@127.0.0.1:{}", locked.port());
    let nobody = format!("redis://ann:wr0ng@127.0.0.1:{}", locked.port());
    for (url, flag, part) in [
        (wrong.as_str(), "--strict", "log in to Redis"),
        (nobody.as_str(), "--strict", "as ann"),
        (&evicting.url(), "--strict", "noeviction"),
        ("http://ann:wr0ng@host", "--strict", "rediss://"),
        (wrong.as_str(), "--lease=5x", "90s 5m 2h 7d"),
        (wrong.as_str(), "--log=cronmill=loud", "log filter"),
    ] {
        let mut worker = worker(url, &[flag]);
        assert_eq!(worker.exit(LIMIT).await.code(), Some(2), "{worker:#?}");
        let said = eventually(LIMIT, "it says why", async || {
            let said = worker.stderr().join("\n");
            said.contains(part).then_some(said)
        })
        .await;
        assert!(!said.contains("wr0ng"), "{said}");
    }
}

#[tokio::test]
async fn help_shows_the_variables_but_no_url_from_the_environment() {
    let mut worker = worker("redis://:s3cret@host", &["--help"]);
    assert_eq!(worker.exit(LIMIT).await.code(), Some(0));
    until(LIMIT, "help is printed", async || worker.stdout().iter().any(|line| line.contains("--version")))
        .await;
    let help = worker.stdout().join("\n");
    assert!(help.contains("CRONMILL_REDIS_URL") && !help.contains("s3cret"), "{help}");
}

#[tokio::test]
async fn a_worker_keeps_the_archive_within_its_limits() {
    let redis = RedisServer::start();
    for n in 0..30 {
        redis.cli(["HSET", &format!("asynq:{{default}}:t:{n}"), "msg", "x", "state", "archived"]);
        redis.cli(["ZADD", "asynq:{default}:archived", &(4_000_000_000_u64 + n).to_string(), &n.to_string()]);
    }
    redis.cli(["HSET", "asynq:{default}:t:old", "msg", "x", "state", "archived"]);
    redis.cli(["ZADD", "asynq:{default}:archived", "1000", "old"]);
    let _worker = worker(&redis.url(), &["--archive-max-tasks", "12", "--archive-max-age", "2h"]);
    until(LIMIT, "the archive is within its limits", async || {
        redis.cli(["ZCARD", "asynq:{default}:archived"]) == "12"
    })
    .await;
    let dropped = redis.cli_lines(["HMGET", "cronmill:{default}:dropped", "age", "number"]);
    assert_eq!(dropped, ["1", "18"]);
}

#[tokio::test]
async fn what_expired_is_counted_though_no_worker_claimed_it() {
    let redis = RedisServer::start();
    let addr = free_address().await;
    redis.cli(["SET", "asynq:{default}:paused", "1"]);
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let task = Task::new("hello", None).expires_in(Duration::from_secs(1));
    let id = Client::new(broker).enqueue(task).await.unwrap().id;
    let _worker = worker(&redis.url(), &["--listen", &addr.to_string()]);
    let line = "cronmill_tasks_finished_total{queue=\"default\",outcome=\"expired\"} 1";
    until(LIMIT, "the keeper's find is counted", async || {
        get(addr, "/metrics").await.is_some_and(|(_, text)| text.lines().any(|found| found == line))
    })
    .await;
    assert_eq!(look(&redis, &id).await.0, State::Archived);
}
