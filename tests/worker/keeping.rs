//! The keeper: due tasks go forward, dead workers' tasks come back, what is past its time goes.

use std::time::Duration;

use cronmill::broker::{Broker, ClaimRequest, Claimed, Owner};
use cronmill::keeper::Keeper;
use cronmill::task::{Message, QueueName};
use cronmill::worker::{Context, HandlerError, Task};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Log, Worker, builder, enqueue, message, queue, until};
use crate::redis::RedisServer;

/// Claims a task as a worker that then dies.
async fn claim_and_die(broker: &Broker, q: &QueueName, lease: Duration) {
    // Another run each time: the same one asking again would get its old answer again.
    let owner = Owner::new("dead", 1, &uuid::Uuid::new_v4().to_string());
    let request = ClaimRequest { queue: q, owner: &owner, sequence: 1, max: 1, lease };
    match broker.claim(&request).await.expect("answered") {
        Claimed::Tasks(tasks) => assert_eq!(tasks.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_task_comes_back_without_losing_an_attempt() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    claim_and_die(&broker, &q, Duration::from_secs(1)).await;
    let attempts = Log::default();
    let log = attempts.clone();
    let worker = Worker::start(builder(&broker, &q), move |context: Context, _: Task| {
        log.add(context.attempt());
        async { Ok(()) }
    });
    let wait = until("it has run", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    assert_eq!(attempts.all(), [0]);
    assert!(wait < Duration::from_secs(5), "lease of 1 s, came back after {wait:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_task_runs_at_its_second() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let starts = Log::default();
    let log = starts.clone();
    let worker = Worker::start(builder(&broker, &q), move |_: Context, task: Task| {
        log.add((task.id.clone(), Timestamp::now()));
        async { Ok(()) }
    });
    let mut due = Vec::new();
    for i in 1..=3_i64 {
        let at = Timestamp::from_second(broker.now().as_second() + i).expect("a time");
        broker.enqueue(&message(&q, &i.to_string()), Some(at)).await.expect("stored");
        due.push(at);
    }
    until("all have run", || worker.stats.succeeded() == 3).await;
    worker.stop().await;
    for (id, start) in starts.all() {
        let late = start.duration_since(due[id.parse::<usize>().expect("a number") - 1]);
        assert!(
            late >= SignedDuration::ZERO && late < SignedDuration::from_millis(300),
            "{id} ran {late} after its time"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_task_is_run_again_after_its_delay() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let attempts = Log::default();
    let log = attempts.clone();
    let settings = builder(&broker, &q).retry_delay(|_, _, _| Duration::from_secs(1));
    let worker = Worker::start(settings, move |context: Context, _: Task| {
        log.add(context.attempt());
        let fails = context.attempt() < 2;
        async move { if fails { Err(HandlerError::msg("not yet")) } else { Ok(()) } }
    });
    until("it has succeeded", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    assert_eq!(attempts.all(), [0, 1, 2]);
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_kills_its_workers_ends_in_the_archive() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { max_retry: 0, ..message(&q, "poison") }).await;
    let token = CancellationToken::new();
    let keeper = Keeper::new(broker.clone(), vec![q.clone()], Owner::new("k", 1, "r"));
    let keeping = tokio::spawn(keeper.run(token.clone()));
    for _ in 0..3 {
        until("it is pending", || redis.ids(&q, "pending") == ["poison"]).await;
        claim_and_die(&broker, &q, Duration::from_secs(1)).await;
    }
    until("it is archived", || redis.ids(&q, "archived") == ["poison"]).await;
    token.cancel();
    keeping.await.expect("no panic");
    assert_eq!(
        redis.message(&q, "poison").expect("kept").error,
        "worker vanished while running the task, 3 times"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_keepers_keeps_and_the_other_takes_over() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let start = |run: &str| {
        let token = CancellationToken::new();
        let owner = Owner::new("k", 1, run);
        let keeper = Keeper::new(broker.clone(), vec![q.clone()], owner.clone());
        (owner.to_string(), token.clone(), tokio::spawn(keeper.run(token)))
    };
    let holder = || redis.run::<Option<String>>(&["GET", "cronmill:{q}:keeper"]);
    let first = start("first");
    until("the first keeps", || holder().as_ref() == Some(&first.0)).await;
    let second = start("second");
    first.1.cancel();
    first.2.await.expect("no panic");
    let wait = until("the second keeps", || holder().as_ref() == Some(&second.0)).await;
    assert!(wait < Duration::from_secs(6), "{wait:?}");
    let at = broker.now() + SignedDuration::from_millis(10);
    broker.enqueue(&message(&q, "1"), Some(at)).await.expect("stored");
    until("it forwards", || redis.ids(&q, "pending") == ["1"]).await;
    second.1.cancel();
    second.2.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed_tasks_go_when_their_retention_is_over() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { retention_s: 1, ..message(&q, "1") }).await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("it is completed", || worker.stats.succeeded() == 1).await;
    until("it is deleted", || redis.message(&q, "1").is_none()).await;
    worker.stop().await;
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_due_at_once_do_not_wait_for_the_next_look() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let at = broker.now() + SignedDuration::from_millis(500);
    let tasks: Vec<_> =
        (0..5000).map(|i| cronmill::broker::NewTask::new(message(&q, &i.to_string()), Some(at))).collect();
    for verdict in broker.enqueue_batch(&tasks).await {
        verdict.expect("stored");
    }
    let token = CancellationToken::new();
    let keeper = Keeper::new(broker.clone(), vec![q.clone()], Owner::new("k", 1, "r"));
    let keeping = tokio::spawn(keeper.run(token.clone()));
    let pending = || redis.run::<usize>(&["LLEN", "asynq:{q}:pending"]);
    until("the first is forward", || pending() > 0).await;
    let wait = until("all are forward", || pending() == 5000).await;
    token.cancel();
    keeping.await.expect("no panic");
    // 50 calls; at one per look they would take ten seconds.
    assert!(wait < Duration::from_secs(3), "{wait:?}");
}
