//! What the producer's client stores and says.

use std::time::Duration;

use bytes::Bytes;
use cronmill::producer::{Client, EnqueueError, Task};
use cronmill::task::State;
use jiff::SignedDuration;

use crate::fixture::{Log, queue};
use crate::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_stands_as_its_options_say() {
    let (redis, q) = (RedisServer::start(), queue("mail"));
    let broker = redis.broker().await;
    let client = Client::new(broker.clone());
    let deadline = broker.now() + SignedDuration::from_hours(2);
    let task = Task::new("email:send", Bytes::from_static(b"{}"))
        .queue("mail")
        .id("1")
        .max_retry(3)
        .timeout(Duration::from_secs(30))
        .deadline(deadline)
        .retention(Duration::from_secs(3600))
        .header("trace", "abc")
        .after(Duration::from_secs(60));
    let receipt = client.enqueue(task).await.expect("stored");
    assert_eq!((receipt.id.as_str(), receipt.queue.as_str(), receipt.state), ("1", "mail", State::Scheduled));
    let stored = redis.message(&q, "1").expect("stored");
    let expected = cronmill::task::Message {
        kind: "email:send".into(),
        payload: Bytes::from_static(b"{}"),
        id: "1".into(),
        queue: "mail".into(),
        max_retry: 3,
        timeout_s: 30,
        deadline_s: deadline.as_second(),
        retention_s: 3600,
        headers: stored.headers.clone(),
        ..Default::default()
    };
    assert_eq!((stored.header("trace"), &stored), (Some("abc"), &expected));
    let due: i64 = redis.run(&["ZSCORE", "asynq:{mail}:scheduled", "1"]);
    let asked = receipt.next_process_at;
    assert!(due >= asked.as_second() && due <= asked.as_second() + 1, "rounded up, never early");
    let queues: Vec<String> = redis.run(&["SMEMBERS", "asynq:queues"]);
    assert_eq!(queues, ["mail"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_id_is_a_conflict_and_changes_nothing() {
    let (redis, q) = (RedisServer::start(), queue("default"));
    let client = Client::new(redis.broker().await);
    client.enqueue(Task::new("first", None).id("1")).await.expect("stored");
    let error = client.enqueue(Task::new("second", None).id("1")).await.expect_err("taken");
    assert!(
        matches!(&error, EnqueueError::Conflict { id, queue } if id == "1" && queue == "default"),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    assert_eq!(redis.message(&q, "1").expect("stored").kind, "first");
    assert_eq!(redis.ids(&q, "pending"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_tells_the_truth_of_each() {
    let (redis, q) = (RedisServer::start(), queue("default"));
    let client = Client::new(redis.broker().await);
    client.enqueue(Task::new("t", None).id("taken")).await.expect("stored");
    let later = Duration::from_secs(60);
    let batch = vec![
        Task::new("t", None).id("a"),
        Task::new("t", None).id("taken"),
        Task::new(" ", None).id("b"),
        Task::new("t", None).id("c").after(later),
        Task::new("t", None).id("a"),
        Task::new("t", None).id("a").queue("other"),
        Task::new("t", None).id("d").header("k", "v"),
    ];
    let verdicts: Vec<_> = client
        .enqueue_batch(batch)
        .await
        .into_iter()
        .map(|verdict| match verdict {
            Ok(receipt) => format!("{} {}", receipt.id, receipt.state),
            Err(EnqueueError::Conflict { id, queue }) => format!("{id} taken in {queue}"),
            Err(error) => error.reason().to_owned(),
        })
        .collect();
    let expected = [
        "a pending",
        "taken taken in default",
        "BlankType",
        "c scheduled",
        "a taken in default",
        "a pending",
        "d pending",
    ];
    assert_eq!(verdicts, expected);
    assert_eq!(redis.ids(&q, "pending"), ["d", "a", "taken"]);
    assert_eq!(redis.ids(&q, "scheduled"), ["c"]);
    assert_eq!(redis.message(&q, "d").expect("stored").header("k"), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_see_each_task_and_a_panic_in_them_stops_nothing() {
    let redis = RedisServer::start();
    let seen = Log::default();
    let (before, after) = (seen.clone(), seen.clone());
    let client = Client::new(redis.broker().await)
        .before_enqueue(move |task| before.add(format!("before {}", task.kind())))
        .after_enqueue(move |task, outcome| {
            after.add(format!("after {} {}", task.kind(), outcome.is_ok()));
            panic!("boom");
        });
    client.enqueue(Task::new("one", None)).await.expect("stored");
    client.enqueue(Task::new("two", None).id(" ")).await.expect_err("a blank id");
    assert_eq!(seen.all(), ["before one", "after one true", "before two", "after two false"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_redis_is_named_and_worth_another_try() {
    let mut redis = RedisServer::start();
    let client = Client::new(redis.broker().await);
    redis.kill9();
    let error = client.enqueue(Task::new("t", None).id("1")).await.expect_err("gone");
    assert!(matches!(&error, EnqueueError::Broker { id, .. } if id == "1"), "{error:?}");
    assert!(error.is_retryable());
}
