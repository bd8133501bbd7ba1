//! What dead workers hold comes back before its leases end; what may be alive keeps what it has.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{ClaimRequest, Claimed, ClaimedTask, DeadWorkers, Owner, Recovered};
use cronmill::producer::Task;
use jiff::Timestamp;

use crate::field::{Field, HOUR, task};

const DELAY: Duration = Duration::from_secs(60);
const WHY: &str = "container worker of pod pod-1 was OOMKilled at its memory limit of 64Mi";

fn second(s: i64) -> Timestamp {
    Timestamp::from_second(1_764_100_000 + s).expect("a time")
}

/// A worker of that host that started then.
fn owner(host: &str, started: Timestamp) -> Owner {
    let ms = u64::try_from(started.as_millisecond()).expect("after 1970");
    let run = uuid::Builder::from_unix_timestamp_millis(
        ms,
        &fastrand::u128(..).to_be_bytes()[..10].try_into().expect("ten"),
    );
    Owner::new(host, 1, &run.into_uuid().to_string())
}

/// The workers of `pod-1` that started in the first ten seconds.
fn dead() -> DeadWorkers {
    DeadWorkers { host: "pod-1".into(), from: second(0), before: second(10), why: WHY.into() }
}

async fn claim(field: &Field, owner: &Owner, sequence: u64, max: usize) -> Vec<ClaimedTask> {
    let request = ClaimRequest { queue: &field.queue, owner, sequence, max, lease: HOUR };
    match field.broker.claim(&request).await.expect("Redis answers") {
        Claimed::Tasks(tasks) => tasks,
        other => panic!("{other:?}"),
    }
}

async fn release(field: &Field) -> Recovered {
    field.broker.release(&field.queue, &dead(), |_| DELAY).await.expect("Redis answers")
}

fn ids(field: &Field, list: &str) -> Vec<String> {
    let ids = field.cli(&["LRANGE", &format!("asynq:{{q}}:{list}"), "0", "-1"]);
    ids.lines().filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

fn crashes(field: &Field, id: &str) -> String {
    field.cli(&["HGET", &format!("asynq:{{q}}:t:{id}"), "cronmill_crashes"])
}

/// Fails unless every lease is of a task in `active`, and the other way round.
fn assert_whole(field: &Field) {
    let mut leases: Vec<_> = field.server.cli_lines(["ZRANGE", "asynq:{q}:lease", "0", "-1"]);
    let mut holders: Vec<_> = field.server.cli_lines(["HKEYS", "cronmill:{q}:holders"]);
    let mut active = ids(field, "active");
    for ids in [&mut leases, &mut holders, &mut active] {
        ids.sort();
    }
    assert_eq!((&leases, &holders), (&active, &active));
}

#[tokio::test]
async fn what_a_dead_worker_held_goes_to_the_back_at_once_and_remembers_why() {
    let field = Field::new().await;
    for id in ["a", "b"] {
        field.put(task(id)).await;
    }
    let died = owner("pod-1", second(1));
    assert_eq!(claim(&field, &died, 1, 2).await.len(), 2);
    field.put(task("waits")).await;
    assert_eq!(release(&field).await, Recovered { requeued: 2, ..Recovered::default() });
    let mut pending = ids(&field, "pending");
    assert_eq!(pending.pop().as_deref(), Some("waits"), "the oldest is last");
    pending.sort();
    assert_eq!(pending, ["a", "b"]);
    assert_whole(&field);
    let view = field.broker.task(&field.queue, "a").await.expect("read").expect("there");
    assert_eq!((view.message.retried, view.crashes), (0, 1));
    let history = field.broker.task_history(&field.queue, "a").await.expect("read");
    assert_eq!(history.errors.len(), 1);
    let error = &history.errors[0];
    assert_eq!((error.attempt, error.owner.as_str()), (0, died.as_str()));
    assert_eq!(error.text, format!("worker vanished while running the task: {WHY}"));
    // Done again there is nothing to do.
    assert_eq!(release(&field).await, Recovered::default());
    assert_eq!((crashes(&field, "a"), ids(&field, "pending").len()), ("1".into(), 3));
}

#[tokio::test]
async fn who_may_be_alive_keeps_what_it_holds() {
    let field = Field::new().await;
    let living = [
        ("neighbour", owner("pod-2", second(1))),
        ("longer-name", owner("pod-11", second(1))),
        (
            "started-before",
            owner("pod-1", Timestamp::from_millisecond(second(0).as_millisecond() - 1).expect("a time")),
        ),
        ("started-at-the-end", owner("pod-1", second(10))),
        ("started-after", owner("pod-1", second(11))),
        ("tells-no-start", Owner::new("pod-1", 1, "4a2f8a3e-5cb6-4c6f-9d9f-0a5ad8b0c9a1")),
        ("another-program", Owner::new("pod-1", 1, "x")),
    ];
    for (id, owner) in &living {
        field.put(task(id)).await;
        assert_eq!(claim(&field, owner, 1, 1).await.len(), 1);
    }
    // A worker of Go notes no holder.
    field.put(task("go")).await;
    field.cli(&["RPOPLPUSH", "asynq:{q}:pending", "asynq:{q}:active"]);
    field.cli(&["ZADD", "asynq:{q}:lease", "9999999999", "go"]);
    let first = owner("pod-1", second(0));
    field.put(task("dead")).await;
    claim(&field, &first, 1, 1).await;
    assert_eq!(release(&field).await.requeued, 1);
    assert_eq!(ids(&field, "pending"), ["dead"]);
    assert_eq!(ids(&field, "active").len(), living.len() + 1);
}

#[tokio::test]
async fn the_third_crash_costs_an_attempt_and_a_task_that_always_crashes_is_archived_with_its_reason() {
    let field = Field::new().await;
    field.put(task("poison").max_retry(1)).await;
    let mut outcomes = Vec::new();
    for crash in 0.. {
        let tasks = claim(&field, &owner("pod-1", second(crash)), crash as u64 + 1, 1).await;
        assert_eq!(tasks.len(), 1);
        let Recovered { requeued, retried, archived, .. } = release(&field).await;
        outcomes.push((requeued, retried, archived));
        if archived > 0 {
            break;
        }
        if retried > 0 {
            let view = field.broker.task(&field.queue, "poison").await.expect("read").expect("there");
            assert_eq!(view.message.retried, 1);
            field.broker.run_now(&field.queue, "poison").await.expect("moved");
        }
    }
    assert_eq!(outcomes, [(1, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0), (0, 0, 1)]);
    let view = field.broker.task(&field.queue, "poison").await.expect("read").expect("there");
    assert_eq!(view.message.error, format!("worker vanished while running the task, 3 times: {WHY}"));
    assert_eq!(field.broker.task_history(&field.queue, "poison").await.expect("read").errors_total, 6);
    assert_whole(&field);
}

#[tokio::test]
async fn several_who_release_at_once_beside_a_keeper_count_one_crash() {
    let field = Field::new().await;
    let died = owner("pod-1", second(1));
    for id in 0..150 {
        field.put(task(&id.to_string())).await;
    }
    for sequence in 1..=3 {
        claim(&field, &died, sequence, 64).await;
    }
    // For some of them the lease is over as well, so the keeper takes them.
    for id in 0..50 {
        field.cli(&["ZADD", "asynq:{q}:lease", "XX", "1", &id.to_string()]);
        field.cli(&["HSET", "cronmill:{q}:holders", &id.to_string(), &format!("1 {died}")]);
    }
    let keeper = field.broker.recover(&field.queue, |_| DELAY);
    let (one, other, kept) = tokio::join!(release(&field), release(&field), keeper);
    assert_eq!(one.requeued + other.requeued + kept.expect("Redis answers").requeued, 150);
    assert_whole(&field);
    let mut pending = ids(&field, "pending");
    pending.sort_by_key(|id| id.parse::<u32>().expect("a number"));
    assert_eq!(pending, (0..150).map(|id| id.to_string()).collect::<Vec<_>>());
    assert!((0..150).all(|id| crashes(&field, &id.to_string()) == "1"));
}

#[tokio::test]
async fn a_release_that_is_broken_off_anywhere_loses_and_doubles_nothing() {
    let field = Field::new().await;
    let died = owner("pod-1", second(1));
    for id in 0..200 {
        field.put(task(&id.to_string())).await;
    }
    for sequence in 1..=4 {
        claim(&field, &died, sequence, 64).await;
    }
    let mut cut_off = 0;
    // Each time it is let go a little further.
    for micros in (0..).step_by(150) {
        let released = tokio::time::timeout(Duration::from_micros(micros), release(&field)).await;
        let both = "return redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])";
        assert_eq!(field.cli(&["EVAL", both, "2", "asynq:{q}:pending", "asynq:{q}:active"]), "200");
        match released {
            Err(_) => cut_off += 1,
            Ok(_) => break,
        }
    }
    assert!(cut_off > 0);
    // What was under way when it was broken off has arrived.
    release(&field).await;
    assert_whole(&field);
    assert_eq!(ids(&field, "pending").len(), 200);
    assert!((0..200).all(|id| crashes(&field, &id.to_string()) == "1"));
}

#[tokio::test]
async fn what_was_taken_over_meanwhile_is_left_to_its_new_holder() {
    let field = Field::new().await;
    field.put(task("a")).await;
    let died = owner("pod-1", second(1));
    claim(&field, &died, 1, 1).await;
    let before = field.cli(&["HGET", "cronmill:{q}:holders", "a"]);
    release(&field).await;
    let next = owner("pod-2", second(1));
    claim(&field, &next, 1, 1).await;
    // Somebody's old copy of who holds it, as it may be read just before a change.
    field.cli(&["HSET", "cronmill:{q}:holders", "a", &format!("1{before}")]);
    assert_eq!(release(&field).await, Recovered::default(), "the lease has another end than was noted");
    assert_eq!(ids(&field, "active"), ["a"]);
    assert_eq!(crashes(&field, "a"), "1");
}

#[tokio::test]
async fn a_task_that_was_to_be_stopped_or_was_taken_back_does_not_come_back() {
    let field = Field::new().await;
    for id in ["cancelled", "revoked"] {
        field.put(task(id)).await;
    }
    let died = owner("pod-1", second(1));
    claim(&field, &died, 1, 2).await;
    field
        .broker
        .cancel_task(&field.queue, "cancelled", cronmill::broker::CancelThen::Stop)
        .await
        .expect("marked");
    let held = field.cli(&["HGET", "cronmill:{q}:holders", "revoked"]);
    field.cli(&["HSET", "cronmill:{q}:holders", "revoked", &format!("{held} revoked")]);
    let recovered = release(&field).await;
    assert_eq!((recovered.cancelled, recovered.total()), (1, 2));
    assert_eq!(ids(&field, "pending"), [""; 0]);
    let view = field.broker.task(&field.queue, "cancelled").await.expect("read").expect("archived");
    assert!(view.message.error.contains("OOMKilled"), "{}", view.message.error);
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:t:revoked"]), "0");
}

/// What an operator with little memory must be able to do for a task that killed a worker with more.
#[tokio::test]
async fn a_long_message_comes_back_without_being_read_by_who_brings_it_back() {
    let field = Field::new().await;
    let long = Bytes::from(vec![0x9f; 3 << 20]);
    for id in ["held", "lapsed"] {
        field.put(Task::new("t", long.clone()).queue("q").id(id).header("h", "v").max_retry(0)).await;
    }
    let sent = || {
        let info = field.cli(&["INFO", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).expect("Redis counts")
    };
    for crash in 1..=3 {
        let died = owner("pod-1", second(crash));
        assert_eq!(claim(&field, &died, 2 * crash as u64, 1).await.len(), 1);
        assert_eq!(claim(&field, &died, 2 * crash as u64 + 1, 1).await.len(), 1);
        field.cli(&["ZADD", "asynq:{q}:lease", "XX", "1", "lapsed"]);
        field.cli(&["HSET", "cronmill:{q}:holders", "lapsed", &format!("1 {died}x")]);
        let before = sent();
        let kept = field.broker.recover(&field.queue, |_| DELAY).await.expect("Redis answers");
        assert_eq!((kept.total(), release(&field).await.total()), (1, 1));
        assert!(sent() - before < 1 << 20, "{} bytes were read", sent() - before);
    }
    assert_whole(&field);
    for (id, why) in [("held", format!(": {WHY}")), ("lapsed", String::new())] {
        let view = field.broker.task(&field.queue, id).await.expect("read").expect("there");
        assert_eq!((view.message.payload.len(), view.message.header("h")), (long.len(), Some("v")));
        assert_eq!(view.message.error, format!("worker vanished while running the task, 3 times{why}"));
        assert_eq!((view.message.retried, view.state.to_string().as_str()), (0, "archived"));
        assert_ne!(view.message.last_failed_s, 0);
    }
}

#[tokio::test]
async fn a_long_message_that_nobody_can_read_comes_back_whole() {
    let field = Field::new().await;
    field.put(task("odd")).await;
    assert_eq!(claim(&field, &owner("pod-1", second(1)), 1, 1).await.len(), 1);
    // A payload, and a type that is no text.
    let script = "local m = '\\18\\128\\128\\8' .. string.rep('x', 131072) .. '\\10\\1\\255' \
        redis.call('HSET', KEYS[1], 'msg', m) return #m";
    let length: usize =
        field.cli(&["EVAL", script, "1", "asynq:{q}:t:odd"]).parse().expect("a number of bytes");
    assert_eq!(release(&field).await.archived, 1);
    let view = field.broker.task(&field.queue, "odd").await.expect("read").expect("there");
    assert_eq!(view.message.payload.len(), length);
}
