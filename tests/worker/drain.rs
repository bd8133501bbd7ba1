//! Stopping: nothing is lost, and nobody pays for it.

use std::time::Duration;

use cronmill::task::{Message, QueueName};
use cronmill::worker::{CancelReason, Context, HandlerError, Task};

use crate::fixture::{Log, Worker, builder, enqueue, enqueue_many, message, queue, until};
use crate::redis::RedisServer;

/// The task stands as if it had never been claimed, and is the next to be.
fn assert_back_at_the_front(redis: &RedisServer, q: &QueueName, before: &Message) {
    assert_eq!(redis.ids(q, "pending").last(), Some(&before.id));
    assert_eq!(redis.message(q, &before.id).as_ref(), Some(before));
    assert_eq!((redis.ids(q, "active").len(), redis.ids(q, "lease").len()), (0, 0));
    assert_eq!((redis.count(q, "processed"), redis.count(q, "failed")), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_costs_no_attempt_and_returns_work_to_the_front() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let first = message(&q, "first");
    enqueue(&broker, first.clone()).await;
    enqueue(&broker, message(&q, "second")).await;
    let reasons = Log::default();
    let log = reasons.clone();
    let worker = Worker::start(builder(&broker, &q).concurrency(1), move |context: Context, _: Task| {
        let log = log.clone();
        async move {
            log.add(context.cancelled().await);
            Err(HandlerError::msg("stopped"))
        }
    });
    until("it runs", || worker.stats.running() == 1).await;
    let stats = worker.stop().await;
    assert_eq!(reasons.all(), [CancelReason::Shutdown]);
    assert_eq!(redis.ids(&q, "pending"), ["second", "first"], "the next one is on the right");
    assert_back_at_the_front(&redis, &q, &first);
    assert_eq!((stats.requeued(), stats.failed()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_ignores_the_drain_is_dropped_and_its_task_returned() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| std::future::pending());
    until("it runs", || worker.stats.running() == 1).await;
    worker.stop().await;
    assert_back_at_the_front(&redis, &q, &message(&q, "1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_does_not_keep_its_task() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let handler = move |_: Context, _: Task| {
        blocked.lock().expect("one at a time").recv().ok();
        async { Ok(()) }
    };
    let worker = Worker::start(builder(&broker, &q), handler);
    until("it runs", || worker.stats.running() == 1).await;
    worker.token.cancel();
    until("its task is back", || redis.ids(&q, "pending") == ["1"]).await;
    assert_back_at_the_front(&redis, &q, &message(&q, "1"));
    let stats = std::sync::Arc::clone(&worker.stats);
    until("nothing is held", || stats.holding() == 0).await;
    release.send(()).expect("somebody waits");
    until("its thread is free", || stats.running() == 0).await;
    worker.stop().await;
    assert_back_at_the_front(&redis, &q, &message(&q, "1"));
    assert_eq!(
        (stats.succeeded(), stats.requeued()),
        (0, 1),
        "what it returned in the end counts for nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_ends_within_the_drain_is_done() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for id in ["in time", "when told"] {
        enqueue(&broker, message(&q, id)).await;
    }
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let gate = std::sync::Arc::clone(&go);
    let worker = Worker::start(builder(&broker, &q).concurrency(2), move |context: Context, task: Task| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            match task.id.as_str() {
                "in time" => gate.notified().await,
                _ => {
                    context.cancelled().await;
                }
            }
            Ok(())
        }
    });
    until("both run", || worker.stats.running() == 2).await;
    worker.token.cancel();
    go.notify_one();
    let stats = worker.stop().await;
    assert_eq!((stats.succeeded(), stats.requeued()), (2, 0));
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_in_full_flight_loses_and_doubles_nothing() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue_many(&broker, &q, 3000).await;
    let seen = Log::default();
    let mut left = 3000;
    while left > 0 {
        let log = seen.clone();
        let worker = Worker::start(builder(&broker, &q).concurrency(10), move |_: Context, task: Task| {
            log.add(task.id.clone());
            async { Ok(()) }
        });
        let before = seen.len();
        until("it has got somewhere", || seen.len() >= 3000.min(before + 300)).await;
        worker.stop().await;
        left = redis.ids(&q, "pending").len();
        assert_eq!((redis.ids(&q, "active").len(), redis.ids(&q, "lease").len()), (0, 0));
        assert_eq!(seen.len() + left, 3000);
    }
    let mut ids = seen.all();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3000);
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_in_time_although_redis_is_gone() {
    let (mut redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let gate = std::sync::Arc::clone(&go);
    let worker = Worker::start(builder(&broker, &q), move |_: Context, _: Task| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(())
        }
    });
    until("it runs", || worker.stats.running() == 1).await;
    redis.kill9();
    go.notify_one();
    let start = std::time::Instant::now();
    worker.stop().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
