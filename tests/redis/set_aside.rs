//! Keys that hold something else when a tick is due: the tick stays, others fire, and it fires once the key is right.

use std::time::Duration;

use cronmill::broker::{Finish, FinishOutcome, Owner, unique_key};
use cronmill::schedule::{Concurrency, Entry, TickOutcome};
use cronmill::scheduler::Tick;
use cronmill::task::QueueName;
use jiff::SignedDuration;

use crate::schedule::{Bench, edited, entry};

/// What the entry's last task is doing when the tick is due.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// There is none.
    Nothing,
    Runs,
    Retries,
    Snoozes,
    Aggregates,
}

/// An entry with that uid, that its tick needs the keys of.
fn needing(uid: &str, concurrency: Concurrency, is_unique: bool, group: &str) -> Entry {
    edited(entry(uid, "@yearly"), 1, |entry| {
        entry.concurrency = concurrency;
        entry.template.unique_s = is_unique.then_some(60);
        entry.template.group = group.to_owned();
        entry.format = entry.lowest_format();
    })
}

impl Bench {
    /// Fires a tick before, and brings its task where it is to be.
    async fn bring(&self, entry: &Entry, before: Before) {
        if before == Before::Nothing {
            return;
        }
        let mut first = entry.clone();
        if before == Before::Aggregates {
            first.template.group = "before".to_owned();
        }
        self.scheduler.apply(&edited(first, 0, |_| {})).await.expect("apply");
        self.due_since("a", Duration::from_secs(600));
        self.fire_until("the tick before", |ticks| !ticks.is_empty()).await;
        if before == Before::Aggregates {
            return;
        }
        let task = self.claim().await.expect("the tick before");
        let at = self.broker.now() + SignedDuration::from_hours(1);
        let outcome = match before {
            Before::Retries => FinishOutcome::Retry { at, counts_as_failure: true },
            Before::Snoozes => FinishOutcome::Snooze { at, reason: String::new() },
            _ => return,
        };
        let message = task.body.expect("decodes").into();
        let finish = Finish { message, outcome, leased_until: task.leased_until };
        self.broker.finish(&self.queue, &Owner::new("h", 2, "w"), &[finish]).await.expect("finish");
    }

    fn field(&self, name: &str) -> String {
        self.cli(&["HGET", "cronmill:{q}:entry:a", name])
    }
}

/// A tick of the entry `a` is due while a key holds something else; so is one of `b`, which does not need it.
async fn survives(key: &str, ill: Entry, well: Entry, before: Before) {
    let what = format!("{key}, {before:?}");
    let bench = Bench::new().await;
    bench.bring(&ill, before).await;
    bench.scheduler.apply(&ill).await.expect("apply");
    bench.scheduler.apply(&well).await.expect("apply");
    let fired = bench.outcomes().len();
    let aside = format!("{key}:aside");
    let is_there = bench.cli(&["EXISTS", key]) == "1";
    if is_there {
        bench.cli(&["RENAME", key, &aside]);
    }
    bench.cli(&if key.contains(":unique:") { ["RPUSH", key, "x"] } else { ["SET", key, "x"] });
    let tick = bench.due_since("a", Duration::from_secs(60));
    bench.due_since("b", Duration::from_secs(50));
    bench.fire_until(&what, |ticks| ticks.len() > fired).await;
    assert_eq!(bench.ticks.lock().expect("lock")[fired].schedule, "shop/b", "{what}");

    // Nothing of it was done, and it says why.
    assert_eq!(bench.field("next"), tick.as_second().to_string(), "{what}");
    let fault = bench.field("fault");
    assert!(fault.starts_with(&format!("the key {key} holds a ")), "{what}: {fault}");
    assert_eq!(bench.cli(&["EXISTS", &format!("asynq:{{q}}:t:a-{}", tick.as_second())]), "0", "{what}");
    let due = bench.cli(&["ZSCORE", "cronmill:{q}:due", "a"]).parse::<i64>().expect("a time");
    let wait_ms = due - bench.broker.now().as_millisecond();
    assert!((1..=5_000).contains(&wait_ms), "{what}: looked at again in {wait_ms} ms");

    bench.cli(&["DEL", key]);
    if is_there {
        bench.cli(&["RENAME", &aside, key]);
    }
    bench.cli(&["ZADD", "cronmill:{q}:due", "1000", "a"]);
    let is_told = |told: &Tick| told.schedule == "shop/a" && told.nominal == tick;
    bench.fire_until(&what, |ticks| ticks.iter().any(is_told)).await;
    assert_eq!(bench.field("fault"), "", "{what}");
    assert_eq!(bench.broker.ticks(&bench.queue, "a", 1).await.expect("its ledger")[0].to, tick, "{what}");
}

#[tokio::test]
async fn no_tick_is_lost_to_a_key_that_holds_something_else() {
    let plain = |uid| needing(uid, Concurrency::Allow, false, "");
    let grouped = |uid| needing(uid, Concurrency::Allow, false, "g");
    let unique = needing("a", Concurrency::Allow, true, "");
    let lock = unique_key(&QueueName::new("q").expect("valid"), "t", Some(b"{}"));
    survives("asynq:{q}:pending", plain("a"), grouped("b"), Before::Nothing).await;
    survives("cronmill:{q}:ticks:a", plain("a"), plain("b"), Before::Nothing).await;
    survives("asynq:{q}:g:g", grouped("a"), plain("b"), Before::Nothing).await;
    survives("asynq:{q}:groups", grouped("a"), plain("b"), Before::Nothing).await;
    survives("cronmill:{q}:locks", unique.clone(), plain("b"), Before::Nothing).await;
    survives(&lock, unique, plain("b"), Before::Nothing).await;
}

#[tokio::test]
async fn nothing_is_taken_back_for_a_tick_that_cannot_fire() {
    let other = || needing("b", Concurrency::Allow, false, "");
    let replace = |group| needing("a", Concurrency::Replace, false, group);
    let forbid = needing("a", Concurrency::Forbid, false, "");
    survives("asynq:{q}:scheduled", replace(""), other(), Before::Snoozes).await;
    survives("asynq:{q}:retry", replace(""), other(), Before::Retries).await;
    survives("asynq:{q}:retry", forbid, other(), Before::Retries).await;
    survives("cronmill:{q}:holders", replace(""), other(), Before::Runs).await;
    // The task before waits in another group than that of the tick.
    survives("asynq:{q}:g:before", replace("g"), other(), Before::Aggregates).await;
}

/// What nobody can read in an entry costs no tick: its counters begin anew, and of its tasks none is known.
#[tokio::test]
async fn noise_in_an_entrys_counters_and_tasks_loses_no_tick() {
    let bench = Bench::new().await;
    let forbid = needing("a", Concurrency::Forbid, false, "");
    bench.scheduler.apply(&forbid).await.expect("apply");
    for (n, living) in ["\u{1}", "\u{92}\u{1}\u{c0}", "text", ""].into_iter().enumerate() {
        bench.cli(&["HSET", "cronmill:{q}:entry:a", "n:enqueued", "many", "living", living]);
        bench.due_since("a", Duration::from_secs(60 - n as u64));
        bench.fire_until("the tick", |ticks| ticks.len() > n).await;
        assert_eq!(bench.outcomes()[n], (TickOutcome::Enqueued, 1), "{living:?}");
        assert_eq!(bench.field("n:enqueued"), "1", "{living:?}");
    }
}
