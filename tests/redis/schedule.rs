//! Schedules in Redis: what fires, what is accounted for, what an edit and a deletion do.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cronmill::broker::{
    Broker, ClaimRequest, Claimed, DemandReader, Extended, Finish, FinishOutcome, FireRequest, FireVerdict,
    NextTick, Owner, tick_task,
};
use cronmill::schedule::{CatchUp, Concurrency, Entry, TickOutcome};
use cronmill::scheduler::{Applied, Scheduler, Tick};
use cronmill::task::QueueName;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::support::entry::changed;
pub(crate) use crate::support::entry::entry;
use crate::support::{RedisServer, until};

/// How long anything may take before a test gives up on it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) server: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) scheduler: Scheduler,
    pub(crate) ticks: Arc<Mutex<Vec<Tick>>>,
    pub(crate) queue: QueueName,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::start();
        let broker = Broker::connect(&server.endpoint()).await.expect("connect");
        let ticks = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ticks);
        let scheduler = Scheduler::new(broker.clone(), Owner::new("h", 1, "r"))
            .on_tick(move |tick| seen.lock().expect("lock").push(tick.clone()));
        Self { server, broker, scheduler, ticks, queue: QueueName::new("q").expect("valid") }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.server.cli(args)
    }

    /// Moves the entry's next tick into the past, as if nobody had fired for that long.
    pub(crate) fn due_since(&self, uid: &str, ago: Duration) -> Timestamp {
        let nominal = self.broker.now().as_second() - ago.as_secs() as i64;
        self.cli(&["HSET", &format!("cronmill:{{q}}:entry:{uid}"), "next", &nominal.to_string()]);
        self.cli(&["ZADD", "cronmill:{q}:due", &(nominal * 1000).to_string(), uid]);
        Timestamp::from_second(nominal).expect("valid")
    }

    /// Runs the firing loop until the condition holds.
    pub(crate) async fn fire_until(&self, what: &str, condition: impl Fn(&[Tick]) -> bool) {
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (scheduler, stop) = (self.scheduler.clone(), stop.clone());
            async move { scheduler.run(stop).await }
        });
        until(LIMIT, what, async || condition(&self.ticks.lock().expect("lock"))).await;
        stop.cancel();
        running.await.expect("joined");
    }

    pub(crate) fn outcomes(&self) -> Vec<(TickOutcome, u64)> {
        self.ticks.lock().expect("lock").iter().map(|tick| (tick.outcome, tick.count)).collect()
    }

    pub(crate) async fn claim(&self) -> Option<cronmill::broker::ClaimedTask> {
        let owner = Owner::new("h", 2, "w");
        let sequence = Timestamp::now().as_nanosecond() as u64;
        let request = ClaimRequest {
            queue: &self.queue,
            owner: &owner,
            sequence,
            max: 1,
            lease: Duration::from_secs(30),
        };
        match self.broker.claim(&request).await.expect("claim") {
            Claimed::Tasks(mut tasks) => tasks.pop(),
            _ => None,
        }
    }
}

pub(crate) fn edited(entry: Entry, generation: u64, change: impl FnOnce(&mut Entry)) -> Entry {
    changed(entry, |entry| {
        change(entry);
        entry.revision.generation = generation;
    })
}

#[tokio::test]
async fn a_tick_is_enqueued_once_and_recorded() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("a", "* * * * * *")).await.expect("apply");
    bench.fire_until("three ticks", |ticks| ticks.len() >= 3).await;
    let fired = bench.outcomes().len();
    assert!(bench.outcomes().iter().all(|outcome| *outcome == (TickOutcome::Enqueued, 1)));
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:pending"]), fired.to_string());
    assert_eq!(bench.cli(&["LLEN", "cronmill:{q}:ticks:a"]), fired.to_string());
    let records = bench.broker.ticks(&bench.queue, "a", 10).await.expect("ledger");
    let seconds: HashSet<_> = records.iter().map(|record| record.from).collect();
    assert_eq!(seconds.len(), fired, "each second once");
    let ids: HashSet<_> =
        bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), fired);
}

#[tokio::test]
async fn entries_of_another_cluster_are_left_to_it_and_hold_up_none_of_ours() {
    let bench = Bench::new().await;
    for n in 0..450 {
        let theirs =
            changed(entry(&format!("theirs-{n}"), "0 0 1 1 *"), |entry| entry.cluster = "other".into());
        bench.scheduler.apply(&theirs).await.expect("apply");
        bench.due_since(&theirs.uid, Duration::from_secs(3600));
    }
    bench.scheduler.apply(&entry("ours", "* * * * * *")).await.expect("apply");
    let bench = Bench { scheduler: bench.scheduler.clone().for_cluster("test"), ..bench };
    bench.fire_until("ours fires", |ticks| ticks.len() >= 3).await;
    assert!(bench.ticks.lock().expect("lock").iter().all(|tick| tick.schedule == "shop/ours"));
    let an_hour_ago = (bench.broker.now().as_millisecond() - 3_600_000).to_string();
    assert_eq!(bench.cli(&["ZCOUNT", "cronmill:{q}:due", "-inf", &an_hour_ago]), "450");
}

#[tokio::test]
async fn of_several_missed_ticks_the_latest_runs_and_each_is_accounted_for() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("a", "@every 10s")).await.expect("apply");
    let first = bench.due_since("a", Duration::from_secs(45));
    let first = Timestamp::from_second(first.as_second() / 10 * 10).expect("valid");
    bench.cli(&["HSET", "cronmill:{q}:entry:a", "next", &first.as_second().to_string()]);
    bench.fire_until("the latest", |ticks| ticks.len() >= 2).await;
    let outcomes = bench.outcomes();
    assert_eq!(outcomes[0].0, TickOutcome::TooLate);
    assert!((3..=5).contains(&outcomes[0].1), "{outcomes:?}");
    assert_eq!(outcomes[1], (TickOutcome::Enqueued, 1));
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:pending"]), "1");
}

#[tokio::test]
async fn without_catch_up_a_missed_tick_does_not_run() {
    let bench = Bench::new().await;
    let missed = edited(entry("a", "@yearly"), 1, |entry| entry.catch_up = CatchUp::None);
    bench.scheduler.apply(&missed).await.expect("apply");
    bench.due_since("a", Duration::from_secs(60));
    bench.fire_until("too late", |ticks| !ticks.is_empty()).await;
    assert_eq!(bench.outcomes(), [(TickOutcome::TooLate, 1)]);
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:pending"]), "0");
}

#[tokio::test]
async fn a_suspended_schedule_accounts_for_its_ticks_and_runs_none() {
    let bench = Bench::new().await;
    bench
        .scheduler
        .apply(&edited(entry("a", "* * * * * *"), 1, |entry| entry.suspend = true))
        .await
        .expect("apply");
    bench.fire_until("two ticks", |ticks| ticks.len() >= 2).await;
    assert!(bench.outcomes().iter().all(|(outcome, _)| *outcome == TickOutcome::Suspended));
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:pending"]), "0");
    assert_eq!(bench.cli(&["LLEN", "cronmill:{q}:ticks:a"]), "1", "a run of one outcome is one record");
    let total: u64 = bench.ticks.lock().expect("lock").iter().map(|tick| tick.count).sum();
    assert_eq!(bench.broker.ticks(&bench.queue, "a", 1).await.expect("ledger")[0].count, total);
}

#[tokio::test]
async fn forbid_skips_while_a_run_lives_and_pulls_it_out_of_retry() {
    let bench = Bench::new().await;
    let forbid = edited(entry("a", "@yearly"), 1, |entry| entry.concurrency = Concurrency::Forbid);
    bench.scheduler.apply(&forbid).await.expect("apply");
    bench.due_since("a", Duration::from_secs(3));
    bench.fire_until("the first", |ticks| ticks.len() == 1).await;
    let task = bench.claim().await.expect("a task");
    let owner = Owner::new("h", 2, "w");
    let at = bench.broker.now() + SignedDuration::from_secs(3600);
    let retry = FinishOutcome::Retry { at, counts_as_failure: true };
    let leased_until = task.leased_until;
    let finish = Finish { message: task.body.expect("decodes").into(), outcome: retry, leased_until };
    bench.broker.finish(&bench.queue, &owner, &[finish]).await.expect("finish");
    bench.due_since("a", Duration::from_secs(2));
    bench.fire_until("the second", |ticks| ticks.len() == 2).await;
    assert_eq!(bench.outcomes(), [(TickOutcome::Enqueued, 1), (TickOutcome::SkippedOverlap, 1)]);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), task.id);
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:retry"]), "0");
}

#[tokio::test]
async fn replace_waits_for_the_running_task_and_drops_the_waiting_one() {
    let bench = Bench::new().await;
    let replace = edited(entry("a", "@yearly"), 1, |entry| entry.concurrency = Concurrency::Replace);
    bench.scheduler.apply(&replace).await.expect("apply");
    bench.due_since("a", Duration::from_secs(9));
    bench.fire_until("the first", |ticks| ticks.len() == 1).await;
    // Pending: taken back at once, the next runs at once.
    bench.due_since("a", Duration::from_secs(6));
    bench.fire_until("the second", |ticks| ticks.len() == 2).await;
    let task = bench.claim().await.expect("the revoked one is handed out, marked");
    assert!(task.revoked);
    let running = bench.claim().await.expect("the second");
    assert!(!running.revoked);
    // Active: the third waits until the second has ended.
    let third = bench.due_since("a", Duration::from_secs(3));
    let owner = Owner::new("h", 2, "w");
    let ending = async {
        let ids = [running.id.clone()];
        let is_revoked = async || {
            let extended = bench.broker.extend(&bench.queue, &owner, &ids, Duration::from_secs(30)).await;
            matches!(extended.expect("extend")[0], Extended::Revoked(_))
        };
        until(LIMIT, "it is revoked", is_revoked).await;
        let retry = FinishOutcome::Retry { at: bench.broker.now(), counts_as_failure: true };
        let message = running.body.as_ref().expect("decodes").clone().into();
        let finish = Finish { message, outcome: retry, leased_until: running.leased_until };
        bench.broker.finish(&bench.queue, &owner, &[finish]).await.expect("finish");
    };
    tokio::join!(bench.fire_until("the third", |ticks| ticks.len() == 3), ending);
    let last = bench.ticks.lock().expect("lock")[2].clone();
    assert_eq!((last.outcome, last.nominal), (TickOutcome::Enqueued, third));
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:retry"]), "0", "what was replaced is not retried");
}

#[tokio::test]
async fn an_edit_that_leaves_the_times_alone_keeps_the_next_tick() {
    let bench = Bench::new().await;
    let original = entry("a", "@yearly");
    bench.scheduler.apply(&original).await.expect("apply");
    let next = bench.cli(&["HGET", "cronmill:{q}:entry:a", "next"]);
    assert_eq!(bench.scheduler.apply(&original).await.expect("apply"), Applied::Same);
    let other = edited(original.clone(), 2, |entry| entry.template.kind = "u".into());
    assert_eq!(bench.scheduler.apply(&other).await.expect("apply"), Applied::Written);
    assert_eq!(bench.cli(&["HGET", "cronmill:{q}:entry:a", "next"]), next);
    assert!(matches!(bench.scheduler.apply(&original).await.expect("apply"), Applied::Superseded(_)));
    let moved = edited(original, 3, |entry| entry.timing.schedules = vec!["0 0 1 7 *".into()]);
    bench.scheduler.apply(&moved).await.expect("apply");
    assert_ne!(bench.cli(&["HGET", "cronmill:{q}:entry:a", "next"]), next);
}

/// Once, the list of living tasks kept an entry that had fired from being read again after an edit.
#[tokio::test]
async fn a_schedule_that_has_fired_can_be_edited_and_fires_on() {
    let bench = Bench::new().await;
    let every_second = entry("a", "* * * * * *");
    bench.scheduler.apply(&every_second).await.expect("apply");
    bench.fire_until("the first", |ticks| !ticks.is_empty()).await;
    let suspended = edited(every_second, 2, |entry| entry.suspend = true);
    bench.scheduler.apply(&suspended).await.expect("apply");
    bench
        .fire_until("a suspended tick", |ticks| {
            ticks.iter().any(|tick| tick.outcome == TickOutcome::Suspended)
        })
        .await;
}

#[tokio::test]
async fn an_edit_of_the_times_lets_the_due_tick_fire_first() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("a", "@yearly")).await.expect("apply");
    let due = bench.due_since("a", Duration::from_secs(1));
    bench.scheduler.apply(&edited(entry("a", "0 0 1 7 *"), 2, |_| {})).await.expect("apply");
    let ticks = bench.ticks.lock().expect("lock").clone();
    assert_eq!(ticks.len(), 1);
    assert_eq!((ticks[0].nominal, ticks[0].outcome), (due, TickOutcome::Enqueued));
}

#[tokio::test]
async fn a_deleted_schedule_never_fires_and_others_of_the_cluster_are_swept() {
    let bench = Bench::new().await;
    for uid in ["keep", "drop", "foreign"] {
        let cluster = if uid == "foreign" { "other" } else { "test" };
        bench
            .scheduler
            .apply(&edited(entry(uid, "@yearly"), 1, |e| e.cluster = cluster.into()))
            .await
            .expect("apply");
    }
    bench.due_since("drop", Duration::from_secs(5));
    let keep = HashSet::from([("q".to_owned(), "keep".to_owned())]);
    assert_eq!(bench.scheduler.sweep("test", &keep).await.expect("sweep"), 1);
    assert_eq!(bench.cli(&["EXISTS", "cronmill:{q}:entry:drop"]), "0");
    assert_eq!(bench.cli(&["ZCARD", "cronmill:{q}:due"]), "2");
    bench.due_since("keep", Duration::from_secs(1));
    bench.fire_until("the kept one", |ticks| !ticks.is_empty()).await;
    assert_eq!(bench.ticks.lock().expect("lock")[0].schedule, "shop/keep");
}

#[tokio::test]
async fn a_move_to_another_queue_carries_the_next_tick() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("a", "@yearly")).await.expect("apply");
    let due = bench.due_since("a", Duration::from_secs(2));
    let moved = edited(entry("a", "@yearly"), 2, |entry| entry.template.queue = "r".into());
    bench.scheduler.apply_moved(&moved, &bench.queue).await.expect("move");
    assert_eq!(bench.cli(&["HGET", "cronmill:{r}:entry:a", "next"]), due.as_second().to_string());
    assert_eq!(bench.cli(&["EXISTS", "cronmill:{q}:entry:a", "cronmill:{q}:due"]), "0");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_set_aside_and_the_rest_fires() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("bad", "@yearly")).await.expect("apply");
    bench.scheduler.apply(&entry("good", "@yearly")).await.expect("apply");
    bench.cli(&["HSET", "cronmill:{q}:entry:bad", "body", "{not json", "rev", "9.9.x"]);
    bench.due_since("bad", Duration::from_secs(3));
    bench.due_since("good", Duration::from_secs(2));
    bench.fire_until("the good one", |ticks| !ticks.is_empty()).await;
    assert_eq!(bench.ticks.lock().expect("lock")[0].schedule, "shop/good");
    assert!(bench.cli(&["HGET", "cronmill:{q}:entry:bad", "fault"]).contains("entry"));
    assert_eq!(bench.cli(&["ZSCORE", "cronmill:{q}:due", "bad"]), "inf");
}

#[tokio::test]
async fn an_entry_set_aside_goes_on_from_its_tick_once_it_is_written_anew() {
    let bench = Bench::new().await;
    let original = entry("bad", "@yearly");
    bench.scheduler.apply(&original).await.expect("apply");
    bench.cli(&["HSET", "cronmill:{q}:entry:bad", "body", "{not json", "rev", "9.9.x"]);
    let due = bench.due_since("bad", Duration::from_secs(3));
    assert_eq!(set_aside(&bench).await, "inf");
    // The version that its object has all the same: written anew, since what stands there is no good.
    bench.cli(&["HSET", "cronmill:{q}:entry:bad", "rev", &original.revision.to_string()]);
    assert_eq!(bench.scheduler.apply(&original).await.expect("apply"), Applied::Written);
    assert_eq!(bench.cli(&["HEXISTS", "cronmill:{q}:entry:bad", "fault"]), "0");
    bench.fire_until("the tick at which it was set aside", |ticks| ticks.len() == 1).await;
    let tick = bench.ticks.lock().expect("lock")[0].clone();
    assert_eq!((tick.outcome, tick.nominal), (TickOutcome::Enqueued, due));
}

#[tokio::test]
async fn the_tick_at_which_an_entry_was_set_aside_has_failed_when_its_times_change() {
    let bench = Bench::new().await;
    let original = entry("bad", "@yearly");
    bench.scheduler.apply(&original).await.expect("apply");
    bench.cli(&["HSET", "cronmill:{q}:entry:bad", "body", "{not | json", "rev", "9.9.x"]);
    let due = bench.due_since("bad", Duration::from_secs(3));
    assert_eq!(set_aside(&bench).await, "inf");
    let mut daily = edited(original, 1, |entry| entry.timing.schedules = vec!["@daily".into()]);
    daily.revision.epoch = 10;
    assert_eq!(bench.scheduler.apply(&daily).await.expect("apply"), Applied::Written);
    let records = bench.broker.ticks(&bench.queue, "bad", 10).await.expect("ticks");
    let record = records[0].clone();
    assert_eq!((record.outcome, record.from, record.count), (TickOutcome::Failed, due, 1));
    assert!(record.reason.expect("it says why").contains("entry"), "the reason is that of the fault");
    assert_eq!(bench.cli(&["HGET", "cronmill:{q}:entry:bad", "n:failed"]), "1");
}

/// Runs the firing loop until the entry `bad` is set aside; its score in `due`.
async fn set_aside(bench: &Bench) -> String {
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (scheduler, stop) = (bench.scheduler.clone(), stop.clone());
        async move { scheduler.run(stop).await }
    });
    let is_aside = async || bench.cli(&["HEXISTS", "cronmill:{q}:entry:bad", "fault"]) == "1";
    until(LIMIT, "it is set aside", is_aside).await;
    stop.cancel();
    running.await.expect("joined");
    bench.cli(&["ZSCORE", "cronmill:{q}:due", "bad"])
}

#[tokio::test]
async fn writes_that_redis_lost_are_fired_again_under_the_same_id() {
    let bench = Bench::new().await;
    bench.scheduler.apply(&entry("a", "@yearly")).await.expect("apply");
    let due = bench.due_since("a", Duration::from_secs(2));
    bench.fire_until("the first", |ticks| ticks.len() == 1).await;
    // What a failover to a replica that lags behind looks like: enqueue and advance are gone together.
    bench.cli(&[
        "DEL",
        "asynq:{q}:pending",
        &format!("asynq:{{q}}:t:a-{}", due.as_second()),
        "cronmill:{q}:ticks:a",
    ]);
    bench.cli(&["HSET", "cronmill:{q}:entry:a", "next", &due.as_second().to_string()]);
    bench.cli(&["ZADD", "cronmill:{q}:due", &due.as_millisecond().to_string(), "a"]);
    bench.fire_until("the second", |ticks| ticks.len() == 2).await;
    assert_eq!(bench.outcomes()[1], (TickOutcome::Refired, 1));
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), format!("a-{}", due.as_second()));
}

#[tokio::test]
async fn a_forecast_counts_what_will_run_and_not_what_is_suspended() {
    let bench = Bench::new().await;
    for (uid, suspend) in [("a", false), ("b", true), ("c", false)] {
        bench
            .scheduler
            .apply(&edited(entry(uid, "@yearly"), 1, |entry| entry.suspend = suspend))
            .await
            .expect("apply");
    }
    let now = bench.broker.now().as_millisecond();
    for (uid, due) in [("a", now + 500), ("b", now + 100), ("c", now + 60_000)] {
        bench.cli(&["ZADD", "cronmill:{q}:due", &due.to_string(), uid]);
    }
    let mut reader = DemandReader::new(bench.broker.clone());
    let read = reader.read(&[(bench.queue.clone(), Duration::from_secs(5))]).await.expect("Redis answers");
    let demand = read.into_iter().next().expect("one queue").expect("it can be read");
    assert_eq!(demand.ticks_soon, 1);
    assert_eq!(demand.next_tick.map(|tick| tick.as_millisecond()), Some(now + 500));
}

/// The ids of tasks would hide a second firing; the comparison in the script is what forbids it.
#[tokio::test]
async fn the_same_request_to_fire_is_stale_the_second_time() {
    let bench = Bench::new().await;
    let original = entry("a", "@yearly");
    bench.scheduler.apply(&original).await.expect("apply");
    let tick = bench.due_since("a", Duration::from_secs(5));
    let next = tick + SignedDuration::from_hours(1);
    let at = |nominal| NextTick { nominal, due: nominal };
    let request = FireRequest {
        uid: "a".into(),
        revision: original.revision.to_string(),
        expected: Some(tick),
        next: Some(at(next)),
        run: Some((at(tick), tick_task(&bench.queue, &original, tick))),
        outcome: TickOutcome::Enqueued,
        passed: Vec::new(),
    };
    let first = bench.broker.fire(&bench.queue, std::slice::from_ref(&request)).await.expect("fire");
    assert!(matches!(first[0], FireVerdict::Ran { outcome: TickOutcome::Enqueued, .. }), "{first:?}");
    let again = bench.broker.fire(&bench.queue, std::slice::from_ref(&request)).await.expect("fire");
    let stored = FireVerdict::Stale { revision: request.revision.clone(), next: Some(next) };
    assert_eq!(again, [stored]);
    let older = FireRequest { revision: "0.0.older".into(), expected: Some(next), ..request };
    let refused = bench.broker.fire(&bench.queue, &[older]).await.expect("fire");
    assert!(matches!(refused[0], FireVerdict::Stale { .. }), "{refused:?}");
    assert_eq!(bench.cli(&["LLEN", "cronmill:{q}:ticks:a"]), "1");
}
