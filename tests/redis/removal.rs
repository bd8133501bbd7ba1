//! Deleting a queue: refused while it is used, and nothing of it left behind.

use std::time::Duration;

use cronmill::broker::{ArchiveLimits, NextTick, Owner, PauseNote, QueueRemoval};
use cronmill::schedule::Entry;
use cronmill::task::{QueueName, State};
use tokio_util::sync::CancellationToken;

use crate::support::entry::entry;
use crate::yard::Yard;

const WAITING: [State; 6] =
    [State::Pending, State::Scheduled, State::Retry, State::Archived, State::Completed, State::Aggregating];

impl Yard {
    async fn remove(&self, force: bool) -> QueueRemoval {
        self.broker.remove_queue(&self.queue, force, |_| {}).await.expect("remove")
    }

    /// Every key with the queue's name, and where that stands.
    fn traces(&self) -> Vec<String> {
        let mut found = self.server.keys("*{q}*");
        for list in ["asynq:queues", "cronmill:schedules"] {
            if self.cli(&["SISMEMBER", list, "q"]) == "1" {
                found.push(list.to_owned());
            }
        }
        found.sort();
        found
    }
}

fn report() -> Entry {
    entry("uid-1", "@yearly")
}

#[tokio::test]
async fn nothing_of_a_deleted_queue_is_left_and_others_are_untouched() {
    let yard = Yard::new().await;
    for (n, state) in WAITING.into_iter().enumerate().rev() {
        // Those that wait for a worker come last, so that nobody else's step takes them along.
        yard.fill(state, 130, &format!("s{n}-"), |_| "t".to_owned()).await;
    }
    let locks = [yard.lock("s0-00000"), yard.lock("s5-00000")];
    yard.broker
        .clean(&yard.queue, ArchiveLimits { tasks_max: 120, ..ArchiveLimits::default() }, 0)
        .await
        .expect("clean");
    let (owner, turn) = (Owner::new("h", 1, "x"), Duration::from_secs(60));
    yard.broker.take_keeper_turn(&yard.queue, &owner, turn).await.expect("turn");
    yard.broker.take_aggregator_turn(&yard.queue, &owner, turn).await.expect("turn");
    yard.broker.take_waiter(&yard.queue, &owner, turn).await.expect("waiter");
    yard.cli(&["ZADD", "cronmill:{q}:locks", "9999999999", "s0-00000"]);
    yard.broker
        .cordon(std::slice::from_ref(&yard.queue), std::slice::from_ref(&owner), turn)
        .await
        .expect("cordon");
    // A schedule that was there leaves its ledger.
    let at = yard.broker.now();
    yard.broker.put_entry(&report(), Some(NextTick { nominal: at, due: at }), None).await.expect("put");
    yard.cli(&["LPUSH", "cronmill:{q}:ticks:uid-1", "x"]);
    yard.broker.retire_entry(&yard.queue, "uid-1", None, false).await.expect("deleted");
    // What other programs leave: a hash in no list, a group nobody lists, a lock without a task, an old counter.
    yard.cli(&["HSET", "asynq:{q}:t:orphan", "msg", "x", "state", "active"]);
    yard.cli(&["ZADD", "asynq:{q}:g:stranded", "1", "x"]);
    yard.cli(&["SET", "asynq:{q}:unique:t:gone", "x"]);
    yard.cli(&["SET", "asynq:{q}:processed:2020-01-01", "7"]);
    // Queues whose names look alike.
    for name in ["q2", "*", "[q]", "q}:x"] {
        let queue = QueueName::new(name).expect("valid");
        let message = cronmill::task::Message { queue: name.into(), ..yard.message("other", "t") };
        yard.broker.enqueue(&message, None).await.expect("enqueue");
        assert_eq!(yard.broker.queue_summary(&queue).await.expect("summary").pending, 1);
    }
    assert!(yard.traces().len() > 750, "{:?}", yard.traces());
    assert_eq!(yard.cli(&["EXISTS", &locks[0], &locks[1]]), "2");

    let mut heard = 0;
    let removed = yard.broker.remove_queue(&yard.queue, true, |done| heard = done).await.expect("remove");
    assert_eq!(removed, QueueRemoval::Removed { tasks: 6 * 130 - 10 });
    assert_eq!(heard, 6 * 130 - 10);
    let own: Vec<String> = yard.traces().into_iter().filter(|key| !key.contains("{q}:x}")).collect();
    assert_eq!(own, Vec::<String>::new());
    for name in ["q2", "*", "[q]", "q}:x"] {
        assert_eq!(yard.cli(&["EXISTS", &format!("asynq:{{{name}}}:t:other")]), "1", "{name}");
        assert_eq!(yard.cli(&["SISMEMBER", "asynq:queues", name]), "1");
    }
    assert_eq!(yard.remove(true).await, QueueRemoval::Absent);
}

#[tokio::test]
async fn without_force_a_task_in_any_state_keeps_its_queue() {
    for state in WAITING {
        let yard = Yard::new().await;
        yard.fill(state, 3, "a", |_| "t".to_owned()).await;
        let before = yard.traces();
        assert_eq!(yard.remove(false).await, QueueRemoval::NotEmpty { tasks: 3, orphans: 0 }, "{state}");
        assert_eq!(yard.traces(), before, "{state}");
    }
    let yard = Yard::new().await;
    yard.broker.register_queue(&yard.queue).await.expect("registered");
    yard.cli(&["HSET", "asynq:{q}:t:orphan", "msg", "x", "state", "active"]);
    assert_eq!(yard.remove(false).await, QueueRemoval::NotEmpty { tasks: 0, orphans: 1 });
    yard.cli(&["DEL", "asynq:{q}:t:orphan"]);
    yard.cli(&["SET", "asynq:{q}:processed", "7"]);
    assert_eq!(yard.remove(false).await, QueueRemoval::Removed { tasks: 0 });
    assert_eq!(yard.traces(), Vec::<String>::new());
}

#[tokio::test]
async fn running_tasks_and_schedules_keep_a_queue_even_with_force() {
    for force in [false, true] {
        let yard = Yard::new().await;
        yard.fill(State::Active, 2, "a", |_| "t".to_owned()).await;
        yard.fill(State::Scheduled, 2, "b", |_| "t".to_owned()).await;
        let before = yard.traces();
        assert_eq!(yard.remove(force).await, QueueRemoval::Active { tasks: 2 });
        assert_eq!(yard.traces(), before);

        let yard = Yard::new().await;
        let at = yard.broker.now();
        yard.broker.put_entry(&report(), Some(NextTick { nominal: at, due: at }), None).await.expect("put");
        yard.broker.register_queue(&yard.queue).await.expect("registered");
        let before = yard.traces();
        assert_eq!(yard.remove(force).await, QueueRemoval::Schedules { count: 1 });
        assert_eq!(yard.traces(), before);

        let yard = Yard::new().await;
        yard.fill(State::Aggregating, 2, "a", |_| "t".to_owned()).await;
        yard.cli(&["RENAME", "asynq:{q}:g:g0", "asynq:{q}:g:g0:set"]);
        yard.cli(&["SREM", "asynq:{q}:groups", "g0"]);
        yard.cli(&["ZADD", "asynq:{q}:aggregation_sets", "9999999999", "asynq:{q}:g:g0:set"]);
        let before = yard.traces();
        let refused = yard.remove(force).await;
        assert!(
            matches!(refused, QueueRemoval::Active { .. } | QueueRemoval::NotEmpty { .. }),
            "{refused:?}"
        );
        assert_eq!(yard.traces(), before);
    }
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_goes_on_when_it_is_repeated() {
    let yard = Yard::new().await;
    yard.fill(State::Archived, 200, "a", |_| "t".to_owned()).await;
    yard.fill(State::Pending, 200, "b", |_| "t".to_owned()).await;
    let stop = CancellationToken::new();
    let hear = |done| {
        if done >= 100 {
            stop.cancel();
        }
    };
    let dropped = stop.run_until_cancelled(yard.broker.remove_queue(&yard.queue, true, hear)).await;
    assert!(dropped.is_none());
    yard.assert_sound();
    assert!(yard.claim(1).await.is_empty(), "nobody takes tasks of a queue that is being deleted");
    let pause = yard.broker.pause_state(&yard.queue).await.expect("read").expect("paused");
    assert_eq!(pause.note.expect("ours").reason, "the queue is being deleted");
    let QueueRemoval::Removed { tasks } = yard.remove(true).await else { panic!("it is removed") };
    assert!((1..=300).contains(&tasks), "{tasks}");
    assert_eq!(yard.traces(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pause_that_stood_before_a_refusal_stands_after_it() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 3, "a", |_| "t".to_owned()).await;
    let note = PauseNote { source: "cli".into(), reason: "mine".into(), ..PauseNote::default() };
    yard.broker.pause(&yard.queue, &note).await.expect("paused");
    assert_eq!(yard.remove(false).await, QueueRemoval::NotEmpty { tasks: 3, orphans: 0 });
    let pause = yard.broker.pause_state(&yard.queue).await.expect("read").expect("paused");
    assert_eq!(pause.note.expect("ours").reason, "mine");
}

#[tokio::test]
async fn a_task_that_comes_while_its_queue_is_deleted_is_not_torn_apart() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 60, "a", |_| "t".to_owned()).await;
    let mut comes = 0;
    // Another program enqueues whenever a step was done.
    let enqueue = |_| {
        let id = format!("late{comes}");
        comes += 1;
        yard.cli(&["HSET", &format!("asynq:{{q}}:t:{id}"), "msg", "x", "state", "scheduled"]);
        yard.cli(&["ZADD", "asynq:{q}:scheduled", "9999999999", &id]);
    };
    let removal = yard.broker.remove_queue(&yard.queue, true, enqueue).await.expect("remove");
    assert!(matches!(removal, QueueRemoval::Refilled { tasks } if tasks >= 60), "{removal:?}");
    yard.assert_sound();
    assert!(yard.count(State::Scheduled).await > 0);
    assert_eq!(yard.cli(&["SISMEMBER", "asynq:queues", "q"]), "1");
    let removal = yard.remove(true).await;
    assert!(matches!(removal, QueueRemoval::Removed { .. }), "{removal:?}");
    assert_eq!(yard.traces(), Vec::<String>::new());
}
