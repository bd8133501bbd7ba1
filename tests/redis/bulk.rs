//! Many tasks at once: bounded, repeatable, interruptible, exact.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use cronmill::broker::{Broker, BrokerError, BulkVerb, CancelThen, Handled, NewTask, Page, Selection};
use cronmill::task::{Message, State};
use tokio_util::sync::CancellationToken;

use crate::yard::Yard;

const VERBS: [BulkVerb; 3] = [BulkVerb::Run, BulkVerb::Archive, BulkVerb::Delete];

/// Every third task is of this type.
fn kind(n: usize) -> String {
    if n.is_multiple_of(3) { "third".to_owned() } else { "other".to_owned() }
}

/// Where tasks are after the verb.
fn target(verb: BulkVerb) -> Option<State> {
    match verb {
        BulkVerb::Run => Some(State::Pending),
        BulkVerb::Archive => Some(State::Archived),
        BulkVerb::Delete | BulkVerb::Cancel(_) => None,
    }
}

impl Yard {
    async fn bulk(&self, verb: BulkVerb, selection: &Selection) -> Handled {
        let mut last = 0;
        let handled = self.broker.bulk(&self.queue, verb, selection, |done| last = done).await.expect("bulk");
        assert_eq!(last, handled.tasks, "the last that is heard is the whole");
        handled
    }
}

#[tokio::test]
async fn every_verb_handles_all_of_a_state_and_finds_nothing_the_second_time() {
    const COUNT: usize = 230;
    for verb in VERBS {
        for state in verb.states().iter().copied() {
            let yard = Yard::new().await;
            yard.fill(state, COUNT, "a", kind).await;
            let selection = Selection::of(state);
            let counted = yard.broker.count_selected(&yard.queue, &selection, |_| {}).await.expect("count");
            assert_eq!(counted, COUNT as u64, "{verb:?} {state}");
            let handled = yard.bulk(verb, &selection).await;
            assert_eq!(handled, Handled { tasks: COUNT as u64, orphans: 0 }, "{verb:?} {state}");
            yard.assert_sound();
            assert_eq!(yard.count(state).await, 0);
            match target(verb) {
                Some(target) => assert_eq!(yard.count(target).await, COUNT as u64, "{verb:?} {state}"),
                None => assert_eq!(yard.server.keys("asynq:{q}:t:*"), Vec::<String>::new()),
            }
            assert_eq!(yard.bulk(verb, &selection).await, Handled::default(), "{verb:?} {state}");
            assert_eq!(yard.cli(&["EXISTS", "asynq:{q}:groups"]), "0");
        }
    }
}

#[tokio::test]
async fn a_type_is_handled_in_every_state_and_the_others_stay() {
    const COUNT: usize = 400;
    let thirds = (0..COUNT).filter(|n| n % 3 == 0).count() as u64;
    for verb in VERBS {
        for state in verb.states().iter().copied() {
            let yard = Yard::new().await;
            yard.fill(state, COUNT, "a", kind).await;
            let selection = Selection::of(state).kind("third");
            let counted = yard.broker.count_selected(&yard.queue, &selection, |_| {}).await.expect("count");
            assert_eq!(counted, thirds, "{verb:?} {state}");
            let handled = yard.bulk(verb, &selection).await;
            assert_eq!(handled, Handled { tasks: thirds, orphans: 0 }, "{verb:?} {state}");
            yard.assert_sound();
            let left = Selection::of(state);
            let left = yard.broker.count_selected(&yard.queue, &left, |_| {}).await.expect("count");
            assert_eq!(left, COUNT as u64 - thirds, "{verb:?} {state}");
            assert_eq!(yard.bulk(verb, &selection).await, Handled::default(), "{verb:?} {state}");
            assert_eq!(yard.bulk(verb, &Selection::of(state).kind("none")).await, Handled::default());
        }
    }
}

#[tokio::test]
async fn what_cannot_be_done_with_a_state_is_refused() {
    let yard = Yard::new().await;
    for (verb, state) in [
        (BulkVerb::Run, State::Pending),
        (BulkVerb::Run, State::Active),
        (BulkVerb::Archive, State::Archived),
        (BulkVerb::Delete, State::Active),
        (BulkVerb::Cancel(CancelThen::Stop), State::Pending),
    ] {
        let refused = yard.broker.bulk(&yard.queue, verb, &Selection::of(state), |_| {}).await;
        assert!(matches!(refused, Err(BrokerError::BulkState { .. })), "{verb:?} {state}: {refused:?}");
    }
}

#[tokio::test]
async fn when_a_type_leaves_the_pending_list_no_other_task_waits_longer() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 1000, "a", kind).await;
    let places = |yard: &Yard| -> BTreeMap<String, usize> {
        yard.pending().into_iter().enumerate().map(|(place, id)| (id, place)).collect()
    };
    let before = places(&yard);
    yard.bulk(BulkVerb::Delete, &Selection::of(State::Pending).kind("third")).await;
    let after = places(&yard);
    assert_eq!(after.len(), before.len() - 334);
    for (id, place) in &after {
        assert!(place <= &before[id], "{id} was {} and is {place} from the front", before[id]);
    }
}

#[tokio::test]
async fn a_group_is_handled_and_the_others_stay() {
    let yard = Yard::new().await;
    yard.fill(State::Aggregating, 35, "a", kind).await;
    let handled = yard.bulk(BulkVerb::Delete, &Selection::of(State::Aggregating).group("g1")).await;
    assert_eq!(handled.tasks, 10);
    yard.assert_sound();
    let groups = yard.broker.groups(&yard.queue, 10).await.expect("groups");
    let groups: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.tasks)).collect();
    assert_eq!(groups, [("g0", 10), ("g2", 10), ("g3", 5)]);
    // A name that another program left behind goes with any step over the groups.
    yard.cli(&["SADD", "asynq:{q}:groups", "stale"]);
    yard.bulk(BulkVerb::Run, &Selection::of(State::Aggregating)).await;
    yard.assert_sound();
    assert_eq!(yard.cli(&["EXISTS", "asynq:{q}:groups"]), "0");
}

#[tokio::test]
async fn deleting_many_gives_back_the_locks_they_hold_and_no_others() {
    for (state, selection) in [
        (State::Pending, Selection::of(State::Pending)),
        (State::Pending, Selection::of(State::Pending).kind("third")),
        (State::Archived, Selection::of(State::Archived)),
        (State::Archived, Selection::of(State::Archived).kind("third")),
        (State::Aggregating, Selection::of(State::Aggregating)),
    ] {
        let yard = Yard::new().await;
        yard.fill(state, 60, "a", kind).await;
        let held = [yard.lock("a00000"), yard.lock("a00057")];
        // Another task has the lock by now.
        let taken = yard.lock("a00003");
        yard.cli(&["SET", &taken, "somebody"]);
        yard.bulk(BulkVerb::Delete, &selection).await;
        yard.assert_sound();
        assert_eq!(yard.cli(&["EXISTS", &held[0], &held[1]]), "0", "{selection:?}");
        assert_eq!(yard.cli(&["GET", &taken]), "somebody", "{selection:?}");
    }
}

#[tokio::test]
async fn a_lock_that_stands_in_the_message_only_is_given_back() {
    let yard = Yard::new().await;
    let lock = "asynq:{q}:unique:t:x";
    let message = Message { unique_key: lock.into(), ..yard.message("a", "t") };
    yard.broker.enqueue(&message, None).await.expect("enqueue");
    yard.cli(&["SET", lock, "a"]);
    yard.cli(&["DEL", "asynq:{q}:pending"]);
    yard.cli(&["ZADD", "asynq:{q}:g:g", "1", "a"]);
    yard.cli(&["SADD", "asynq:{q}:groups", "g"]);
    yard.cli(&["HSET", "asynq:{q}:t:a", "state", "aggregating", "group", "g"]);
    yard.cli(&["HDEL", "asynq:{q}:t:a", "unique_key"]);
    assert_eq!(yard.bulk(BulkVerb::Delete, &Selection::of(State::Aggregating)).await.tasks, 1);
    assert_eq!(yard.cli(&["EXISTS", lock]), "0");
}

/// Starts a step and drops it as soon as `until` tasks are handled.
async fn interrupted(yard: &Yard, verb: BulkVerb, selection: &Selection, until: u64) -> u64 {
    let stop = CancellationToken::new();
    let mut done = 0;
    let hear = |handled| {
        done = handled;
        if handled >= until {
            stop.cancel();
        }
    };
    stop.run_until_cancelled(yard.broker.bulk(&yard.queue, verb, selection, hear)).await;
    done
}

#[tokio::test]
async fn a_step_interrupted_anywhere_leaves_each_task_in_one_place_and_goes_on() {
    const COUNT: usize = 900;
    for verb in VERBS {
        for state in verb.states().iter().copied() {
            for kind_of in [None, Some("third")] {
                let yard = Yard::new().await;
                yard.fill(state, COUNT, "a", kind).await;
                let mut selection = Selection::of(state);
                selection.kind = kind_of.map(str::to_owned);
                let all = yard.broker.count_selected(&yard.queue, &selection, |_| {}).await.expect("count");
                let mut told = 0;
                for until in [1, 60, 20] {
                    told += interrupted(&yard, verb, &selection, until).await;
                    yard.assert_sound();
                }
                assert!(told > 0 && told < all, "{verb:?} {state}: {told} of {all} at the interruptions");
                let rest = yard.bulk(verb, &selection).await.tasks;
                yard.assert_sound();
                // What was under way at an interruption was done and not told, or not done.
                assert!(
                    told + rest <= all && all <= told + rest + 3 * 50,
                    "{verb:?} {state}: {told}, {rest} of {all}"
                );
                let left = yard.broker.count_selected(&yard.queue, &selection, |_| {}).await.expect("count");
                assert_eq!(left, 0, "{verb:?} {state}");
            }
        }
    }
}

#[tokio::test]
async fn tasks_that_come_after_the_step_began_are_left() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 120, "a", kind).await;
    let later = (yard.broker.now().as_nanosecond() + 3_600_000_000_000).to_string();
    // One at the front, as a worker that drains puts it, and one at the back.
    for id in ["a00000", "a00119"] {
        yard.cli(&["HSET", &format!("asynq:{{q}}:t:{id}"), "pending_since", &later]);
    }
    let handled = yard.bulk(BulkVerb::Delete, &Selection::of(State::Pending)).await;
    assert_eq!(handled.tasks, 118);
    assert_eq!(yard.pending(), ["a00000", "a00119"]);
    yard.assert_sound();
}

#[tokio::test]
async fn an_id_without_a_task_is_taken_out_and_one_that_runs_is_let_alone() {
    let yard = Yard::new().await;
    yard.fill(State::Pending, 3, "a", kind).await;
    assert_eq!(yard.claim(1).await.len(), 1);
    yard.cli(&["LPUSH", "asynq:{q}:pending", "ghost", "a00000"]);
    let handled = yard.bulk(BulkVerb::Delete, &Selection::of(State::Pending)).await;
    assert_eq!(handled, Handled { tasks: 2, orphans: 2 });
    yard.assert_sound();
    assert_eq!(yard.count(State::Active).await, 1);
    yard.cli(&["ZADD", "asynq:{q}:retry", "1", "ghost"]);
    let handled = yard.bulk(BulkVerb::Run, &Selection::of(State::Retry)).await;
    assert_eq!(handled, Handled { tasks: 0, orphans: 1 });
    yard.assert_sound();
}

#[tokio::test]
async fn all_that_run_are_asked_to_cancel_or_those_of_a_type() {
    let yard = Yard::new().await;
    yard.fill(State::Active, 150, "a", kind).await;
    let mut heard = yard.broker.cancellations().await.expect("subscribed");
    let asked =
        yard.bulk(BulkVerb::Cancel(CancelThen::Stop), &Selection::of(State::Active).kind("third")).await;
    assert_eq!(asked.tasks, 50);
    let mut ids = BTreeSet::new();
    while ids.len() < 50 {
        let told = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.expect("within time");
        ids.insert(told.expect("the connection stands"));
    }
    let thirds: BTreeSet<String> = (0..150).filter(|n| n % 3 == 0).map(|n| format!("a{n:05}")).collect();
    assert_eq!(ids, thirds);
    // It arrives though nobody listened: it stands in the task.
    for (id, mark) in [("a00000", "stop"), ("a00001", "")] {
        let found = yard.cli(&["HGET", &format!("asynq:{{q}}:t:{id}"), "cronmill_cancel"]);
        assert_eq!(found.rsplit('|').next(), Some(mark), "{id}");
    }
    assert_eq!(yard.bulk(BulkVerb::Cancel(CancelThen::Stop), &Selection::of(State::Active)).await.tasks, 150);
}

/// Claims and ends tasks until told to stop; returns the ids.
async fn work(yard: &Yard, stop: &CancellationToken) -> Vec<String> {
    let mut ended = Vec::new();
    while !stop.is_cancelled() {
        for message in yard.claim(8).await {
            let id = message.id.clone();
            assert!(yard.done(message).await, "{id} was taken from its worker");
            ended.push(id);
        }
        tokio::task::yield_now().await;
    }
    ended
}

async fn produce(broker: &Broker, yard: &Yard, from: usize) {
    for n in from..from + 60 {
        let message = yard.message(&format!("b{n:05}"), &kind(n));
        broker.enqueue_batch(&[NewTask::new(message, None)]).await.remove(0).expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_workers_and_producers_nothing_is_lost_doubled_or_miscounted() {
    for kind_of in [None, Some("third")] {
        let yard = Yard::new().await;
        yard.fill(State::Pending, 3000, "a", kind).await;
        let stop = CancellationToken::new();
        let mut selection = Selection::of(State::Pending);
        selection.kind = kind_of.map(str::to_owned);
        let step = async {
            let mut deleted = 0;
            for round in 0..5 {
                let (handled, ()) = tokio::join!(
                    yard.bulk(BulkVerb::Delete, &selection),
                    produce(&yard.broker, &yard, round * 60)
                );
                deleted += handled.tasks;
            }
            stop.cancel();
            deleted
        };
        let (deleted, ended) = tokio::join!(step, work(&yard, &stop));
        yard.assert_sound();
        let left = yard.count(State::Pending).await;
        let distinct: BTreeSet<_> = ended.iter().collect();
        assert_eq!(distinct.len(), ended.len(), "a task ran twice");
        assert!(deleted > 0 && !ended.is_empty(), "{deleted} deleted, {} ended", ended.len());
        assert_eq!(deleted + ended.len() as u64 + left, 3300, "{kind_of:?}");
    }
}

#[tokio::test]
async fn pages_by_place_neither_skip_nor_repeat_while_tasks_come_and_go() {
    let yard = Yard::new().await;
    yard.fill(State::Scheduled, 500, "a", |_| "t".to_owned()).await;
    let due = yard.cli(&["ZSCORE", "asynq:{q}:scheduled", "a00250"]);
    // All at one time: only the ids tell places apart.
    for n in 0..500 {
        yard.cli(&["ZADD", "asynq:{q}:scheduled", &due, &format!("a{n:05}")]);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = yard.broker.tasks_after(&yard.queue, State::Scheduled, None, after.as_ref(), 40).await;
        let (tasks, next) = page.expect("a page");
        // What was seen goes, the last one first of all; by rank, as many others would be skipped.
        let step = tasks.iter().rev().try_for_each(|task| {
            seen.push(task.id.clone());
            match yard.cli(&["ZREM", "asynq:{q}:scheduled", &task.id]).as_str() {
                "1" => ControlFlow::Continue(()),
                _ => ControlFlow::Break(task.id.clone()),
            }
        });
        assert_eq!(step, ControlFlow::Continue(()));
        match next {
            Some(next) => after = Some(next.to_string().parse().expect("as it was written")),
            None => break,
        }
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (500, 500));
    let page = Page { offset: 0, limit: 10 };
    assert_eq!(yard.broker.tasks(&yard.queue, State::Scheduled, page).await.expect("page"), []);
}
