//! Groups and unique tasks beside Go's asynq.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::producer::{Client, EnqueueError, Task};
use cronmill::task::QueueName;
use cronmill::worker::{AggregationSet, Context, HandlerError, Server, Task as Running};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::support::{Peers, RedisServer, full_size, until};
use crate::{LIMIT, connect};

/// Tasks in each group.
const GROUP_TASKS: usize = 10;
/// Callers that enqueue at once.
const CALLERS: usize = 64;

/// Fills groups that are ripe, in a queue that is paused: only aggregation is measured.
async fn fill(redis: &RedisServer, groups: usize) {
    redis.cli(["FLUSHALL"]);
    redis.cli(["SET", "asynq:{default}:paused", "1"]);
    let client = Client::new(connect(redis).await);
    let numbers: Vec<usize> = (0..groups * GROUP_TASKS).collect();
    for chunk in numbers.chunks(1000) {
        let new = |n: &usize| {
            let payload = Bytes::from(format!(r#"{{"data":{n}}}"#));
            Task::new("part", payload).group(format!("group-{}", n % groups))
        };
        for outcome in client.enqueue_batch(chunk.iter().map(new).collect()).await {
            outcome.expect("a new task");
        }
    }
    // Nothing joins any more: a second and the next whole one later all groups are ripe for a grace of a second.
    let end = Instant::now() + Duration::from_millis(2100);
    until(Duration::from_secs(5), "all groups are ripe", async || Instant::now() >= end).await;
}

fn assert_aggregated(redis: &RedisServer, groups: usize) {
    assert_eq!(redis.cli(["LLEN", "asynq:{default}:pending"]), groups.to_string());
    assert_eq!(redis.cli(["EXISTS", "asynq:{default}:groups", "asynq:{default}:aggregation_sets"]), "0");
    assert_eq!(
        redis.cli(["DBSIZE"]).parse::<usize>().expect("a number") / groups,
        1,
        "only what was made is left"
    );
}

/// Groups a second by asynq, from the first call of its aggregator to the last.
async fn go_groups(redis: &RedisServer, groups: usize) -> f64 {
    fill(redis, groups).await;
    let count = groups.to_string();
    let answer = Peers::on(&redis.url()).bench_of("bench-groups", &["--groups", &count]);
    assert_eq!(answer["tasks"], groups * GROUP_TASKS, "{answer}");
    assert_aggregated(redis, groups);
    answer["groups_per_s"].as_f64().expect("a number")
}

/// The same of ours, until the last task that was made stands in Redis.
async fn our_groups(redis: &RedisServer, groups: usize) -> f64 {
    fill(redis, groups).await;
    let (first, tasks) = (Arc::new(std::sync::OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let (begun, count) = (Arc::clone(&first), Arc::clone(&tasks));
    let aggregate = move |set: AggregationSet| {
        begun.get_or_init(Instant::now);
        count.fetch_add(set.tasks().len(), Ordering::Relaxed);
        let made = Task::new("aggregated", Bytes::from(set.group().to_owned()));
        std::future::ready(Ok::<_, BoxError>(made))
    };
    let broker = connect(redis).await;
    let server = Server::builder(broker.clone()).aggregator(aggregate).group_grace(Duration::from_secs(1));
    let server = server.build().expect("a valid configuration");
    let token = CancellationToken::new();
    let handler = |_: Context, _: Running| std::future::ready(Ok::<(), HandlerError>(()));
    let running = tokio::spawn(server.run(handler, token.clone()));
    let all = groups * GROUP_TASKS;
    until(LIMIT, "all groups were seen", async || tasks.load(Ordering::Relaxed) == all).await;
    let queue = QueueName::new("default").expect("valid");
    let all_made =
        async || broker.queue_summary(&queue).await.expect("Redis answers").pending == groups as u64;
    until(LIMIT, "all groups are aggregated", all_made).await;
    let seconds = first.get().expect("the aggregator was called").elapsed().as_secs_f64();
    token.cancel();
    running.await.expect("no panic").expect("it ends in order");
    assert_eq!(tasks.load(Ordering::Relaxed), groups * GROUP_TASKS);
    redis.cli(["DEL", "asynq:{default}:paused"]);
    assert_aggregated(redis, groups);
    groups as f64 / seconds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_aggregated_five_times_as_fast_as_by_asynq() {
    let (rounds, groups) = full_size((1, 200), (3, 10_000));
    let redis = RedisServer::start();
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (go, ours) = (go_groups(&redis, groups).await, our_groups(&redis, groups).await);
        println!(
            "round {round}: {groups} groups of {GROUP_TASKS}; asynq {go:.0}/s, ours {ours:.0}/s, {:.2} times",
            ours / go
        );
        ratios.push(ours / go);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median: {median:.2} times");
    assert!(median >= full_size(0.0, 5.0), "{ratios:?}");
}

/// Calls a second of 64 callers, each task twice: half of the calls are duplicates.
async fn our_unique(redis: &RedisServer, calls: usize) -> f64 {
    redis.cli(["FLUSHALL"]);
    let client = Client::new(connect(redis).await);
    let (next, stored) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let (client, next, stored) = (client.clone(), Arc::clone(&next), Arc::clone(&stored));
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= calls {
                    return;
                }
                let payload = Bytes::from(format!(r#"{{"data":{}}}"#, n / 2));
                match client.enqueue(Task::new("unique", payload).unique(Duration::from_secs(3600))).await {
                    Ok(_) => drop(stored.fetch_add(1, Ordering::Relaxed)),
                    Err(EnqueueError::Duplicate { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(stored.load(Ordering::Relaxed), calls / 2, "half of them are duplicates");
    calls as f64 / seconds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_tasks_are_enqueued_one_and_a_half_times_as_fast_as_by_asynq() {
    let (rounds, calls) = full_size((1, 2_000), (3, 100_000));
    let redis = RedisServer::start();
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        redis.cli(["FLUSHALL"]);
        let (tasks, callers) = (calls.to_string(), CALLERS.to_string());
        let flags = ["--tasks", &tasks, "--callers", &callers];
        let answer = Peers::on(&redis.url()).bench_of("bench-unique", &flags);
        assert_eq!(answer["stored"], calls / 2, "{answer}");
        let go = answer["calls_per_s"].as_f64().expect("a number");
        let ours = our_unique(&redis, calls).await;
        println!(
            "round {round}: {calls} calls, half of them duplicates, {CALLERS} callers; asynq {go:.0}/s, ours {ours:.0}/s, {:.2} times",
            ours / go
        );
        ratios.push(ours / go);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median: {median:.2} times");
    assert!(median >= full_size(0.0, 1.5), "{ratios:?}");
}
