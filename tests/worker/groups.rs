//! A worker with an aggregator: what it makes of groups, and what becomes of them when something goes wrong.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};
use cronmill::task::QueueName;
use cronmill::worker::{AggregationSet, Builder, Context, HandlerError, Server, Task as Running};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::fixture::{Log, PATIENCE, Worker, builder, queue};
use crate::support::{RedisServer, eventually, until};

/// A worker whose groups are ripe a second after their last task.
fn aggregating(broker: &Broker, queue: &QueueName) -> Builder {
    builder(broker, queue).group_grace(Duration::from_secs(1))
}

/// Joins payloads with commas, sorted: what joined in the same second has no order but that of its random ids.
async fn join(set: AggregationSet) -> Result<Task, BoxError> {
    let mut payloads: Vec<_> =
        set.tasks().iter().map(|task| String::from_utf8_lossy(&task.payload)).collect();
    payloads.sort();
    Ok(Task::new("joined", Bytes::from(payloads.join(","))))
}

/// A handler that notes the payloads it was given.
fn noting(
    log: &Log<String>,
) -> impl Fn(Context, Running) -> std::future::Ready<Result<(), HandlerError>> + use<> {
    let log = log.clone();
    move |_, task| {
        log.add(format!("{} {}", task.kind(), String::from_utf8_lossy(task.payload())));
        std::future::ready(Ok(()))
    }
}

async fn setup() -> (RedisServer, Broker, Client, QueueName) {
    let redis = RedisServer::start();
    let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
    (redis, broker.clone(), Client::new(broker), queue("q"))
}

async fn put(client: &Client, group: &str, payload: &str) {
    let task = Task::new("t", Bytes::from(payload.to_owned())).queue("q").group(group);
    client.enqueue(task).await.expect("a new task");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_becomes_one_task_that_runs() {
    let (redis, broker, client, q) = setup().await;
    let log = Log::default();
    let worker = Worker::start(aggregating(&broker, &q).aggregator(join), noting(&log));
    for n in 0..5 {
        put(&client, "even", &(2 * n).to_string()).await;
        put(&client, "odd", &(2 * n + 1).to_string()).await;
    }
    crate::fixture::until("both are aggregated and run", || log.len() == 2).await;
    let mut all = log.all();
    all.sort();
    assert_eq!(all, ["joined 0,2,4,6,8", "joined 1,3,5,7,9"]);
    until(PATIENCE, "nothing is left", async || redis.keys("asynq:{q}:t:*").is_empty()).await;
    worker.stop().await;
    assert_eq!(redis.cli(["EXISTS", "asynq:{q}:groups", "asynq:{q}:aggregation_sets"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_when_its_groups_are_ripe_for_those_who_decide_whether_a_worker_is_needed() {
    let (redis, broker, _client, q) = setup().await;
    let limited = aggregating(&broker, &q).group_max_delay(Duration::from_secs(90)).group_max_size(7);
    let worker = Worker::start(limited.aggregator(join), noting(&Log::default()));
    until(PATIENCE, "it is said", async || redis.keys("cronmill:{q}:grouping").len() == 1).await;
    let said = redis.cli_lines(["HMGET", "cronmill:{q}:grouping", "format", "grace", "delay", "size"]);
    assert_eq!(said, ["1", "1", "90", "7"]);
    worker.stop().await;
    let life: i64 = redis.cli(["TTL", "cronmill:{q}:grouping"]).parse().expect("a number");
    assert!(life > 600_000, "it holds while there are no workers: {life}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_an_aggregator_leaves_groups_alone() {
    let (redis, broker, client, q) = setup().await;
    let log = Log::default();
    let worker = Worker::start(builder(&broker, &q), noting(&log));
    put(&client, "g", "a").await;
    redis.cli(["ZINCRBY", "asynq:{q}:g:g", "-9999", &redis.cli(["ZRANGE", "asynq:{q}:g:g", "0", "0"])]);
    client.enqueue(Task::new("t", None).queue("q")).await.expect("a new task");
    crate::fixture::until("the other task has run", || log.len() == 1).await;
    worker.stop().await;
    assert_eq!(redis.cli(["ZCARD", "asynq:{q}:g:g"]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_and_a_panic_keep_the_tasks_and_are_tried_again() {
    let (redis, broker, client, q) = setup().await;
    let log = Log::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let failing = move |set: AggregationSet| {
        let call = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => Err("no luck".into()),
                1 => panic!("worse"),
                2 => Ok(Task::new("elsewhere", None).queue("other")),
                3 => Ok(Task::new(" ", None)),
                _ => join(set).await,
            }
        }
    };
    let worker = Worker::start(aggregating(&broker, &q).aggregator(failing), noting(&log));
    put(&client, "g", "a").await;
    put(&client, "g", "b").await;
    // Pauses of 1, 2, 4 and 8 s, and a look at what goes back every 2 s.
    let limit = 3 * PATIENCE;
    until(limit, "it is aggregated in the end", async || log.len() == 1).await;
    assert_eq!(log.all(), ["joined a,b"]);
    assert_eq!(calls.load(Ordering::Relaxed), 5);
    worker.stop().await;
    assert_eq!(redis.keys("asynq:{q}:t:*"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_archived_and_the_rest_of_its_group_is_aggregated() {
    let (redis, broker, client, q) = setup().await;
    let log = Log::default();
    put(&client, "g", "a").await;
    let bad = Task::new("t", None).queue("q").group("g").id("bad");
    client.enqueue(bad).await.expect("a new task");
    redis.cli(["HSET", "asynq:{q}:t:bad", "msg", "nonsense"]);
    let worker = Worker::start(aggregating(&broker, &q).aggregator(join), noting(&log));
    crate::fixture::until("the rest is aggregated and run", || log.len() == 1).await;
    assert_eq!(log.all(), ["joined a"]);
    worker.stop().await;
    assert_eq!(redis.cli(["ZRANGE", "asynq:{q}:archived", "0", "-1"]), "bad");
    assert_eq!(redis.keys("asynq:{q}:t:*"), ["asynq:{q}:t:bad"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_name_is_no_text_is_tried_until_it_is_aggregated() {
    let (redis, broker, client, q) = setup().await;
    let (log, groups) = (Log::default(), Log::default());
    for payload in ["a", "b"] {
        put(&client, "g", payload).await;
    }
    // As another program may have named it.
    let name = OsStr::from_bytes(b"\xff:\xc3( g");
    let key = OsStr::from_bytes(b"asynq:{q}:g:\xff:\xc3( g");
    redis.cli([OsStr::new("RENAME"), OsStr::new("asynq:{q}:g:g"), key]);
    redis.cli(["DEL", "asynq:{q}:groups"]);
    redis.cli([OsStr::new("SADD"), OsStr::new("asynq:{q}:groups"), name]);
    let seen = groups.clone();
    let at_last = move |set: AggregationSet| {
        seen.add(set.group().to_owned());
        let is_first = seen.len() == 1;
        async move { if is_first { Err("no luck".into()) } else { join(set).await } }
    };
    let worker = Worker::start(aggregating(&broker, &q).aggregator(at_last), noting(&log));
    crate::fixture::until("it is aggregated and run", || log.len() == 1).await;
    worker.stop().await;
    assert_eq!(log.all(), ["joined a,b"]);
    assert_eq!(groups.all(), ["\u{fffd}:\u{fffd}( g"; 2]);
    assert_eq!(redis.keys("asynq:{q}:t:*"), Vec::<String>::new());
    assert_eq!(redis.cli(["EXISTS", "asynq:{q}:groups", "asynq:{q}:aggregation_sets"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_group_holds_up_no_other() {
    let (_redis, broker, client, q) = setup().await;
    let log = Log::default();
    let gate = CancellationToken::new();
    let open = gate.clone();
    let slow = move |set: AggregationSet| {
        let open = open.clone();
        async move {
            if set.group() == "slow" {
                open.cancelled().await;
            }
            join(set).await
        }
    };
    let worker = Worker::start(aggregating(&broker, &q).aggregator(slow), noting(&log));
    put(&client, "slow", "a").await;
    until(PATIENCE, "it is being aggregated", async || {
        broker.groups(&q, 9).await.expect("Redis answers").first().is_some_and(|group| group.aggregating == 1)
    })
    .await;
    put(&client, "quick", "b").await;
    crate::fixture::until("the other group is done", || log.len() == 1).await;
    assert_eq!(log.all(), ["joined b"]);
    gate.cancel();
    crate::fixture::until("the slow one is done too", || log.len() == 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_gives_back_what_it_has_not_aggregated() {
    let (redis, broker, client, q) = setup().await;
    let never = |_: AggregationSet| std::future::pending::<Result<Task, BoxError>>();
    let worker = Worker::start(aggregating(&broker, &q).aggregator(never), noting(&Log::default()));
    put(&client, "g", "a").await;
    let is_taken = async || redis.cli(["ZCARD", "asynq:{q}:aggregation_sets"]) == "1";
    until(PATIENCE, "it is being aggregated", is_taken).await;
    worker.stop().await;
    let log = Log::default();
    let other = Worker::start(aggregating(&broker, &q).aggregator(join), noting(&log));
    // Long before the minute is over for which it was taken.
    crate::fixture::until("another worker aggregates it", || log.len() == 1).await;
    assert_eq!(log.all(), ["joined a"]);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_aggregate_every_task_once() {
    let (redis, broker, client, q) = setup().await;
    let log = Log::default();
    let start = || {
        let builder = aggregating(&broker, &q).group_max_size(7).aggregator(join);
        Worker::start(builder, noting(&log))
    };
    let workers = [start(), start()];
    let tasks = (0..2_000)
        .map(|n| Task::new("t", Bytes::from(n.to_string())).queue("q").group(format!("g{}", n % 30)));
    for outcome in client.enqueue_batch(tasks.collect()).await {
        outcome.expect("a new task");
    }
    let numbers = || -> Vec<usize> {
        let all = log.all();
        let lists = all.iter().map(|entry| entry.strip_prefix("joined ").expect("only joined ones run"));
        lists.flat_map(|list| list.split(',')).map(|number| number.parse().expect("a number")).collect()
    };
    crate::fixture::until("all are aggregated", || numbers().len() >= 2_000).await;
    for worker in workers {
        worker.stop().await;
    }
    let mut numbers = numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
    assert!(log.all().iter().all(|entry| entry.matches(',').count() < 7), "no set is larger than asked for");
    assert_eq!(redis.keys("asynq:{q}:t:*"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_keeps_a_short_lock_while_its_task_waits() {
    let (redis, broker, client, q) = setup().await;
    let unique =
        || Task::new("t", None).queue("q").unique(Duration::from_secs(1)).after(Duration::from_secs(3600));
    let first = client.enqueue(unique()).await.expect("a new task");
    let key = redis.keys("asynq:{q}:unique:*").remove(0);
    // As if the hour were over and the lock about to end.
    redis.cli(["EXPIRE", &key, "4"]);
    redis.cli(["ZADD", "cronmill:{q}:locks", "1", &first.id]);
    let worker = Worker::start(builder(&broker, &q), noting(&Log::default()));
    let left = async || redis.cli(["TTL", &key]).parse::<i64>().ok().filter(|left| *left > 4);
    let left = eventually(PATIENCE, "the keeper puts its end off", left).await;
    assert!(left <= 10, "{left}");
    client.enqueue(unique()).await.expect_err("a duplicate");
    worker.stop().await;
}

#[test]
fn limits_of_groups_without_an_aggregator_are_refused() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (_redis, broker, _client, _q) = setup().await;
        let error = Server::builder(broker).group_max_size(3).build().expect_err("refused");
        assert_eq!(error.reason(), "InvalidGroups");
        assert!(error.to_string().contains("without an aggregator"), "{error}");
    });
}
