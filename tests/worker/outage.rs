//! Redis goes away, hangs, restarts, or its answers are lost.

use std::time::Duration;

use cronmill::task::Message;
use cronmill::worker::{Context, Task};

use crate::fixture::{Log, Worker, builder, enqueue, enqueue_many, holds_for, message, queue, until};
use crate::redis::{RedisServer, connect};
use crate::support::proxy::contains;
use crate::support::{self, Fault, Proxy, full_size};

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
    redis.kill9();
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
    redis.kill9();
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
    // A claim whose answer was given up may have tasks of which no worker knows, until they come back.
    let is_empty = || redis.keys("asynq:{q}:t:*").is_empty();
    until("all have run", || is_empty() && worker.stats.holding() == 0).await;
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
    let (tasks, cuts) = (full_size(600, 3000), full_size(20, 100));
    for i in 0..tasks {
        let payload = format!("payload-of-{i}").into();
        redis.push_raw(&q, &i.to_string(), &Message { payload, ..message(&q, &i.to_string()) }.encode());
    }
    let proxy = Proxy::to(redis.port()).await;
    // Only an answer to a claim holds a payload. Of three such answers two are cut: the same claim loses its answer
    // twice, and then another one does.
    let mut answers = 0;
    let cut = move |reply: &[u8]| {
        let is_answer = contains(reply, "payload-of-");
        answers += usize::from(is_answer);
        is_answer && answers % 3 != 0
    };
    proxy.inject(Fault::on_reply(cut).times(cuts));
    let broker = connect(&proxy.url()).await;
    let seen = Log::default();
    let log = seen.clone();
    // A lease far longer than the test: a stranded task would not come back in time.
    let settings = builder(&broker, &q).concurrency(10).lease(Duration::from_secs(600)).keeper(false);
    let worker = Worker::start(settings, move |_: Context, task: Task| {
        log.add(task.id.clone());
        async { Ok(()) }
    });
    let patience = Duration::from_secs(60);
    support::until(patience, "all have run", async || seen.len() >= tasks && worker.stats.holding() == 0)
        .await;
    worker.stop().await;
    assert_eq!(proxy.cuts(), cuts);
    let mut ids = seen.all();
    ids.sort();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (tasks, tasks), "each ran once");
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_there_is_no_busy_loop() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let proxy = Proxy::to(redis.port()).await;
    let broker = connect(&proxy.url()).await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("it has asked", || worker.stats.is_reachable()).await;
    // Connections are taken and cut at the first request, as by a proxy whose backend is gone.
    proxy.inject(Fault::before_request(|_| true).times(usize::MAX));
    proxy.cut_all();
    until("it has noticed", || !worker.stats.is_reachable()).await;
    let before = proxy.accepted();
    holds_for(Duration::from_secs(3), "nothing runs", || worker.stats.claimed() == 0).await;
    let connections = proxy.accepted() - before;
    assert!(connections < 150, "{connections} connections in three seconds");
    proxy.heal();
    let other = redis.broker().await;
    enqueue(&other, message(&q, "1")).await;
    let wait = until("work goes on", || worker.stats.succeeded() == 1).await;
    assert!(wait < Duration::from_secs(2), "{wait:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_claim_answered_late_get_new_leases_before_they_run() {
    let (redis, q) = (std::sync::Arc::new(RedisServer::start()), queue("q"));
    redis.push_raw(&q, "1", &Message { payload: "payload-of-1".into(), ..message(&q, "1") }.encode());
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::on_reply(|reply| contains(reply, "payload-of-")).times(usize::MAX));
    let broker = connect(&proxy.url()).await;
    let lease_end = |redis: &RedisServer| redis.run::<Option<i64>>(&["ZSCORE", "asynq:{q}:lease", "1"]);
    let left = Log::default();
    let (log, judge) = (left.clone(), std::sync::Arc::clone(&redis));
    let settings = builder(&broker, &q).lease(Duration::from_secs(1)).keeper(false);
    let worker = Worker::start(settings, move |_: Context, _: Task| {
        log.add(lease_end(&judge).map(|end| end - jiff::Timestamp::now().as_second()));
        async { Ok(()) }
    });
    until("an answer is lost", || proxy.cuts() > 0).await;
    let first = lease_end(&redis).expect("it is claimed");
    until("its lease is over", || jiff::Timestamp::now().as_second() > first).await;
    assert_eq!(left.len(), 0, "without an answer nothing runs");
    proxy.heal();
    until("it has run", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    assert!(matches!(left.all()[..], [Some(0..=2)]), "{:?}", left.all());
}
