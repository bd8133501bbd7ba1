//! Locks of unique tasks: taken last, given back by whatever ends a task, kept while it lives.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{ArchiveLimits, Deleted, FinishOutcome, Ran};
use cronmill::producer::{EnqueueError, Task};
use jiff::{SignedDuration, Timestamp};

use crate::field::{Field, HOUR, task};

/// Fails unless it is refused because of the lock of this task.
fn assert_duplicate<T: std::fmt::Debug>(outcome: Result<T, EnqueueError>, of: &str) {
    match outcome {
        Err(EnqueueError::Duplicate { holder, .. }) => assert_eq!(holder, of),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_unique_task_is_refused_with_the_id_of_the_first() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    let refused = field.enqueue(task("b").unique(HOUR)).await.expect_err("a duplicate");
    assert_eq!(
        refused.to_string(),
        "task b is a duplicate: task a is in queue q already, with the same type and payload"
    );
    assert!(!refused.is_retryable());
    assert_eq!((field.state("a"), field.state("b")), ("pending".into(), String::new()));
    field.put(task("c")).await;
    field.put(Task::new("t", Bytes::from_static(b"[]")).queue("q").id("d").unique(HOUR)).await;
    field.put(Task::new("u", Bytes::from_static(b"{}")).queue("q").id("e").unique(HOUR)).await;
    field.put(Task::new("t", Bytes::from_static(b"{}")).queue("other").id("f").unique(HOUR)).await;
}

#[tokio::test]
async fn no_payload_and_an_empty_one_do_not_exclude_each_other() {
    let field = Field::new().await;
    let absent = |id: &str| Task::new("t", None).queue("q").id(id).unique(HOUR);
    let empty = |id: &str| Task::new("t", Bytes::new()).queue("q").id(id).unique(HOUR);
    field.put(absent("a")).await;
    field.put(empty("b")).await;
    assert_duplicate(field.enqueue(absent("c")).await, "a");
    assert_duplicate(field.enqueue(empty("d")).await, "b");
}

#[tokio::test]
async fn a_lock_has_the_end_that_was_asked_for_from_the_start_on() {
    let field = Field::new().await;
    let left = |key: &str| field.cli(&["TTL", key]).parse::<i64>().expect("a number");
    field.put(task("a").unique(HOUR)).await;
    let (key, _) = field.lock();
    assert!((3595..=3600).contains(&left(&key)), "{}", left(&key));
    field.cli(&["FLUSHALL"]);
    field.put(task("a").unique(HOUR).after(HOUR)).await;
    assert!((7190..=7201).contains(&left(&key)), "{}", left(&key));
    field.cli(&["FLUSHALL"]);
    field.put(task("a").unique(Duration::from_secs(1))).await;
    assert!((8..=10).contains(&left(&key)), "{}", left(&key));
    field.cli(&["FLUSHALL"]);
    field.put(task("a").unique(Duration::MAX)).await;
}

// asynq takes the lock first, and a refused id leaves it held in the name of a task that has no lock.
#[tokio::test]
async fn a_taken_id_takes_no_lock() {
    let field = Field::new().await;
    field.put(Task::new("other", None).queue("q").id("a")).await;
    for unique in
        [task("a").unique(HOUR), task("a").unique(HOUR).group("g"), task("a").unique(HOUR).after(HOUR)]
    {
        let refused = field.enqueue(unique).await.expect_err("its id is taken");
        assert_eq!(refused.reason(), "Conflict");
    }
    field.assert_no_lock();
    field.put(task("b").unique(HOUR)).await;
}

#[tokio::test]
async fn a_batch_says_of_each_whether_it_is_a_duplicate_and_of_which() {
    let field = Field::new().await;
    let tasks = vec![
        task("a").unique(HOUR),
        task("b").unique(HOUR),
        task("a").unique(HOUR),
        task("c"),
        Task::new("u", None).queue("q").id("d").unique(HOUR),
    ];
    let outcomes = field.client.enqueue_batch(tasks).await;
    let reasons: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map_or_else(EnqueueError::reason, |_| "stored"))
        .collect();
    assert_eq!(reasons, ["stored", "Duplicate", "Conflict", "stored", "stored"]);
    assert_duplicate(outcomes.into_iter().nth(1).expect("five"), "a");
}

#[tokio::test]
async fn a_scheduled_or_grouped_task_holds_its_lock_like_any_other() {
    let field = Field::new().await;
    let start = Timestamp::now() + SignedDuration::from_hours(1);
    field.put(task("a").unique(HOUR).at(start)).await;
    assert_duplicate(field.enqueue(task("b").unique(HOUR)).await, "a");
    assert_eq!(
        field.broker.delete(&field.queue, "a").await.expect("Redis answers"),
        Deleted::From(cronmill::task::State::Scheduled)
    );
    field.assert_no_lock();
    field.put(task("c").unique(HOUR).group("g")).await;
    assert_duplicate(field.enqueue(task("d").unique(HOUR)).await, "c");
    let (key, _) = field.lock();
    assert_eq!(field.cli(&["HGET", "asynq:{q}:t:c", "unique_key"]), key, "asynq leaves it out for groups");
}

#[tokio::test]
async fn whatever_ends_a_task_gives_its_lock_back() {
    let field = Field::new().await;
    let retained = || task("a").unique(HOUR).retention(HOUR);
    for (sequence, new, outcome) in [
        (1, task("a").unique(HOUR), FinishOutcome::Done),
        (2, retained(), FinishOutcome::Complete),
        (3, task("a").unique(HOUR), FinishOutcome::Archive),
    ] {
        field.put(new).await;
        assert_eq!(field.lock().1, "a");
        field.end(sequence, outcome).await;
        field.assert_no_lock();
        field.cli(&["DEL", "asynq:{q}:t:a", "asynq:{q}:completed", "asynq:{q}:archived"]);
    }
    for new in [task("a").unique(HOUR), task("a").unique(HOUR).after(HOUR), task("a").unique(HOUR).group("g")]
    {
        field.put(new).await;
        field.broker.delete(&field.queue, "a").await.expect("Redis answers");
        field.assert_no_lock();
        field.broker.delete(&field.queue, "a").await.expect("Redis answers");
    }
}

#[tokio::test]
async fn a_message_nobody_can_read_gives_its_lock_back_when_it_is_archived() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    field.cli(&["HSET", "asynq:{q}:t:a", "msg", "nonsense"]);
    let claimed = field.claim(1).await.remove(0);
    let outcome =
        FinishOutcome::Quarantine { id: "a".into(), raw: claimed.raw.clone(), reason: "nonsense".into() };
    let message = cronmill::task::Message { id: "a".into(), queue: "q".into(), ..Default::default() };
    let leased_until = claimed.leased_until;
    let finishes = [cronmill::broker::Finish { message: message.into(), outcome, leased_until }];
    field.broker.finish(&field.queue, &field.owner, &finishes).await.expect("Redis answers");
    assert_eq!(field.state("a"), "archived");
    field.assert_no_lock();
}

#[tokio::test]
async fn a_retry_and_a_requeue_keep_the_lock() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    field.end(1, FinishOutcome::Requeue).await;
    assert_duplicate(field.enqueue(task("b").unique(HOUR)).await, "a");
    let at = Timestamp::now() + SignedDuration::from_hours(1);
    field.end(2, FinishOutcome::Retry { at, counts_as_failure: true }).await;
    assert_duplicate(field.enqueue(task("b").unique(HOUR)).await, "a");
    assert_eq!(field.renew_locks().await, 0, "it is long enough");
    assert_duplicate(field.enqueue(task("b").unique(HOUR)).await, "a");
}

#[tokio::test]
async fn a_lock_is_kept_while_its_task_lives_and_never_shortened() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    let (key, _) = field.lock();
    let left = || field.cli(&["TTL", &key]).parse::<i64>().expect("a number");
    field.cli(&["EXPIRE", &key, "5"]);
    assert_eq!(field.renew_locks().await, 1);
    assert!(left() > 3590, "{}", left());
    field.cli(&["EXPIRE", &key, "99999"]);
    assert_eq!(field.renew_locks().await, 0);
    assert!(left() > 99_000, "{}", left());
    // It ended under a living task, and nobody took it meanwhile.
    field.cli(&["DEL", &key]);
    assert_eq!(field.renew_locks().await, 1);
    assert_eq!(field.holder(&key), "a");
    // Another task took it meanwhile: it is that task's.
    field.cli(&["SET", &key, "z"]);
    field.cli(&["HSET", "asynq:{q}:t:z", "msg", "", "state", "pending"]);
    assert_eq!(field.renew_locks().await, 0);
    assert_eq!((field.holder(&key), field.cli(&["ZCARD", "cronmill:{q}:locks"])), ("z".into(), "0".into()));
}

#[tokio::test]
async fn a_look_at_locks_is_bounded_and_says_whether_there_is_more() {
    let field = Field::new().await;
    let new = |n: usize| Task::new(format!("t{n}"), None).queue("q").unique(HOUR);
    for outcome in field.client.enqueue_batch((0..150).map(new).collect()).await {
        outcome.expect("a new task");
    }
    let none_due = field.broker.renew_locks(&field.queue).await.expect("Redis answers");
    assert_eq!((none_due.kept, none_due.more), (0, false));
    for id in field.cli(&["ZRANGE", "cronmill:{q}:locks", "0", "-1"]).lines() {
        field.cli(&["ZADD", "cronmill:{q}:locks", "1", id]);
    }
    let mut more = Vec::new();
    for _ in 0..2 {
        more.push(field.broker.renew_locks(&field.queue).await.expect("Redis answers").more);
    }
    assert_eq!(more, [true, false]);
    let next: f64 = field
        .cli(&["ZRANGE", "cronmill:{q}:locks", "0", "0", "WITHSCORES"])
        .lines()
        .nth(1)
        .expect("a score")
        .parse()
        .expect("a number");
    let ahead = next as i64 - Timestamp::now().as_second();
    assert!((295..=301).contains(&ahead), "{ahead}");
}

// Go's programs delete tasks and leave their locks, and keep those of what they archive.
#[tokio::test]
async fn a_lock_whose_task_is_gone_or_has_ended_keeps_nobody_out() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    field.cli(&["DEL", "asynq:{q}:t:a", "asynq:{q}:pending"]);
    field.put(task("b").unique(HOUR)).await;
    assert_eq!(field.lock().1, "b");
    field.cli(&["LREM", "asynq:{q}:pending", "0", "b"]);
    field.cli(&["HSET", "asynq:{q}:t:b", "state", "archived"]);
    field.cli(&["ZADD", "asynq:{q}:archived", "1", "b"]);
    assert_eq!(field.renew_locks().await, 0);
    field.assert_no_lock();
    field.put(task("c").unique(HOUR)).await;
    assert_duplicate(field.enqueue(task("d").unique(HOUR)).await, "c");
}

#[tokio::test]
async fn another_programs_lock_is_kept_once_its_task_is_claimed_or_forwarded() {
    let field = Field::new().await;
    for at in [None, Some(Timestamp::from_second(1).expect("valid"))] {
        field.put(task("a").unique(HOUR)).await;
        // As a Go client leaves it: no field of ours, nothing in our list.
        field.cli(&["HDEL", "asynq:{q}:t:a", "cronmill_lock"]);
        field.cli(&["DEL", "cronmill:{q}:locks"]);
        if at.is_some() {
            field.cli(&["DEL", "asynq:{q}:pending"]);
            field.cli(&["HSET", "asynq:{q}:t:a", "state", "scheduled"]);
            field.cli(&["ZADD", "asynq:{q}:scheduled", "1", "a"]);
            field.broker.forward(&field.queue).await.expect("Redis answers");
        } else {
            field.claim(1).await;
        }
        let (key, _) = field.lock();
        field.cli(&["EXPIRE", &key, "3"]);
        assert_eq!(field.renew_locks().await, 1);
        let left: i64 = field.cli(&["TTL", &key]).parse().expect("a number");
        assert!((55..=60).contains(&left), "{left}");
        field.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn an_ended_task_that_is_run_again_takes_its_lock_again_or_is_refused() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    field.end(1, FinishOutcome::Archive).await;
    field.put(task("b").unique(HOUR)).await;
    let ran = field.broker.run_now(&field.queue, "a").await.expect("Redis answers");
    assert_eq!((ran, field.state("a")), (Ran::Locked("b".into()), "archived".into()));
    field.broker.delete(&field.queue, "b").await.expect("Redis answers");
    let ran = field.broker.run_now(&field.queue, "a").await.expect("Redis answers");
    assert_eq!((ran, field.lock().1), (Ran::From(cronmill::task::State::Archived), "a".into()));
    assert_duplicate(field.enqueue(task("c").unique(HOUR)).await, "a");
    assert_eq!(field.cli(&["ZCARD", "cronmill:{q}:locks"]), "1");
}

#[tokio::test]
async fn trimming_the_archive_leaves_no_lock_of_another_program() {
    let field = Field::new().await;
    field.put(task("a").unique(HOUR)).await;
    field.cli(&["DEL", "asynq:{q}:pending"]);
    field.cli(&["HSET", "asynq:{q}:t:a", "state", "archived"]);
    field.cli(&["ZADD", "asynq:{q}:archived", "1", "a"]);
    field.broker.clean(&field.queue, ArchiveLimits::default(), 0).await.expect("Redis answers");
    assert_eq!(field.state("a"), "");
    field.assert_no_lock();
}
