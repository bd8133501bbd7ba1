//! Cancelling what runs: it arrives, and it is no failure unless somebody wants that.

use std::time::Duration;

use cronmill::broker::{CancelThen, Cancelled};
use cronmill::task::State;
use cronmill::worker::{CancelReason, Context, HandlerError, Task};

use crate::fixture::{Log, Worker, builder, enqueue, message, queue, until};
use crate::redis::{RedisServer, connect};
use crate::support::{Fault, Proxy, proxy::contains};

/// Does what the task's id says once it is told to stop.
async fn obey(context: Context, task: Task) -> Result<(), HandlerError> {
    if task.id == "stubborn" {
        std::future::pending::<()>().await;
    }
    assert_eq!(context.cancelled().await, CancelReason::Requested);
    let enough = HandlerError::msg("enough");
    match task.id.as_str() {
        "succeeds" => Ok(()),
        "skips" => Err(HandlerError::skip_retry(enough)),
        "revokes" => Err(HandlerError::revoke(enough)),
        "snoozes" => Err(HandlerError::snooze(Duration::from_secs(1))),
        _ => Err(enough),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_is_archived_and_that_is_no_failure() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let ids = ["fails", "revokes", "skips", "snoozes", "stubborn", "succeeds"];
    for id in ids {
        enqueue(&broker, message(&q, id)).await;
    }
    let told = Log::default();
    let log = told.clone();
    let settings = builder(&broker, &q)
        .concurrency(6)
        .cancel_grace(Duration::from_millis(50))
        .on_error(move |context, _, _| log.add(context.id().to_owned()));
    let worker = Worker::start(settings, obey);
    until("all run", || worker.stats.running() == 6).await;
    until("all have ended", || {
        // As asynqmon does it; only who listens already hears it.
        for id in ids {
            let _: i64 = redis.run(&["PUBLISH", "asynq:cancel", id]);
        }
        worker.stats.holding() == 0
    })
    .await;
    let stats = worker.stop().await;
    assert_eq!((stats.cancelled(), stats.archived(), stats.retried(), stats.succeeded()), (3, 1, 0, 2));
    let errors = ["fails", "snoozes", "stubborn", "skips"].map(|id| {
        let message = redis.message(&q, id).expect("kept");
        assert_eq!((message.retried, message.last_failed_s > 0), (0, id == "skips"), "{id}");
        message.error
    });
    let expected = [
        "cancelled by request: enough",
        "cancelled by request",
        "cancelled by request",
        "context canceled: enough",
    ];
    assert_eq!(errors, expected);
    let mut archived = redis.ids(&q, "archived");
    archived.sort();
    assert_eq!(archived, ["fails", "skips", "snoozes", "stubborn"]);
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (3, 1));
    let mut told = told.all();
    told.sort();
    assert_eq!(told, ["revokes", "skips"], "of a cancellation no error is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_a_retry_gets_a_failure_with_a_retry() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for id in ["fails", "stubborn"] {
        enqueue(&broker, message(&q, id)).await;
    }
    let settings = builder(&broker, &q).concurrency(2).cancel_grace(Duration::from_millis(50));
    let worker = Worker::start(settings, obey);
    until("both run", || worker.stats.running() == 2).await;
    for id in ["fails", "stubborn"] {
        let asked = broker.cancel_task(&q, id, CancelThen::Retry).await.expect("asked");
        assert_eq!(asked, Cancelled::Asked(Some(worker.owner.clone())));
    }
    until("both have ended", || worker.stats.retried() == 2).await;
    worker.stop().await;
    let errors = ["fails", "stubborn"].map(|id| {
        let message = redis.message(&q, id).expect("kept");
        assert_eq!(message.retried, 1);
        message.error
    });
    assert_eq!(errors, ["context canceled: enough", "context canceled"]);
    assert_eq!(redis.count(&q, "failed"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_survives_a_dead_subscription() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let proxy = Proxy::to(redis.port()).await;
    // Nobody ever listens to what is published.
    proxy.inject(Fault::before_request(|bytes| contains(bytes, "SUBSCRIBE")).times(usize::MAX));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "fails")).await;
    let lease = Duration::from_secs(3);
    let worker = Worker::start(builder(&connect(&proxy.url()).await, &q).lease(lease), obey);
    until("it runs", || worker.stats.running() == 1).await;
    broker.cancel_task(&q, "fails", CancelThen::Stop).await.expect("asked");
    let took = until("it is cancelled", || worker.stats.cancelled() == 1).await;
    assert!(took < lease, "{took:?}: found with the next extension");
    assert!(proxy.cuts() > 0, "it did try to listen");
    worker.stop().await;
    let view = broker.task(&q, "fails").await.expect("read").expect("kept");
    assert_eq!((view.state, view.message.error.as_str()), (State::Archived, "cancelled by request: enough"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_while_nobody_listened_is_found_when_listening_begins() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::before_request(|bytes| contains(bytes, "SUBSCRIBE")).times(usize::MAX));
    let broker = redis.broker().await;
    for id in ["fails", "succeeds"] {
        enqueue(&broker, message(&q, id)).await;
    }
    // So long a lease is not extended within this test.
    let lease = Duration::from_secs(3600);
    let worker = Worker::start(builder(&connect(&proxy.url()).await, &q).concurrency(2).lease(lease), obey);
    until("both run", || worker.stats.running() == 2).await;
    broker.cancel_task(&q, "fails", CancelThen::Stop).await.expect("asked");
    proxy.heal();
    until("it is cancelled", || worker.stats.cancelled() == 1).await;
    assert_eq!(worker.stats.running(), 1, "the other one runs on");
    broker.cancel_task(&q, "succeeds", CancelThen::Stop).await.expect("asked");
    until("the other one ended", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_bring_a_cancelled_task_back() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::before_request(|bytes| contains(bytes, "SUBSCRIBE")).times(usize::MAX));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "stubborn")).await;
    let settings = builder(&connect(&proxy.url()).await, &q).lease(Duration::from_secs(3600));
    let worker = Worker::start(settings, obey);
    until("it runs", || worker.stats.running() == 1).await;
    broker.cancel_task(&q, "stubborn", CancelThen::Stop).await.expect("asked");
    worker.stop().await;
    assert_eq!(redis.ids(&q, "archived"), ["stubborn"]);
    assert_eq!(redis.message(&q, "stubborn").expect("kept").error, "cancelled by request");
    assert_eq!(redis.ids(&q, "pending"), Vec::<String>::new());
}
