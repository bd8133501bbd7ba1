//! Ticks whose tasks are unique or have a group: what becomes of them, of their locks, and of their groups.

use std::time::Duration;

use cronmill::broker::{
    ClaimedTask, Finish, FinishOutcome, FireRequest, FireVerdict, GroupLimits, NewTask, NextTick, Owner,
    SetFinish, SetFinished, TakenSet, tick_task, unique_key,
};
use cronmill::producer::{Client, EnqueueError, Task};
use cronmill::schedule::{Concurrency, Entry, TickOutcome};
use jiff::Timestamp;

use crate::schedule::{Bench, edited, entry};
use crate::support::until;

const GROUP: &str = "asynq:{q}:g:g";
/// Any group is ripe.
const RIPE: GroupLimits = GroupLimits { grace: Duration::ZERO, max_delay: None, max_size: 1 };

fn unique(concurrency: Concurrency) -> Entry {
    let change = |entry: &mut Entry| {
        entry.concurrency = concurrency;
        entry.template.unique_s = Some(60);
        entry.format = entry.lowest_format();
    };
    edited(entry("a", "@yearly"), 1, change)
}

fn grouped(concurrency: Concurrency) -> Entry {
    let change = |entry: &mut Entry| {
        entry.template.group = "g".into();
        entry.format = entry.lowest_format();
    };
    edited(unique(concurrency), 1, change)
}

impl Bench {
    async fn with(entry: &Entry) -> Self {
        let bench = Self::new().await;
        bench.scheduler.apply(entry).await.expect("apply");
        bench
    }

    /// Fires a tick that is due for so long, and says what became of it.
    async fn fire_since(&self, seconds: u64) -> (Timestamp, TickOutcome) {
        let tick = self.due_since("a", Duration::from_secs(seconds));
        let before = self.outcomes().len();
        self.fire_until("the tick", |ticks| ticks.len() > before).await;
        (tick, self.outcomes()[before].0)
    }

    /// The only lock there is: whose it is.
    fn holder(&self) -> String {
        let locks = self.server.keys("asynq:{q}:unique:*");
        assert_eq!(locks.len(), 1, "{locks:?}");
        self.cli(&["GET", &locks[0]])
    }

    async fn finish(&self, task: &ClaimedTask) {
        let message = task.body.as_ref().expect("decodes").clone().into();
        let outcome = FinishOutcome::Done;
        let finish = Finish { message, outcome, leased_until: task.leased_until };
        self.broker.finish(&self.queue, &Owner::new("h", 2, "w"), &[finish]).await.expect("finish");
    }

    async fn take_set(&self) -> TakenSet {
        let looked = self.broker.take_sets(&self.queue, None, &RIPE, 9, Duration::from_secs(60)).await;
        let sets = self.broker.read_sets(&self.queue, looked.expect("take").sets).await;
        sets.expect("read").pop().expect("a ripe group")
    }

    fn id(tick: Timestamp) -> String {
        format!("a-{}", tick.as_second())
    }
}

#[tokio::test]
async fn a_tick_whose_lock_is_held_is_deduplicated_and_its_record_says_by_whom() {
    let bench = Bench::with(&unique(Concurrency::Allow)).await;
    let (first, outcome) = bench.fire_since(9).await;
    assert_eq!(outcome, TickOutcome::Enqueued);
    assert_eq!(bench.holder(), Bench::id(first));
    let living = || bench.server.cli_bytes(["HGET", "cronmill:{q}:entry:a", "living"]);
    let before = living();
    let (second, outcome) = bench.fire_since(6).await;
    assert_eq!(outcome, TickOutcome::Deduplicated);
    let record = bench.broker.ticks(&bench.queue, "a", 1).await.expect("ledger").remove(0);
    assert_eq!((record.from, record.outcome, record.task_id), (second, TickOutcome::Deduplicated, None));
    assert_eq!(record.reason, Some(format!("task {} holds its lock", Bench::id(first))));
    assert_eq!(bench.cli(&["HGET", "cronmill:{q}:entry:a", "n:deduplicated"]), "1");
    // It leaves no trace but that: the entry's last task is still the first.
    assert_eq!(bench.cli(&["HGET", "cronmill:{q}:entry:a", "last"]), first.as_second().to_string());
    assert_eq!(living(), before);
    assert_eq!(bench.cli(&["EXISTS", &format!("asynq:{{q}}:t:{}", Bench::id(second))]), "0");
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:pending"]), "1");

    bench.finish(&bench.claim().await.expect("the first")).await;
    assert_eq!(bench.server.keys("asynq:{q}:unique:*"), Vec::<String>::new());
    let (third, outcome) = bench.fire_since(3).await;
    assert_eq!((outcome, bench.holder()), (TickOutcome::Enqueued, Bench::id(third)));
}

#[tokio::test]
async fn a_ticks_lock_is_that_of_every_producer_and_outlives_its_schedule_no_longer_than_its_task() {
    let bench = Bench::with(&unique(Concurrency::Allow)).await;
    let client = Client::new(bench.broker.clone());
    let same = Task::new("t", bytes::Bytes::from_static(b"{}")).queue("q").unique(Duration::from_secs(60));
    client.enqueue(same.clone().id("other")).await.expect("a new task");
    assert_eq!(bench.fire_since(9).await.1, TickOutcome::Deduplicated);
    bench.broker.delete(&bench.queue, "other").await.expect("deleted");
    let (tick, outcome) = bench.fire_since(6).await;
    assert_eq!(outcome, TickOutcome::Enqueued);
    let lock = unique_key(&bench.queue, "t", Some(b"{}"));
    assert_eq!(bench.cli(&["GET", &lock]), Bench::id(tick));
    let life: u64 = bench.cli(&["TTL", &lock]).parse().expect("seconds");
    assert!((50..=60).contains(&life), "{life}");
    let refused = client.enqueue(same).await.expect_err("the tick's task is in the queue");
    assert!(matches!(refused, EnqueueError::Duplicate { .. }), "{refused}");

    bench.broker.retire_entry(&bench.queue, "a", None, false).await.expect("deleted");
    assert_eq!(bench.holder(), Bench::id(tick));
    bench.finish(&bench.claim().await.expect("its task")).await;
    assert_eq!(bench.server.keys("asynq:{q}:unique:*"), Vec::<String>::new());
    assert_eq!(bench.cli(&["ZCARD", "cronmill:{q}:locks"]), "0");
}

#[tokio::test]
async fn a_lock_left_by_a_task_that_is_gone_keeps_no_tick_out() {
    let bench = Bench::with(&unique(Concurrency::Allow)).await;
    bench.cli(&["SET", &unique_key(&bench.queue, "t", Some(b"{}")), "gone"]);
    let (tick, outcome) = bench.fire_since(5).await;
    assert_eq!((outcome, bench.holder()), (TickOutcome::Enqueued, Bench::id(tick)));
}

#[tokio::test]
async fn forbid_skips_a_unique_tick_while_its_own_run_lives() {
    let bench = Bench::with(&unique(Concurrency::Forbid)).await;
    assert_eq!(bench.fire_since(6).await.1, TickOutcome::Enqueued);
    assert_eq!(bench.fire_since(3).await.1, TickOutcome::SkippedOverlap);
}

#[tokio::test]
async fn replace_hands_the_lock_of_what_it_takes_back_to_the_new_run() {
    let bench = Bench::with(&unique(Concurrency::Replace)).await;
    assert_eq!(bench.fire_since(9).await.1, TickOutcome::Enqueued);
    let (second, outcome) = bench.fire_since(6).await;
    assert_eq!((outcome, bench.holder()), (TickOutcome::Enqueued, Bench::id(second)));
    // The first, taken back while it was pending, ends without the lock that is no longer its own.
    let first = bench.claim().await.expect("handed out, marked");
    assert!(first.revoked);
    bench.finish(&first).await;
    assert_eq!(bench.holder(), Bench::id(second));

    // A run that does not end in time keeps neither the next one waiting nor the lock.
    let running = bench.claim().await.expect("the second");
    let third = bench.due_since("a", Duration::from_secs(3));
    let waits = async || bench.cli(&["HEXISTS", "cronmill:{q}:entry:a", "waiting"]) == "1";
    let pass_time = async {
        until(crate::schedule::LIMIT, "the third waits", waits).await;
        assert_eq!(bench.holder(), Bench::id(second));
        bench.cli(&["HSET", "cronmill:{q}:entry:a", "waiting_since", "1"]);
    };
    tokio::join!(bench.fire_until("the third", |ticks| ticks.len() == 3), pass_time);
    assert_eq!(bench.outcomes()[2].0, TickOutcome::Enqueued);
    assert_eq!(bench.holder(), Bench::id(third));
    bench.finish(&running).await;
    assert_eq!(bench.holder(), Bench::id(third));
    bench.finish(&bench.claim().await.expect("the third")).await;
    assert_eq!(bench.server.keys("asynq:{q}:unique:*"), Vec::<String>::new());
}

#[tokio::test]
async fn replace_takes_nothing_back_for_a_run_whose_lock_another_task_holds() {
    let bench = Bench::with(&unique(Concurrency::Replace)).await;
    let (first, _) = bench.fire_since(6).await;
    let other = edited(unique(Concurrency::Replace), 2, |entry| entry.template.payload = "other".into());
    bench.scheduler.apply(&other).await.expect("apply");
    let payload = bytes::Bytes::from_static(b"other");
    let holder = Task::new("t", payload).queue("q").id("holder").unique(Duration::from_secs(60));
    Client::new(bench.broker.clone()).enqueue(holder).await.expect("a new task");
    assert_eq!(bench.fire_since(3).await.1, TickOutcome::Deduplicated);
    let task = format!("asynq:{{q}}:t:{}", Bench::id(first));
    assert_eq!(bench.cli(&["HGET", &task, "state"]), "pending");
    assert_eq!(bench.cli(&["HEXISTS", &task, "cronmill_revoked"]), "0");
    let lock = unique_key(&bench.queue, "t", Some(b"{}"));
    assert_eq!(bench.cli(&["GET", &lock]), Bench::id(first), "and it has its lock still");
}

#[tokio::test]
async fn a_tick_with_a_group_joins_it_and_lives_until_it_is_aggregated() {
    let bench = Bench::with(&grouped(Concurrency::Forbid)).await;
    let (first, outcome) = bench.fire_since(9).await;
    assert_eq!(outcome, TickOutcome::Enqueued);
    let id = Bench::id(first);
    let task = format!("asynq:{{q}}:t:{id}");
    assert_eq!(bench.cli(&["HMGET", &task, "state", "group"]), "aggregating\ng");
    assert_eq!(bench.cli(&["ZRANGE", GROUP, "0", "-1"]), id);
    assert_eq!(bench.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g");
    assert_eq!((bench.cli(&["EXISTS", "asynq:{q}:pending"]), bench.holder()), ("0".into(), id.clone()));
    assert_eq!(bench.fire_since(6).await.1, TickOutcome::SkippedOverlap);

    let set = bench.take_set().await;
    assert_eq!((set.tasks.len(), set.tasks[0].group.as_str()), (1, "g"));
    let made = NewTask::new(edited(entry("made", "@daily"), 1, |_| {}).message(first), None);
    let finish = SetFinish::new(set.key.clone(), &set.tasks, made);
    let finished = bench.broker.finish_sets(&bench.queue, &[finish]).await.expect("finish");
    assert_eq!(finished, [SetFinished::Stored]);
    assert_eq!(bench.server.keys("asynq:{q}:unique:*"), Vec::<String>::new());
    assert_eq!(bench.fire_since(3).await.1, TickOutcome::Enqueued);
}

#[tokio::test]
async fn replace_takes_what_waits_in_a_group_out_of_it() {
    let bench = Bench::with(&grouped(Concurrency::Replace)).await;
    let (first, _) = bench.fire_since(6).await;
    let (second, outcome) = bench.fire_since(3).await;
    assert_eq!((outcome, bench.holder()), (TickOutcome::Enqueued, Bench::id(second)));
    assert_eq!(bench.cli(&["ZRANGE", GROUP, "0", "-1"]), Bench::id(second));
    assert_eq!(bench.cli(&["SMEMBERS", "asynq:{q}:groups"]), "g");
    assert_eq!(bench.cli(&["EXISTS", &format!("asynq:{{q}}:t:{}", Bench::id(first))]), "0");
    assert_eq!(bench.cli(&["ZRANGE", "cronmill:{q}:locks", "0", "-1"]), Bench::id(second));
}

#[tokio::test]
async fn what_is_being_aggregated_is_waited_for_and_taken_back_once_it_is_in_its_group_again() {
    let bench = Bench::with(&grouped(Concurrency::Replace)).await;
    let (first, _) = bench.fire_since(9).await;
    let set = bench.take_set().await;
    let second = bench.due_since("a", Duration::from_secs(6));
    let waits = async || bench.cli(&["HEXISTS", "cronmill:{q}:entry:a", "waiting"]) == "1";
    let pass_time = async {
        until(crate::schedule::LIMIT, "the second waits", waits).await;
        bench.cli(&["HSET", "cronmill:{q}:entry:a", "waiting_since", "1"]);
    };
    tokio::join!(bench.fire_until("the second", |ticks| ticks.len() == 2), pass_time);
    assert_eq!(bench.outcomes()[1].0, TickOutcome::Enqueued);
    assert_eq!(bench.holder(), Bench::id(second));
    // Its worker gives it back: both are in the group, and the third takes the place of both.
    bench.broker.hold_set(&bench.queue, &set.key, Duration::ZERO).await.expect("held");
    bench.broker.reclaim_sets(&bench.queue).await.expect("given back");
    assert_eq!(bench.cli(&["ZCARD", GROUP]), "2");
    let (third, outcome) = bench.fire_since(3).await;
    assert_eq!((outcome, bench.holder()), (TickOutcome::Enqueued, Bench::id(third)));
    assert_eq!(bench.cli(&["ZRANGE", GROUP, "0", "-1"]), Bench::id(third));
    assert_eq!(bench.cli(&["EXISTS", &format!("asynq:{{q}}:t:{}", Bench::id(first))]), "0");
}

#[tokio::test]
async fn a_unique_tick_with_a_group_is_stored_once_however_often_it_is_sent() {
    let grouped = grouped(Concurrency::Allow);
    let bench = Bench::with(&grouped).await;
    let tick = bench.due_since("a", Duration::from_secs(5));
    let at = |nominal| NextTick { nominal, due: nominal };
    let request = FireRequest {
        uid: "a".into(),
        revision: grouped.revision.to_string(),
        expected: Some(tick),
        next: Some(at(tick + Duration::from_secs(3600))),
        run: Some((at(tick), tick_task(&bench.queue, &grouped, tick))),
        outcome: TickOutcome::Enqueued,
        passed: Vec::new(),
    };
    let requests = [request];
    let first = bench.broker.fire(&bench.queue, &requests).await.expect("fire");
    assert!(matches!(first[0], FireVerdict::Ran { outcome: TickOutcome::Enqueued, .. }), "{first:?}");
    let before = (bench.server.keys("*"), bench.cli(&["ZRANGE", GROUP, "0", "-1", "WITHSCORES"]));
    let again = bench.broker.fire(&bench.queue, &requests).await.expect("fire");
    assert!(matches!(again[0], FireVerdict::Stale { .. }), "{again:?}");
    assert_eq!((bench.server.keys("*"), bench.cli(&["ZRANGE", GROUP, "0", "-1", "WITHSCORES"])), before);
}
