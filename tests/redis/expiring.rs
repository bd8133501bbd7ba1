//! Tasks that nobody began in time, wherever they wait; and what is remembered of such times.

use std::collections::HashSet;
use std::time::Duration;

use cronmill::broker::{BulkVerb, ExpirySearch, ExpiryStep, NewTask, Selection};
use cronmill::task::{EXPIRES_HEADER, Message, State};
use jiff::SignedDuration;

use crate::schedule::{Bench, edited, entry};
use crate::support::{SlowCalls, until};
use crate::yard::Yard;

const EXPIRING: &str = "cronmill:{q}:expiring";

impl Yard {
    /// A task that is to begin in so many seconds, or was to.
    fn due_to_begin(&self, id: &str, in_s: i64) -> Message {
        let at = (self.broker.now().as_second() + in_s).to_string();
        let mut message = self.message(id, "t");
        message.set_headers([(EXPIRES_HEADER.to_owned(), at)].into());
        message
    }

    async fn put(&self, messages: Vec<Message>) {
        let tasks: Vec<_> = messages.into_iter().map(|message| NewTask::new(message, None)).collect();
        for stored in self.broker.enqueue_batch(&tasks).await {
            stored.expect("stored");
        }
    }

    async fn search(&self, search: &mut ExpirySearch) -> ExpiryStep {
        self.broker.search_unstarted(&self.queue, search).await.expect("Redis answers")
    }

    fn noted(&self) -> usize {
        self.cli(&["ZCARD", EXPIRING]).parse().expect("a number")
    }
}

#[tokio::test]
async fn late_tasks_amid_a_long_pending_list_are_archived() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 15_000, "old", |_| "t".into()).await;
    let lock = "asynq:{q}:unique:t:x";
    yard.cli(&["SET", lock, "late00"]);
    let late = |n: usize| match n {
        0 => Message { unique_key: lock.into(), ..yard.due_to_begin("late00", -5) },
        _ => yard.due_to_begin(&format!("late{n:02}"), -5),
    };
    yard.put((0..25).map(late).collect()).await;
    // None of these is late: too early, tried before, and no time at all.
    let tried = Message { retried: 1, ..yard.due_to_begin("tried", -5) };
    let mut odd = yard.message("odd", "t");
    odd.set_headers([(EXPIRES_HEADER.to_owned(), "soon".to_owned())].into());
    yard.put(vec![yard.due_to_begin("early", 3600), tried, odd]).await;
    yard.fill(State::Pending, 15_000, "new", |_| "t".into()).await;
    let before: HashSet<_> = yard.pending().into_iter().collect();

    let (mut search, mut steps, mut expired) = (ExpirySearch::default(), 0, 0);
    let mut watch = SlowCalls::watch(&yard.server, Duration::from_millis(2));
    while expired < 25 {
        let looking = yard.broker.search_unstarted(&yard.queue, &mut search);
        expired += watch.of(looking).await.expect("Redis answers").expired;
        steps += 1;
        assert!(steps <= 3, "{expired} in {steps} steps");
    }
    watch.assert_rare(100);
    let pending = yard.pending();
    let after: HashSet<_> = pending.iter().cloned().collect();
    assert_eq!(after.len(), pending.len(), "each stands there once");
    let mut gone: Vec<_> = before.difference(&after).cloned().collect();
    gone.sort_unstable();
    assert_eq!(gone, (0..25).map(|n| format!("late{n:02}")).collect::<Vec<_>>());
    assert!(after.is_subset(&before));
    assert_eq!(yard.cli(&["ZCARD", "asynq:{q}:archived"]), "25");
    assert_eq!(yard.cli(&["EXISTS", lock]), "0", "its lock is given back");
    yard.assert_sound();
    while yard.search(&mut search).await != ExpiryStep::default() {}
    assert_eq!(
        yard.cli(&["ZRANGE", EXPIRING, "0", "-1"]),
        "early",
        "what can be late is remembered, no more"
    );
}

#[tokio::test]
async fn a_task_without_a_time_to_begin_by_costs_nothing() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 3, "p", |_| "t".into()).await;
    yard.fill(State::Scheduled, 1, "s", |_| "t".into()).await;
    yard.cli(&["ZADD", "asynq:{q}:scheduled", "1", "s00000"]);
    assert_eq!(yard.broker.forward(&yard.queue).await.expect("Redis answers").moved, 1);
    assert_eq!(yard.cli(&["EXISTS", EXPIRING]), "0");
    assert_eq!(yard.search(&mut ExpirySearch::default()).await, ExpiryStep::default());
}

#[tokio::test]
async fn a_scheduled_tasks_time_counts_from_when_it_is_due() {
    let yard = Yard::new().await;
    let mut search = ExpirySearch::default();
    let later = yard.broker.now() + SignedDuration::from_secs(60);
    yard.broker.enqueue(&yard.due_to_begin("a", -1), Some(later)).await.expect("stored");
    assert_eq!(yard.noted(), 1);
    yard.search(&mut search).await;
    assert_eq!((yard.noted(), yard.count(State::Scheduled).await), (0, 1), "it does not wait to begin yet");
    // As a program would have left it that knows of no such list.
    yard.cli(&["ZADD", "asynq:{q}:scheduled", "1", "a"]);
    yard.broker.forward(&yard.queue).await.expect("Redis answers");
    assert_eq!(yard.noted(), 1);
    assert_eq!(yard.search(&mut search).await.expired, 1);
    assert_eq!(yard.count(State::Archived).await, 1);
}

#[tokio::test]
async fn times_of_tasks_that_ended_are_forgotten_in_one_go() {
    let yard = Yard::new().await;
    yard.put((0..1000).map(|n| yard.due_to_begin(&format!("{n}"), 3600)).collect()).await;
    assert_eq!(yard.noted(), 1000);
    yard.broker
        .bulk(&yard.queue, BulkVerb::Delete, &Selection::of(State::Pending), |_| {})
        .await
        .expect("deleted");
    let mut search = ExpirySearch::default();
    // All of those looked at have ended, so it goes on at once, until fewer are left than it looks at.
    let mut steps = 1;
    while yard.search(&mut search).await.more {
        steps += 1;
        assert!(steps <= 20, "{} of 1000 are left", yard.noted());
    }
    assert!(yard.noted() < 100, "{} of 1000 after {steps} steps", yard.noted());
}

#[tokio::test]
async fn the_time_of_a_task_that_has_lost_its_meaning_is_forgotten() {
    let yard = Yard::new().await;
    yard.put(vec![Message { retried: 1, ..yard.due_to_begin("tried", -5) }]).await;
    assert_eq!(yard.noted(), 1);
    assert_eq!(yard.search(&mut ExpirySearch::default()).await, ExpiryStep::default());
    assert_eq!((yard.noted(), yard.count(State::Pending).await), (0, 1));
}

#[tokio::test]
async fn the_time_of_a_task_that_runs_is_kept_for_a_while() {
    let yard = Yard::new().await;
    let mut search = ExpirySearch::default();
    yard.put(vec![yard.due_to_begin("runs", 1)]).await;
    assert_eq!(yard.claim(1).await.len(), 1);
    until(Duration::from_secs(5), "it is late", async || {
        yard.broker.now().as_millisecond() > noted_at(&yard)
    })
    .await;
    yard.search(&mut search).await;
    let ahead = noted_at(&yard) - yard.broker.now().as_millisecond();
    assert!((500_000..=600_000).contains(&ahead), "looked at again in {ahead} ms");
}

/// When the only time that is noted is over.
fn noted_at(yard: &Yard) -> i64 {
    yard.cli(&["ZRANGE", EXPIRING, "0", "0", "WITHSCORES"]).lines().nth(1).expect("one").parse().expect("ms")
}

#[tokio::test]
async fn a_search_ends_and_leaves_alone_what_stands_nowhere() {
    let yard = Yard::new().await;
    yard.put(vec![yard.due_to_begin("lost", -1)]).await;
    yard.cli(&["LREM", "asynq:{q}:pending", "1", "lost"]);
    yard.fill(State::Pending, 10, "p", |_| "t".into()).await;
    let mut search = ExpirySearch::default();
    yard.search(&mut search).await;
    yard.search(&mut search).await;
    assert!(noted_at(&yard) > yard.broker.now().as_millisecond() + 500_000);
    assert_eq!(yard.search(&mut search).await, ExpiryStep::default());
}

#[tokio::test]
async fn the_task_of_a_tick_is_to_begin_by_the_time_its_schedule_names() {
    let bench = Bench::new().await;
    let entry = edited(entry("a", "@yearly"), 1, |entry| {
        entry.template.headers.insert(EXPIRES_HEADER.to_owned(), "4000000000".to_owned());
    });
    bench.scheduler.apply(&entry).await.expect("apply");
    let tick = bench.due_since("a", Duration::from_secs(5));
    bench.fire_until("the tick", |ticks| !ticks.is_empty()).await;
    let noted = bench.cli(&["ZRANGE", EXPIRING, "0", "-1", "WITHSCORES"]);
    assert_eq!(noted, format!("a-{}\n4000000000000", tick.as_second()));
}
