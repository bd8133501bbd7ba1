//! Redis goes away, hangs, restarts, or its answers are lost.

use std::time::Duration;

use cronmill::worker::{Context, Task};

use crate::proxy::Proxy;
use crate::redis::{RedisServer, connect};
use crate::support::{Log, Worker, builder, enqueue, enqueue_many, holds_for, message, queue, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_loses_nothing_and_work_goes_on_within_two_seconds() {
    let (mut redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue_many(&broker, &q, 2000).await;
    let seen = Log::default();
    let log = seen.clone();
    let worker = Worker::start(builder(&broker, &q).concurrency(4), move |_: Context, task: Task| {
        log.add(task.id.clone());
        async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    });
    until("it is under way", || worker.stats.succeeded() > 200).await;
    redis.stop();
    // What was claimed is run and waits to be told; then nothing happens any more.
    until("it hangs", || !worker.stats.is_reachable()).await;
    holds_for(Duration::from_millis(1500), "nothing new", || seen.len() < 2000).await;
    let before = worker.stats.succeeded();
    redis.start_again();
    let wait = until("work goes on", || worker.stats.succeeded() > before).await;
    assert!(wait < Duration::from_secs(2), "{wait:?}");
    until("all have run", || seen.len() >= 2000 && worker.stats.holding() == 0).await;
    worker.stop().await;
    let mut ids = seen.all();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2000);
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_picks_up_within_two_seconds_of_a_restart() {
    let (mut redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("it has asked", || worker.stats.is_reachable()).await;
    redis.stop();
    until("it has noticed", || !worker.stats.is_reachable()).await;
    redis.start_again();
    let other = redis.broker().await;
    enqueue(&other, message(&q, "1")).await;
    let wait = until("it has run", || worker.stats.succeeded() == 1).await;
    assert!(wait < Duration::from_secs(2), "{wait:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_longer_than_a_lease_costs_no_attempt() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue_many(&broker, &q, 500).await;
    let attempts = Log::default();
    let log = attempts.clone();
    let settings = builder(&broker, &q).concurrency(4).lease(Duration::from_secs(2));
    let worker = Worker::start(settings, move |context: Context, task: Task| {
        log.add((task.id.clone(), context.attempt()));
        async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    });
    until("it is under way", || worker.stats.succeeded() > 50).await;
    redis.freeze();
    // Answers are given up after 5 s, so claims and finishes become ambiguous.
    until("it hangs", || !worker.stats.is_reachable()).await;
    redis.thaw();
    until("all have run", || redis.ids(&q, "pending").is_empty() && worker.stats.holding() == 0).await;
    worker.stop().await;
    assert!(attempts.all().iter().all(|(_, attempt)| *attempt == 0), "{:?}", attempts.all());
    let mut ids: Vec<_> = attempts.all().into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_claim_reply_strands_no_task() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let direct = redis.broker().await;
    enqueue_many(&direct, &q, 600).await;
    // Only an answer to a claim holds a payload.
    let proxy = Proxy::start(redis.port(), "payload-of-", 20).await;
    for i in 0..600 {
        let marked = cronmill::task::Message {
            payload: format!("payload-of-{i}").into(),
            ..message(&q, &i.to_string())
        };
        let _: () = ::redis::cmd("HSET")
            .arg(format!("asynq:{{q}}:t:{i}"))
            .arg("msg")
            .arg(marked.encode().as_ref())
            .query(&mut redis.client())
            .expect("stored");
    }
    let broker = connect(proxy.port).await;
    let seen = Log::default();
    let log = seen.clone();
    // A lease far longer than the test: a stranded task would not come back in time.
    let settings = builder(&broker, &q).concurrency(10).lease(Duration::from_secs(600)).keeper(false);
    let worker = Worker::start(settings, move |_: Context, task: Task| {
        log.add(task.id.clone());
        async { Ok(()) }
    });
    until("all have run", || seen.len() >= 600 && worker.stats.holding() == 0).await;
    worker.stop().await;
    assert_eq!(proxy.left(), 0, "all cuts were made");
    let mut ids = seen.all();
    ids.sort();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (600, 600), "each ran once");
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_there_is_no_busy_loop() {
    let (mut redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("it has asked", || worker.stats.is_reachable()).await;
    redis.stop();
    until("it has noticed", || !worker.stats.is_reachable()).await;
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", redis.port())).await.expect("the port is free");
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&attempts);
    let counting = tokio::spawn(async move {
        // Accepts and hangs up, as a proxy without a backend does.
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let before = attempts.load(std::sync::atomic::Ordering::SeqCst);
    holds_for(Duration::from_secs(3), "nothing runs", || worker.stats.claimed() == 0).await;
    let connections = attempts.load(std::sync::atomic::Ordering::SeqCst) - before;
    counting.abort();
    drop(worker);
    assert!(connections < 120, "{connections} connections in three seconds");
}
