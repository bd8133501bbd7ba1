//! Groups: what joins them, when they are ripe, and that a set ends once, whole, or goes back.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Deleted, Enqueued, GroupLimits, Ran, SetFinish, SetFinished, TakenSet};
use cronmill::producer::Task;
use cronmill::task::{EXPIRES_HEADER, State};
use jiff::Timestamp;

use crate::field::{Field, HOUR, LIMITS, task};
use crate::support::SlowCalls;

fn ids(set: &cronmill::broker::TakenSet) -> Vec<&str> {
    set.tasks.iter().map(|task| task.id.as_str()).collect()
}

#[tokio::test]
async fn a_task_joins_its_group_as_asynq_stores_it() {
    let field = Field::new().await;
    let receipt = field.put(task("a").group("g:1 ü")).await;
    assert_eq!(receipt.state, State::Aggregating);
    let hash = field.cli(&["HMGET", "asynq:{q}:t:a", "state", "group", "pending_since"]);
    assert_eq!(hash.trim_end(), "aggregating\ng:1 ü");
    assert_eq!(field.cli(&["ZRANGE", "asynq:{q}:g:g:1 ü", "0", "-1"]), "a");
    assert_eq!(field.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g:1 ü");
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:pending"]), "0");
    let groups = field.broker.groups(&field.queue, 10).await.expect("Redis answers");
    assert_eq!((groups.len(), groups[0].name.as_str(), groups[0].tasks), (1, "g:1 ü", 1));
}

// With asynq a scheduled task with a group runs alone, and nobody is told.
#[tokio::test]
async fn a_scheduled_task_joins_its_group_when_it_is_due() {
    let field = Field::new().await;
    let receipt = field.put(task("a").group("g").after(HOUR)).await;
    assert_eq!((receipt.state, field.state("a").as_str()), (State::Scheduled, "scheduled"));
    field.cli(&["ZADD", "asynq:{q}:scheduled", "1", "a"]);
    for _ in 0..2 {
        field.broker.forward(&field.queue).await.expect("Redis answers");
        assert_eq!(field.state("a"), "aggregating");
        assert_eq!(field.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g");
        assert_eq!(field.cli(&["ZRANGE", "asynq:{q}:g:g", "0", "-1"]), "a");
    }
}

#[tokio::test]
async fn a_group_is_ripe_by_grace_by_delay_or_by_size() {
    let field = Field::new().await;
    for id in ["a", "b"] {
        field.put(task(id).group("g")).await;
    }
    let wait = GroupLimits { max_delay: Some(HOUR), max_size: 3, ..LIMITS };
    assert!(field.take(&wait).await.is_empty(), "nothing is ripe");
    let looked = field.broker.take_sets(&field.queue, None, &wait, 9, HOUR).await.expect("Redis answers");
    let ahead = looked.next_ripe.expect("one group").as_second() - Timestamp::now().as_second();
    assert!((58..=61).contains(&ahead), "{ahead}");

    // By size, which is also the most that is taken.
    assert_eq!(field.take(&GroupLimits { max_size: 2, ..wait }).await.len(), 1);
    for id in ["c", "d", "e"] {
        field.put(task(id).group("h")).await;
    }
    let sets = field.take(&GroupLimits { max_size: 2, ..wait }).await;
    assert_eq!(sets.iter().map(|set| set.tasks.len()).collect::<Vec<_>>(), [2]);
    assert_eq!(field.cli(&["ZCARD", "asynq:{q}:g:h"]), "1");
    assert_eq!(field.cli(&["SMEMBERS", "asynq:{q}:groups"]), "h");

    // By delay: the oldest waits too long although the newest has just come.
    field.age("h");
    field.put(task("f").group("h")).await;
    assert!(field.take(&LIMITS).await.is_empty());
    let sets = field.take(&wait).await;
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].tasks.len(), 2);
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:groups"]), "0");

    // By grace.
    field.put(task("g").group("i")).await;
    field.age("i");
    assert_eq!(ids(&field.take(&LIMITS).await[0]), ["g"]);
}

#[tokio::test]
async fn a_task_in_the_place_of_a_set_has_its_time_to_begin_noted() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    let mut made = field.made("m");
    made.message.set_headers([(EXPIRES_HEADER.to_owned(), "4000000000".to_owned())].into());
    assert_eq!(field.finish_set(&set, made).await, SetFinished::Stored);
    assert_eq!(field.cli(&["ZSCORE", "cronmill:{q}:expiring", "m"]), "4000000000000");
}

#[tokio::test]
async fn a_set_is_not_finished_while_pending_is_another_sort_of_key() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    field.cli(&["SET", "asynq:{q}:pending", "noise"]);
    let finish = SetFinish::new(set.key.clone(), &set.tasks, field.made("m"));
    field.broker.finish_sets(&field.queue, std::slice::from_ref(&finish)).await.expect_err("it cannot");
    assert_eq!((field.state("a").as_str(), field.state("m").as_str()), ("aggregating", ""));
    field.cli(&["DEL", "asynq:{q}:pending"]);
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Stored);
}

#[tokio::test]
async fn an_aggregated_set_is_replaced_by_one_task_in_one_step() {
    let field = Field::new().await;
    for id in ["a", "b"] {
        field.put(task(id).group("g")).await;
    }
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    assert_eq!((set.group.as_ref(), ids(&set)), (&b"g"[..], vec!["a", "b"]));
    assert_eq!(field.cli(&["ZRANGE", "asynq:{q}:aggregation_sets", "0", "-1"]), Field::key(&set));
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Stored);
    assert_eq!(field.server.keys("asynq:{q}:*").len(), 2, "{:?}", field.server.keys("asynq:{q}:*"));
    assert_eq!(field.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "m");
    assert_eq!(field.state("m"), "pending");
    // The answer was lost: again changes nothing.
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Lost);
    assert_eq!(field.cli(&["LLEN", "asynq:{q}:pending"]), "1");
}

// asynq deletes a set without a look at its locks, so its tasks are refused until the locks run out.
#[tokio::test]
async fn the_locks_of_aggregated_tasks_are_given_back() {
    let field = Field::new().await;
    for n in 0..3 {
        field.put(Task::new(format!("t{n}"), None).queue("q").group("g").unique(HOUR)).await;
    }
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    assert_eq!(field.server.keys("asynq:{q}:unique:*").len(), 3);
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Stored);
    field.assert_no_lock();
}

#[tokio::test]
async fn a_task_made_of_a_set_may_take_over_a_lock_of_the_set() {
    let field = Field::new().await;
    field.put(task("a").group("g").unique(HOUR)).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    let mut made = field.made("m");
    made.message.unique_key = field.lock().0;
    made.lock_for = Some(HOUR);
    assert_eq!(field.finish_set(&set, made).await, SetFinished::Stored);
    assert_eq!(field.lock().1, "m");
}

#[tokio::test]
async fn a_task_that_cannot_be_stored_leaves_its_set_as_it_was() {
    let field = Field::new().await;
    field.put(Task::new("other", None).queue("q").id("m")).await;
    field.put(task("holder").unique(HOUR)).await;
    field.put(Task::new("u", None).queue("q").id("a").group("g").unique(HOUR)).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    let before = (field.server.keys("*"), field.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]));
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Refused(Enqueued::Conflict));
    let mut made = field.made("n");
    made.message.unique_key = cronmill::broker::unique_key(&field.queue, "t", Some(b"{}"));
    let holder = "holder".to_owned();
    assert_eq!(field.finish_set(&set, made).await, SetFinished::Refused(Enqueued::Duplicate { holder }));
    assert_eq!((field.server.keys("*"), field.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"])), before);
    assert_eq!(field.finish_set(&set, field.made("o")).await, SetFinished::Stored);
}

// asynq puts the tasks back but not the group's name, so nobody looks at them any more.
#[tokio::test]
async fn a_set_whose_worker_died_goes_back_and_its_group_is_listed_again() {
    let field = Field::new().await;
    for id in ["a", "b"] {
        field.put(task(id).group("g:x")).await;
    }
    field.age("g:x");
    let scores = field.cli(&["ZRANGE", "asynq:{q}:g:g:x", "0", "-1", "WITHSCORES"]);
    let set = field.take(&LIMITS).await.remove(0);
    assert_eq!(field.reclaim().await, 0, "its time is not up");
    field.cli(&["ZADD", "asynq:{q}:aggregation_sets", "1", Field::key(&set)]);
    assert_eq!(field.reclaim().await, 1);
    assert_eq!(field.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g:x");
    assert_eq!(field.cli(&["ZRANGE", "asynq:{q}:g:g:x", "0", "-1", "WITHSCORES"]), scores);
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:aggregation_sets"]), "0");
    assert_eq!(field.reclaim().await, 0, "again changes nothing");
    // Its worker was only slow: what it made is refused, and the tasks are aggregated again.
    assert_eq!(field.finish_set(&set, field.made("late")).await, SetFinished::Lost);
    assert_eq!(field.state("late"), "");
    let again = field.take(&LIMITS).await.remove(0);
    assert_eq!(ids(&again), ["a", "b"]);
}

#[tokio::test]
async fn a_large_set_goes_back_in_steps_to_a_group_that_has_new_tasks() {
    let field = Field::new().await;
    let new = |n: usize| task(&format!("{n:03}")).group("g");
    for outcome in field.client.enqueue_batch((0..200).map(new).collect()).await {
        outcome.expect("a new task");
    }
    let set = field.take(&GroupLimits { max_size: 200, ..LIMITS }).await.remove(0);
    assert_eq!(set.tasks.len(), 200);
    field.put(task("new").group("g")).await;
    field.cli(&["ZADD", "asynq:{q}:aggregation_sets", "1", Field::key(&set)]);
    let (moved, more) = field.broker.reclaim_sets(&field.queue).await.expect("Redis answers");
    assert_eq!((moved, more, field.cli(&["ZCARD", "asynq:{q}:g:g"]).as_str()), (0, true, "101"));
    assert_eq!(field.reclaim().await, 1);
    assert_eq!(field.cli(&["ZCARD", "asynq:{q}:g:g"]), "201");
    assert_eq!(field.cli(&["EXISTS", Field::key(&set), "asynq:{q}:aggregation_sets"]), "0");
}

#[tokio::test]
async fn a_set_of_another_program_is_left_alone_until_its_deadline_and_a_grace_after_it() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    let set = "asynq:{q}:g:g:11111111-2222-4333-8444-555555555555";
    field.cli(&["RENAME", "asynq:{q}:g:g", set]);
    field.cli(&["DEL", "asynq:{q}:groups"]);
    let now = field.broker.now().as_second();
    for (deadline, moved) in [(now + 100, 0), (now - 20, 0), (now - 31, 1)] {
        field.cli(&["ZADD", "asynq:{q}:aggregation_sets", &deadline.to_string(), set]);
        assert!(field.take(&LIMITS).await.is_empty());
        assert_eq!(field.reclaim().await, moved, "{deadline}");
    }
    assert_eq!(field.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g");
}

#[tokio::test]
async fn a_set_is_held_only_while_it_is_there() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    let hold = async |life| field.broker.hold_set(&field.queue, &set.key, life).await.expect("Redis answers");
    assert!(hold(HOUR).await);
    let score: i64 = field
        .cli(&["ZSCORE", "asynq:{q}:aggregation_sets", Field::key(&set)])
        .parse()
        .expect("whole seconds");
    assert!((3590..=3601).contains(&(score - Timestamp::now().as_second())), "{score}");
    assert!(hold(Duration::ZERO).await);
    assert_eq!(field.reclaim().await, 1);
    assert!(!hold(HOUR).await, "a set that went back is not there any more");
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:aggregation_sets"]), "0");
}

#[tokio::test]
async fn what_is_being_aggregated_is_neither_deleted_nor_run_by_hand() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    assert_eq!(field.broker.delete(&field.queue, "a").await.expect("Redis answers"), Deleted::Active);
    let ran = field.broker.run_now(&field.queue, "a").await.expect("Redis answers");
    assert_eq!(ran, Ran::Already(State::Active));
    let groups = field.broker.groups(&field.queue, 10).await.expect("Redis answers");
    assert_eq!((groups[0].name.as_str(), groups[0].tasks, groups[0].aggregating), ("g", 0, 1));
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Stored);
}

#[tokio::test]
async fn ids_without_a_task_and_names_without_a_group_do_not_stand_in_the_way() {
    let field = Field::new().await;
    field.cli(&["SADD", "asynq:{q}:groups", "empty"]);
    field.put(task("a").group("g")).await;
    field.cli(&["ZADD", "asynq:{q}:g:g", "1", "gone"]);
    field.cli(&["ZADD", "asynq:{q}:g:all-gone", "1", "gone"]);
    field.cli(&["SADD", "asynq:{q}:groups", "all-gone"]);
    field.age("g");
    let mut sets = field.take(&LIMITS).await;
    sets.retain(|set| !set.tasks.is_empty());
    assert_eq!((sets.len(), ids(&sets[0])), (1, vec!["a"]));
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:groups"]), "0");
    assert_eq!(field.finish_set(&sets[0], field.made("m")).await, SetFinished::Stored);
    let left = field.cli(&["ZRANGE", "asynq:{q}:aggregation_sets", "0", "-1"]);
    field.cli(&["ZADD", "asynq:{q}:aggregation_sets", "1", &left]);
    assert_eq!(field.reclaim().await, 1, "an empty set just goes");
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:aggregation_sets", "asynq:{q}:g:all-gone"]), "0");
}

#[tokio::test]
async fn what_cannot_be_read_is_archived_and_the_rest_of_its_set_goes_on() {
    let field = Field::new().await;
    field.put(task("a").group("g")).await;
    field.put(task("bad").group("g").unique(HOUR)).await;
    field.cli(&["HSET", "asynq:{q}:t:bad", "msg", "nonsense"]);
    field.age("g");
    let set = field.take(&LIMITS).await.remove(0);
    assert_eq!((ids(&set), set.unreadable.len()), (vec!["a"], 1));
    let (id, raw, reason) = set.unreadable[0].clone();
    for expected in [true, false] {
        let archived =
            field.broker.quarantine_member(&field.queue, &set.key, &id, raw.clone(), &reason).await;
        assert_eq!(archived.expect("Redis answers"), expected);
    }
    assert_eq!(field.finish_set(&set, field.made("m")).await, SetFinished::Stored);
    assert_eq!(field.state("bad"), "archived");
    field.assert_no_lock();
}

#[tokio::test]
async fn large_messages_are_read_beside_the_script_and_all_arrive() {
    let field = Field::new().await;
    let payload = Bytes::from(vec![7; 300_000]);
    for n in 0..10 {
        let large =
            Task::new("t", payload.clone()).queue("q").id(format!("{n}")).group(format!("g{}", n % 2));
        field.put(large).await;
    }
    for group in ["g0", "g1"] {
        field.age(group);
    }
    let sets = field.take(&LIMITS).await;
    assert_eq!(sets.len(), 2);
    for set in &sets {
        assert_eq!(set.tasks.len(), 5);
        assert!(set.tasks.iter().all(|task| task.payload == payload));
    }
}

#[tokio::test]
async fn ten_thousand_groups_are_looked_at_in_steps_that_hold_redis_for_a_moment() {
    let field = Field::new().await;
    let new = |n: usize| Task::new("t", None).queue("q").group(format!("group-{n}"));
    for outcome in field.client.enqueue_batch((0..10_000).map(new).collect()).await {
        outcome.expect("a new task");
    }
    let mut watch = SlowCalls::watch(&field.server, Duration::from_millis(2));
    let (mut looks, mut cursor) = (0, None);
    loop {
        let look = field.broker.take_sets(&field.queue, cursor.as_deref(), &LIMITS, 100, HOUR);
        let looked = watch.of(look).await.expect("Redis answers");
        assert!(looked.sets.is_empty());
        looks += 1;
        cursor = looked.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!((150..=230).contains(&looks), "{looks} looks at 10,000 groups");
    let ripe = GroupLimits { max_size: 1, ..LIMITS };
    let mut taken = Vec::new();
    loop {
        let look = field.broker.take_sets(&field.queue, cursor.as_deref(), &ripe, 100, HOUR);
        let looked = watch.of(look).await.expect("Redis answers");
        let is_over = looked.cursor.is_none() && looked.sets.is_empty();
        taken.extend(looked.sets);
        cursor = looked.cursor;
        if is_over {
            break;
        }
    }
    let sets = field.broker.read_sets(&field.queue, taken).await.expect("Redis answers");
    assert_eq!(sets.len(), 10_000);
    let finish = |(n, set): (usize, &TakenSet)| {
        SetFinish::new(set.key.clone(), &set.tasks, field.made(&n.to_string()))
    };
    let finishes: Vec<_> = sets.iter().enumerate().map(finish).collect();
    for some in finishes.chunks(50) {
        let verdicts = watch.of(field.broker.finish_sets(&field.queue, some)).await.expect("Redis answers");
        assert!(verdicts.iter().all(|verdict| *verdict == SetFinished::Stored));
    }
    assert_eq!(field.cli(&["LLEN", "asynq:{q}:pending"]), "10000");
    watch.assert_rare(100);
}
