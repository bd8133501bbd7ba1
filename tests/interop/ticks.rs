//! Schedules whose tasks Go runs, and asynq's own Scheduler beside ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::Owner;
use cronmill::schedule::{Concurrency, Entry, TickOutcome};
use cronmill::scheduler::{Scheduler, Tick};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{SOON, Stage};
use crate::support::entry::changed;
use crate::support::peers::events;
use crate::support::{self, eventually, until};

/// A schedule in the default queue whose task sleeps for so long.
fn entry(schedule: &str, concurrency: Concurrency, ms: u32) -> Entry {
    changed(support::entry::entry("a", schedule), |entry| {
        entry.concurrency = concurrency;
        entry.template.kind = "sleep".into();
        entry.template.queue = "default".into();
        entry.template.payload = Bytes::from(format!(r#"{{"ms":{ms}}}"#));
    })
}

/// A process that fires. Its loop ends with it.
struct Firing {
    scheduler: Scheduler,
    ticks: Arc<Mutex<Vec<Tick>>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Firing {
    fn start(stage: &Stage, run: &str) -> Self {
        let ticks = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ticks);
        let scheduler = Scheduler::new(stage.broker.clone(), Owner::new("host", 1, run))
            .on_tick(move |tick| seen.lock().expect("no panic under the lock").push(tick.clone()));
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (scheduler, stop) = (scheduler.clone(), stop.clone());
            async move { scheduler.run(stop).await }
        });
        Self { scheduler, ticks, stop, running }
    }

    /// Puts a schedule into force that is not due for a while.
    async fn apply(&self, concurrency: Concurrency, ms: u32) {
        self.scheduler.apply(&entry("@yearly", concurrency, ms)).await.expect("Redis answers");
    }

    fn outcomes(&self) -> Vec<TickOutcome> {
        self.ticks.lock().expect("no panic under the lock").iter().map(|tick| tick.outcome).collect()
    }

    /// Lets a tick of so many seconds ago be due, and waits until so many have ended; returns its task's id.
    async fn tick(&self, stage: &Stage, ago_s: i64, ended: usize) -> String {
        let nominal = stage.broker.now().as_second() - ago_s;
        stage.redis.cli(["HSET", "cronmill:{default}:entry:a", "next", &nominal.to_string()]);
        stage.redis.cli(["ZADD", "cronmill:{default}:due", &(nominal * 1000).to_string(), "a"]);
        let what = format!("{ended} ticks have ended");
        until(SOON, &what, async || self.outcomes().len() >= ended).await;
        format!("a-{nominal}")
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("it ends in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_runs_once_in_go_while_two_processes_fire() {
    let stage = Stage::new().await;
    let go = stage.go_worker().await;
    let firing = [Firing::start(&stage, "one"), Firing::start(&stage, "two")];
    let every_second = entry("* * * * * *", Concurrency::Allow, 1);
    firing[0].scheduler.apply(&every_second).await.expect("Redis answers");
    // Go deletes what it has run, so the id is free again: what keeps the tick from firing twice is the entry.
    until(SOON, "four have run", async || events(&go, "end").len() >= 4).await;
    let ticks: Vec<_> = firing.iter().flat_map(|one| one.ticks.lock().expect("no panic").clone()).collect();
    for one in firing {
        one.stop().await;
    }
    // A machine that stands still for a second makes a tick late; then it is said so, and does not run.
    let is_late = |tick: &&Tick| tick.outcome == TickOutcome::TooLate;
    let late: u64 = ticks.iter().filter(is_late).map(|tick| tick.count).sum();
    let is_once = |tick: &Tick| tick.outcome == TickOutcome::Enqueued || is_late(&tick);
    assert!(ticks.iter().all(is_once), "{ticks:?}");
    let ids: Vec<_> =
        events(&go, "start").iter().map(|start| start["id"].as_str().expect("an id").to_owned()).collect();
    let seconds: BTreeSet<i64> =
        ids.iter().map(|id| id.trim_start_matches("a-").parse().expect("a second")).collect();
    assert_eq!(seconds.len(), ids.len(), "no tick ran twice: {ids:?}");
    let (first, last) = (seconds.first().expect("some"), seconds.last().expect("some"));
    assert!(
        last - first < (seconds.len() as u64 + late).cast_signed(),
        "and none is missing: {ids:?}, {late} late"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forbid_holds_while_go_runs_the_task_and_while_it_waits_for_a_retry() {
    let stage = Stage::new().await;
    let go = stage.peers.worker(&["--retry-delay", "10m"]).await;
    let firing = Firing::start(&stage, "one");
    firing.apply(Concurrency::Forbid, 600_000).await;
    let id = firing.tick(&stage, 9, 1).await;
    let runs = async |times: usize| {
        until(SOON, "it runs in Go", async || events(&go, "start").len() == times).await;
    };
    runs(1).await;
    firing.tick(&stage, 6, 2).await;
    stage.cancelled_by_go(&id, "retry").await;
    // It is not waited for: the tick lets it run at once.
    firing.tick(&stage, 3, 3).await;
    runs(2).await;
    let skipped = TickOutcome::SkippedOverlap;
    assert_eq!(firing.outcomes(), [TickOutcome::Enqueued, skipped, skipped]);
    assert!(events(&go, "start").iter().all(|start| start["id"] == id.as_str()));
    firing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gos_inspector_archives_holds_no_schedule_back() {
    let stage = Stage::new().await;
    let firing = Firing::start(&stage, "one");
    firing.apply(Concurrency::Forbid, 1).await;
    let first = firing.tick(&stage, 9, 1).await;
    firing.tick(&stage, 6, 2).await;
    stage.peers.inspect(&["archive", "default", &first]);
    let third = firing.tick(&stage, 3, 3).await;
    let (ran, skipped) = (TickOutcome::Enqueued, TickOutcome::SkippedOverlap);
    assert_eq!(firing.outcomes(), [ran, skipped, ran]);
    assert_eq!([stage.state(&first), stage.state(&third)], ["archived", "pending"]);
    firing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_stops_what_go_runs_and_it_is_not_retried() {
    let stage = Stage::new().await;
    let go = stage.peers.worker(&["--retry-delay", "1s"]).await;
    let firing = Firing::start(&stage, "one");
    firing.apply(Concurrency::Replace, 600_000).await;
    let first = firing.tick(&stage, 9, 1).await;
    until(SOON, "it runs in Go", async || events(&go, "start").len() == 1).await;
    let second = firing.tick(&stage, 3, 2).await;
    assert_eq!(firing.outcomes(), [TickOutcome::Enqueued, TickOutcome::Enqueued]);
    assert_eq!(stage.state(&first), "", "taken out of Go's retries");
    let start = eventually(SOON, "the next one runs", async || events(&go, "start").into_iter().nth(1)).await;
    assert_eq!(start["id"], second.as_str());
    firing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_runs_what_was_taken_back_before_it_began_and_ours_does_not() {
    for is_go in [true, false] {
        let stage = Stage::new().await;
        let firing = Firing::start(&stage, "one");
        firing.apply(Concurrency::Replace, 1).await;
        let first = firing.tick(&stage, 9, 1).await;
        let second = firing.tick(&stage, 3, 2).await;
        firing.stop().await;
        // The mark is ours alone: to Go's tools both are as good as any.
        let waiting: Vec<_> = stage.listed("pending").iter().map(|task| task["id"].clone()).collect();
        assert_eq!(waiting, [first.as_str(), second.as_str()]);
        let ran: Vec<String> = if is_go {
            let go = stage.go_worker().await;
            stage.reaches(&second, "").await;
            stage.reaches(&first, "").await;
            events(&go, "start").iter().map(|start| start["id"].as_str().expect("an id").to_owned()).collect()
        } else {
            let ours = stage.our_worker();
            stage.reaches(&second, "").await;
            stage.reaches(&first, "").await;
            ours.seen().into_iter().map(|seen| seen.id).collect()
        };
        let expected = if is_go { vec![first, second] } else { vec![second] };
        assert_eq!(ran.iter().collect::<BTreeSet<_>>(), expected.iter().collect(), "Go: {is_go}");
    }
}

// Nothing compares: each of asynq's schedulers enqueues each of its ticks, whatever else runs or lives.
#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_of_go_enqueue_each_tick_twice_and_ours_beside_them_once() {
    let stage = Stage::new().await;
    let go = [stage.peers.scheduler(&[]).await, stage.peers.scheduler(&[]).await];
    let firing = Firing::start(&stage, "one");
    let every_second = entry("* * * * * *", Concurrency::Forbid, 1);
    firing.scheduler.apply(&every_second).await.expect("Redis answers");
    until(Duration::from_secs(30), "all have had three ticks", async || {
        go.iter().all(|one| events(one, "enqueued").len() >= 3) && firing.outcomes().len() >= 3
    })
    .await;
    firing.stop().await;
    let by_go = |one| events(one, "enqueued").len();
    let pending = stage.listed("pending");
    let of = |kind| pending.iter().filter(|task| task["type"] == kind).count();
    assert!(of("ok") >= 6 && of("ok") <= by_go(&go[0]) + by_go(&go[1]), "{pending:?}");
    assert_eq!(of("sleep"), 1, "ours is forbidden to overlap: {pending:?}");
}

/// Go's tools know nothing of our schedules, and what they do to a queue leaves them alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_outlives_what_gos_inspector_deletes() {
    let stage = Stage::new().await;
    let firing = Firing::start(&stage, "one");
    firing.apply(Concurrency::Allow, 1).await;
    firing.tick(&stage, 9, 1).await;
    stage.peers.inspect(&["delete-queue", "default", "true"]);
    let second = firing.tick(&stage, 3, 2).await;
    assert_eq!(firing.outcomes(), [TickOutcome::Enqueued, TickOutcome::Enqueued]);
    assert_eq!(stage.state(&second), "pending");
    firing.stop().await;
}
