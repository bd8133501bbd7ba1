//! What others see of a worker.

use std::sync::{Arc, Mutex};

use cronmill::task::Message;
use cronmill::worker::{AttemptEvent, AttemptResult, Context, Events, HandlerError, Server, Task};

use crate::fixture::{Worker, builder, enqueue, message, queue, until};
use crate::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_see_the_worker_and_what_it_runs_until_it_stops() {
    let redis = RedisServer::start();
    let broker = redis.broker().await;
    let (q, other) = (queue("q"), queue("another"));
    let large = Message { payload: vec![b'x'; 10_000].into(), ..message(&q, "1") };
    enqueue(&broker, large).await;
    let settings = Server::builder(broker.clone())
        .queues([(q.clone(), 3), (other.clone(), 1)])
        .concurrency(7)
        .strict(true)
        .host("here")
        .heartbeat(std::time::Duration::from_secs(1))
        .shutdown_timeout(std::time::Duration::from_secs(20));
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&go);
    let worker = Worker::start(settings, move |_: Context, _: Task| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(())
        }
    });
    until("it runs", || worker.stats.running() == 1).await;
    let show = || async { broker.servers().await.expect("answered").pop() };
    let shown = loop {
        match show().await {
            Some(shown) if shown.running.len() == 1 => break shown,
            _ => tokio::task::yield_now().await,
        }
    };
    let info = &shown.info;
    assert_eq!((info.host.as_str(), info.concurrency, info.strict_priority), ("here", 7, true));
    assert_eq!((info.status.as_str(), info.active_workers), ("active", 1));
    let weights: Vec<_> =
        info.queues.iter().map(|q| (q.queue.clone().unwrap_or_default(), q.weight)).collect();
    assert_eq!(weights, [("another".to_owned(), Some(1)), ("q".to_owned(), Some(3))]);
    assert_eq!(format!("{}:{}:{}", info.host, info.pid, info.server_id), worker.owner);
    let running = &shown.running[0];
    assert_eq!((running.task_id.as_str(), running.task_payload.len()), ("1", 4096));
    let limit = |at: Option<cronmill::task::ProtoTimestamp>| at.expect("set").seconds;
    assert_eq!(limit(running.deadline) - limit(running.started), 1800);
    worker.token.cancel();
    until("it says that it stops", || {
        let key = format!("asynq:servers:{{{}}}", worker.owner);
        redis.run::<Vec<u8>>(&["GET", &key]).windows(7).any(|window| window == b"stopped")
    })
    .await;
    go.notify_one();
    worker.stop().await;
    assert_eq!(broker.servers().await.expect("answered").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_is_told_with_its_times_and_its_result() {
    #[derive(Default)]
    struct Told(Mutex<Vec<(String, String, bool, AttemptResult)>>);
    impl Events for Told {
        fn attempt(&self, event: &AttemptEvent<'_>) {
            let told =
                (event.queue.to_string(), event.kind.to_owned(), event.queue_wait.is_some(), event.result);
            self.0.lock().expect("no panic under the lock").push(told);
            panic!("a panic in here is no one's failure");
        }
    }
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for id in ["ok", "fail", "skip"] {
        enqueue(&broker, Message { kind: id.into(), ..message(&q, id) }).await;
    }
    let told = Arc::new(Told::default());
    let settings = builder(&broker, &q).concurrency(1).events(told.clone());
    let worker = Worker::start(settings, |context: Context, _: Task| async move {
        match context.kind() {
            "ok" => Ok(()),
            "skip" => Err(HandlerError::skip_retry(HandlerError::msg("no"))),
            _ => Err(HandlerError::msg("no")),
        }
    });
    until("all have ended", || worker.stats.succeeded() == 1 && worker.stats.failed() == 2).await;
    worker.stop().await;
    let expected = [
        ("q".to_owned(), "ok".to_owned(), true, AttemptResult::Succeeded),
        ("q".to_owned(), "fail".to_owned(), true, AttemptResult::Retried),
        ("q".to_owned(), "skip".to_owned(), true, AttemptResult::Archived),
    ];
    assert_eq!(*told.0.lock().expect("no panic under the lock"), expected);
}
