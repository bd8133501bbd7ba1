//! Tasks that are put off by their handlers, and tasks that are of no use unless they begin in time.

use std::time::Duration;

use cronmill::producer::{Client, Task as NewTask};
use cronmill::task::State;
use cronmill::worker::{Context, HandlerError, Task};
use jiff::SignedDuration;

use crate::fixture::{Log, Worker, builder, enqueue, message, queue, until};
use crate::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snoozed_task_runs_again_with_the_same_attempt_and_all_its_retries() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, cronmill::task::Message { max_retry: 0, ..message(&q, "1") }).await;
    let seen = Log::default();
    let log = seen.clone();
    let worker = Worker::start(builder(&broker, &q), move |context: Context, _: Task| {
        log.add(context.attempt());
        let runs = log.len();
        async move {
            match runs {
                4 => Ok(()),
                _ => Err(HandlerError::snooze(Duration::from_millis(100)).because("not yet")),
            }
        }
    });
    until("it has succeeded", || worker.stats.succeeded() == 1).await;
    let stats = worker.stop().await;
    assert_eq!(seen.all(), [0; 4], "a task without a retry was put off three times");
    assert_eq!((stats.snoozed(), stats.failed()), (3, 0));
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (1, 0));
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snooze_shows_when_and_why_and_ends_at_the_tasks_deadline() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let deadline_s = broker.now().as_second() + 1;
    enqueue(&broker, cronmill::task::Message { deadline_s, ..message(&q, "late") }).await;
    let worker =
        Worker::start(builder(&broker, &q).concurrency(2), |context: Context, task: Task| async move {
            if task.id == "late" {
                context.cancelled().await;
            }
            Err(HandlerError::snooze(Duration::from_secs(600)).because("the bank is closed"))
        });
    until("both have ended", || worker.stats.snoozed() == 1 && worker.stats.archived() == 1).await;
    worker.stop().await;
    let view = broker.task(&q, "1").await.expect("read").expect("there");
    let until = view.at.expect("a time");
    assert_eq!(view.state, State::Scheduled);
    let left = until.duration_since(broker.now());
    assert!(left > SignedDuration::from_secs(540) && left <= SignedDuration::from_secs(601), "{left}");
    let history = broker.task_history(&q, "1").await.expect("read");
    assert_eq!(history.snoozed, Some((until.as_second(), "the bank is closed".to_owned())));
    assert_eq!(redis.ids(&q, "archived"), ["late"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_nobody_began_in_time_never_runs() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let client = Client::new(broker.clone());
    let task = |id: &str| NewTask::new("t", None).queue("q").id(id);
    client.enqueue(task("late").expires_in(Duration::from_secs(1))).await.expect("stored");
    client.enqueue(task("early").expires_in(Duration::from_secs(600))).await.expect("stored");
    // Too large for keeping to look at: only a claim can find it.
    let large = NewTask::new("t", bytes::Bytes::from(vec![0; 20_000])).queue("q").id("large");
    client.enqueue(large.expires_in(Duration::from_secs(1))).await.expect("stored");
    let expires = broker.task(&q, "late").await.expect("read").expect("there").message.expires_at();
    let expires = expires.expect("a time");
    until("its time is over", || broker.now() > expires).await;
    let runs = Log::default();
    let log = runs.clone();
    let settings = builder(&broker, &q).keeper(false);
    let worker = Worker::start(settings, move |_: Context, task: Task| {
        log.add(task.id.clone());
        async { Ok(()) }
    });
    until("all have ended", || worker.stats.expired() == 2 && worker.stats.succeeded() == 1).await;
    let stats = worker.stop().await;
    assert_eq!((runs.all(), stats.failed()), (vec!["early".to_owned()], 0));
    let stored = redis.message(&q, "late").expect("kept");
    assert_eq!(stored.error, format!("expired: it was to begin before {expires}"));
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (1, 0));
    assert_eq!(redis.ids(&q, "archived").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_task_runs_when_somebody_says_so_by_hand() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let task = NewTask::new("t", None).queue("q").id("1").expires_in(Duration::from_secs(1));
    Client::new(broker.clone()).enqueue(task).await.expect("stored");
    // The queue is kept, and its tasks are not claimed.
    let _: () = redis.run(&["SET", "asynq:{q}:paused", "1"]);
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("keeping has archived it", || worker.stats.expired() == 1).await;
    let _: i64 = redis.run(&["DEL", "asynq:{q}:paused"]);
    broker.run_now(&q, "1").await.expect("moved");
    until("it has run", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    redis.assert_no_task_left(&q);
}
