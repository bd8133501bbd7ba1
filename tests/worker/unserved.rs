//! Tasks of types that a worker has no handler for, and what a worker tells of the types it serves.

use std::time::Duration;

use cronmill::broker::Broker;
use cronmill::task::{Message, State};
use cronmill::worker::{Context, HandlerError, Mux, Task};
use jiff::SignedDuration;

use crate::fixture::{PATIENCE, Worker, builder, enqueue, message, queue, until};
use crate::redis::RedisServer;
use crate::support;

fn mux(kinds: &[&str]) -> Mux {
    let mut mux = Mux::new();
    for kind in kinds {
        mux.handle(*kind, |_: Context, _: Task| async { Ok(()) }).expect("free");
    }
    mux
}

fn strange(q: &cronmill::task::QueueName, id: &str) -> Message {
    // One more failure, and it would be in the archive.
    Message { kind: "strange".into(), max_retry: 0, ..message(q, id) }
}

/// The types that the only worker tells, once it has.
async fn told(broker: &Broker) -> Option<Vec<String>> {
    let servers = async || broker.servers().await.expect("answered");
    support::until(PATIENCE, "it shows itself", async || servers().await.len() == 1).await;
    servers().await.remove(0).types
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_type_without_a_handler_is_put_back_ever_later_and_spends_no_attempt() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, strange(&q, "1")).await;
    let worker = Worker::start(builder(&broker, &q), mux(&["known"]));
    until("it was met twice", || worker.stats.unserved() == 2).await;
    let _: i64 = redis.run(&["HSET", "asynq:{q}:t:1", "cronmill_snoozes", "9"]);
    until("it was met a tenth time", || worker.stats.unserved() == 3).await;
    let now = broker.now();
    let view = broker.task(&q, "1").await.expect("read").expect("there");
    worker.stop().await;
    assert_eq!((view.state, view.message.retried, view.message.error.as_str()), (State::Scheduled, 0, ""));
    let wait = view.at.expect("a time").duration_since(now);
    assert!(wait > SignedDuration::from_secs(10) && wait <= SignedDuration::from_secs(17), "{wait}");
    let history = broker.task_history(&q, "1").await.expect("read");
    let (_, reason) = history.snoozed.expect("it says why");
    assert_eq!((history.snoozes, reason.as_str()), (10, "handler not found for task \"strange\""));
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (0, 0));
    assert_eq!(broker.unserved_types(&[q]).await.expect("read"), [["strange"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_comes_to_the_worker_that_has_its_handler_whoever_meets_it_first() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let old = Worker::start(builder(&broker, &q), mux(&["known"]));
    enqueue(&broker, strange(&q, "1")).await;
    until("the old worker has met it", || old.stats.unserved() >= 1).await;
    let new = Worker::start(builder(&broker, &q), mux(&["known", "stra"]));
    until("the new one has run it", || new.stats.succeeded() == 1).await;
    old.stop().await;
    assert_eq!(
        broker.unserved_types(std::slice::from_ref(&q)).await.expect("read"),
        [[""; 0]],
        "now one serves it"
    );
    new.stop().await;
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_back_is_left_to_others_for_a_moment_and_keeps_no_other_task_waiting() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, strange(&q, "1")).await;
    let worker = Worker::start(builder(&broker, &q), mux(&["known"]));
    let due = async || broker.task(&q, "1").await.expect("read").expect("there").at;
    until("it is put back", || worker.stats.unserved() == 1).await;
    support::until(PATIENCE, "it waits", async || due().await.is_some()).await;
    let first = due().await.expect("just seen");
    until("it is put back three times more", || worker.stats.unserved() == 4).await;
    support::until(PATIENCE, "it waits", async || due().await.is_some()).await;
    let took = due().await.expect("just seen").duration_since(first);
    // Three times a second in `scheduled` and a second and a half in `pending`; times are whole seconds.
    assert!(took >= SignedDuration::from_secs(6), "{took}: others had no time to take it");

    support::until(PATIENCE, "it is pending and left there", async || redis.ids(&q, "pending") == ["1"])
        .await;
    enqueue(&broker, Message { kind: "known".into(), ..message(&q, "2") }).await;
    until("the other task has run", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_without_a_handler_ends_at_its_deadline() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    // So far ahead that it is met before.
    let deadline_s = broker.now().as_second() + 4;
    enqueue(&broker, Message { deadline_s, ..strange(&q, "1") }).await;
    let worker = Worker::start(builder(&broker, &q), mux(&[]));
    until("it is archived", || worker.stats.archived() == 1).await;
    assert!(worker.stop().await.unserved() >= 1);
    assert_eq!(redis.ids(&q, "archived"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_leaves_a_task_to_others_by_itself_spends_no_attempt() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, strange(&q, "1")).await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, task: Task| async move {
        Err(HandlerError::unserved(task.kind()))
    });
    until("it is put back", || worker.stats.unserved() == 1).await;
    assert_eq!(worker.stop().await.failed(), 0);
    assert_eq!(redis.ids(&q, "scheduled"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_the_types_of_its_mux_for_as_long_as_it_runs() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let settings = builder(&broker, &q).heartbeat(Duration::from_secs(1));
    let worker = Worker::start(settings, mux(&["mail", "mail:send"]));
    assert_eq!(told(&broker).await, Some(vec!["mail:send".to_owned(), "mail".to_owned()]));
    let key = format!("cronmill:servers:{{{}}}:types", worker.owner);
    let left: i64 = redis.run(&["TTL", &key]);
    assert!((1..=2).contains(&left), "{left}");
    worker.stop().await;
    assert_eq!(redis.run::<i64>(&["EXISTS", &key]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_handler_that_is_no_mux_nothing_is_told() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    assert_eq!(told(&broker).await, None);
    broker.note_unserved(&q, "1", "strange").await.expect("noted");
    assert_eq!(broker.unserved_types(&[q]).await.expect("read"), [[""; 0]], "it may serve that type");
    worker.stop().await;
}
