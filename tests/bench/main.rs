//! How fast the worker is beside Go's asynq, how soon an idle one picks a task up, and what a fleet costs Redis.
//!
//! `make bench` runs all of it at full size, built for release, and holds it to its bounds. In `make test` it is
//! small and checks what must hold at any speed.

#[path = "../support/mod.rs"]
pub mod support;

mod groups;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};
use cronmill::worker::{Context, HandlerError, Server, Task as RunningTask};
use support::{Peers, RedisServer, full_size, until};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long any part may take before the test gives up on it.
const LIMIT: Duration = Duration::from_secs(300);
/// Handlers that run at once, on both sides.
const CONCURRENCY: usize = 10;

async fn connect(redis: &RedisServer) -> Broker {
    Broker::connect(&redis.endpoint()).await.expect("a Redis of our own")
}

/// A worker that runs until its token is cancelled.
struct Worker {
    token: CancellationToken,
    running: JoinHandle<()>,
}

impl Worker {
    fn start<F>(broker: Broker, handler: F) -> Self
    where
        F: Fn(&RunningTask) + Send + Sync + 'static,
    {
        let server = Server::builder(broker).concurrency(CONCURRENCY).build().expect("a valid configuration");
        let token = CancellationToken::new();
        let stop = token.clone();
        let handler = Arc::new(handler);
        let handler = move |_: Context, task: RunningTask| {
            handler(&task);
            std::future::ready(Ok::<(), HandlerError>(()))
        };
        let running =
            tokio::spawn(async move { server.run(handler, stop).await.expect("it runs until told to stop") });
        Self { token, running }
    }

    async fn stop(self) {
        self.token.cancel();
        self.running.await.expect("it ends in order");
    }
}

/// Fails unless nothing of any task is left.
fn assert_nothing_left(redis: &RedisServer) {
    assert_eq!(redis.keys("asynq:{default}:t:*"), Vec::<String>::new());
    for container in ["pending", "active", "lease", "retry", "archived", "completed"] {
        assert_eq!(redis.cli(["EXISTS", &format!("asynq:{{default}}:{container}")]), "0", "{container}");
    }
}

/// Go's end-to-end benchmark: tasks per second.
fn go_rate(redis: &RedisServer, tasks: usize) -> f64 {
    redis.cli(["FLUSHALL"]);
    let (tasks_flag, concurrency) = (tasks.to_string(), CONCURRENCY.to_string());
    let answer = Peers::on(&redis.url()).bench(&["--tasks", &tasks_flag, "--concurrency", &concurrency]);
    assert_eq!(answer["calls"], tasks, "{answer}");
    assert_nothing_left(redis);
    answer["tasks_per_s"].as_f64().expect("a number")
}

/// The same of ours: tasks of distinct types are stored first, then a worker starts, and the clock runs from its
/// start until the last handler was called.
async fn our_rate(redis: &RedisServer, tasks: usize) -> f64 {
    redis.cli(["FLUSHALL"]);
    let client = Client::new(connect(redis).await);
    let numbers: Vec<usize> = (0..tasks).collect();
    for chunk in numbers.chunks(1000) {
        let new = |n: &usize| Task::new(format!("task{n}"), Bytes::from(format!(r#"{{"data":{n}}}"#)));
        for verdict in client.enqueue_batch(chunk.iter().map(new).collect()).await {
            verdict.expect("a new task");
        }
    }
    let broker = connect(redis).await;
    let runs: Arc<Vec<AtomicU8>> = Arc::new((0..tasks).map(|_| AtomicU8::new(0)).collect());
    let (calls, all_called) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, mark, last) = (Arc::clone(&calls), Arc::clone(&runs), Arc::clone(&all_called));
    let start = Instant::now();
    let worker = Worker::start(broker, move |task| {
        let number: usize = task.kind()["task".len()..].parse().expect("our own type");
        mark[number].fetch_add(1, Ordering::Relaxed);
        if count.fetch_add(1, Ordering::Relaxed) + 1 == tasks {
            last.notify_one();
        }
    });
    tokio::time::timeout(LIMIT, all_called.notified()).await.expect("every handler is called");
    let seconds = start.elapsed().as_secs_f64();
    worker.stop().await;
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "every task ran once");
    assert_nothing_left(redis);
    tasks as f64 / seconds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_is_four_times_as_fast_as_asynqs_end_to_end_benchmark() {
    let (rounds, tasks) = full_size((1, 2_000), (3, 100_000));
    let redis = RedisServer::start();
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (go, ours) = (go_rate(&redis, tasks), our_rate(&redis, tasks).await);
        println!("round {round}: {tasks} tasks; asynq {go:.0}/s, ours {ours:.0}/s, {:.2} times", ours / go);
        ratios.push(ours / go);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median: {median:.2} times");
    assert!(median >= full_size(0.0, 4.0), "{ratios:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_picks_a_task_up_within_ten_milliseconds() {
    let redis = RedisServer::start();
    let client = Client::new(connect(&redis).await);
    let (sender, mut starts) = mpsc::unbounded_channel();
    let worker = Worker::start(connect(&redis).await, move |_| {
        // The receiver lives as long as the test.
        let _ = sender.send(Instant::now());
    });
    let mut waits = Vec::new();
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..full_size(50, 1_000) {
        pause.tick().await;
        let enqueued = Instant::now();
        client.enqueue(Task::new("no-op", None)).await.expect("a new task");
        let started =
            tokio::time::timeout(LIMIT, starts.recv()).await.expect("it is picked up").expect("open");
        waits.push(started.saturating_duration_since(enqueued));
    }
    worker.stop().await;
    waits.sort();
    let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
    println!("from enqueue to handler: median {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    // In the short form the machine does other things; waiting out a poll interval would still show.
    let bound = full_size(Duration::from_millis(500), Duration::from_millis(10));
    assert!(at(99) <= bound, "p99 {:?}, at most {bound:?}", at(99));
}

/// Redis commands per task while that many workers serve 200 tasks a second; without workers, what enqueueing
/// alone costs.
async fn commands_per_task(workers: usize, tasks: usize) -> f64 {
    let redis = RedisServer::start();
    let client = Client::new(connect(&redis).await);
    let done = Arc::new(AtomicUsize::new(0));
    let mut fleet = Vec::new();
    for _ in 0..workers {
        let count = Arc::clone(&done);
        fleet.push(Worker::start(connect(&redis).await, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
    }
    let shown = async || redis.cli(["ZCARD", "asynq:servers"]) == workers.to_string();
    until(LIMIT, "every worker shows itself", shown).await;

    let before = redis.info("total_commands_processed");
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..tasks {
        beat.tick().await;
        client.enqueue(Task::new("no-op", None)).await.expect("a new task");
    }
    let served = async || workers == 0 || done.load(Ordering::Relaxed) == tasks;
    until(LIMIT, "every task ran", served).await;
    let commands = redis.info("total_commands_processed") - before;
    for worker in fleet {
        worker.stop().await;
    }
    if workers > 0 {
        assert_nothing_left(&redis);
    }
    commands as f64 / tasks as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_workers_cost_redis_at_most_twice_the_commands_of_one() {
    let tasks = full_size(400, 4_000);
    let enqueueing = commands_per_task(0, tasks).await;
    let one = commands_per_task(1, tasks).await - enqueueing;
    let thirty = commands_per_task(30, tasks).await - enqueueing;
    println!(
        "commands per task besides {enqueueing:.2} to enqueue it: one worker {one:.2}, thirty {thirty:.2}"
    );
    // Two seconds are short beside what each worker does every few seconds whatever its work.
    let bound = full_size(3.0, 2.0);
    assert!(
        thirty <= bound * one,
        "{thirty:.2} is {:.2} times {one:.2}, at most {bound} times",
        thirty / one
    );
}
