//! Our schedules as asynq's Inspector sees them.

use std::time::{Duration, Instant};

use cronmill::broker::{Broker, Owner};
use cronmill::scheduler::Scheduler;
use cronmill::task::QueueName;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::full::entry;
use crate::stage::{SOON, Stage};
use crate::support::until;

struct Firing {
    scheduler: Scheduler,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Firing {
    fn start(broker: &Broker, name: &str) -> Self {
        let scheduler = Scheduler::new(broker.clone(), Owner::new("host", 1, name));
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (scheduler, stop) = (scheduler.clone(), stop.clone());
            async move { scheduler.run(stop).await }
        });
        Self { scheduler, stop, running }
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("it ends in order");
    }
}

fn entries(stage: &Stage) -> Vec<Value> {
    stage.peers.inspect(&["entries"]).as_array().expect("a list").clone()
}

fn specs(stage: &Stage) -> Vec<Value> {
    entries(stage).iter().map(|entry| entry["spec"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_reads_our_schedules_with_their_times_and_options() {
    let stage = Stage::new().await;
    let firing = Firing::start(&stage.broker, "a");
    let mut hard = entry("hard", "0 9 * * *", "f(x) \"y\": ü", 1);
    hard.template.deadline_s = Some(3600);
    for entry in [&entry("often", "* * * * * *", "default", 1), &hard] {
        firing.scheduler.apply(entry).await.expect("valid");
    }
    until(SOON, "both are listed, and one has fired", async || {
        let entries = entries(&stage);
        entries.len() == 2 && entries[1]["previous_s"].as_i64() > Some(0)
    })
    .await;
    let entries = entries(&stage);
    let now = stage.broker.now();
    let (hard, often) = (&entries[0], &entries[1]);
    let next = cronmill::schedule::Timing::parse(&entry("hard", "0 9 * * *", "q", 1).timing).expect("valid");
    let next = next.next_after(now).expect("daily");
    let deadline = (next + Duration::from_secs(3600)).strftime("Deadline(%a %b %e %H:%M:%S UTC %Y)");
    assert_eq!(hard["next_s"], next.as_second());
    assert!(hard["previous_s"].as_i64() <= Some(0), "it has not fired: {hard}");
    let options = [
        r#"Queue("f(x) \"y\": ü")"#,
        "MaxRetry(3)",
        "Timeout(30m0s)",
        "Retention(1h0m0s)",
        &deadline.to_string(),
    ];
    assert_eq!(hard["options"], json!(options));
    assert_eq!((&hard["type"], &hard["payload"]), (&json!("hard"), &json!(r#"{"shop":"main"}"#)));
    assert_eq!(hard["spec"], "CRON_TZ=Asia/Shanghai 0 9 * * *");
    let age = |time: &Value| now.as_second() - time.as_i64().expect("a number");
    assert!(
        (-2..=3).contains(&age(&often["next_s"])) && (-1..=4).contains(&age(&often["previous_s"])),
        "{often}"
    );
    firing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_reads_the_tasks_that_each_schedule_enqueued() {
    let stage = Stage::new().await;
    let firing = Firing::start(&stage.broker, "a");
    let often = entry("often", "* * * * * *", "default", 1);
    firing.scheduler.apply(&often).await.expect("valid");
    until(SOON, "three are told", async || {
        stage.peers.inspect(&["events", &often.uid]).as_array().expect("a list").len() >= 3
    })
    .await;
    let told = stage.peers.inspect(&["events", &often.uid]);
    let queue = QueueName::new("default").expect("valid");
    let ledger = stage.broker.ticks(&queue, &often.uid, 100).await.expect("Redis answers");
    let ours: Vec<_> = ledger
        .iter()
        .map(|record| json!({"id": record.task_id, "enqueued_s": record.at.as_second()}))
        .collect();
    let told = told.as_array().expect("a list");
    assert!(ours.windows(told.len()).any(|some| some == told), "{told:?} of {ours:?}");
    for event in told {
        let id = event["id"].as_str().expect("a text");
        assert_eq!(stage.inspected(id)["id"], id, "it was enqueued");
    }
    firing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_are_listed_within_two_seconds_and_an_end_at_once() {
    let stage = Stage::new().await;
    let firing = Firing::start(&stage.broker, "a");
    let scheduler = &firing.scheduler;
    for name in ["a", "b"] {
        scheduler.apply(&entry(name, "0 9 * * *", "default", 1)).await.expect("valid");
    }
    let listed = |expected: &'static [&'static str]| {
        let stage = &stage;
        async move {
            let began = Instant::now();
            until(SOON, "the list is right", async || specs(stage) == expected).await;
            began.elapsed()
        }
    };
    listed(&["CRON_TZ=Asia/Shanghai 0 9 * * *", "CRON_TZ=Asia/Shanghai 0 9 * * *"]).await;
    let edited = entry("a", "0 10 * * *", "default", 2);
    scheduler.apply(&edited).await.expect("valid");
    let mut slowest = listed(&["CRON_TZ=Asia/Shanghai 0 10 * * *", "CRON_TZ=Asia/Shanghai 0 9 * * *"]).await;
    let queue = QueueName::new("default").expect("valid");
    scheduler.remove(&queue, &edited.uid, "test").await.expect("Redis answers");
    slowest = slowest.max(listed(&["CRON_TZ=Asia/Shanghai 0 9 * * *"]).await);
    println!("slowest change: {} ms", slowest.as_millis());
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    firing.end().await;
    assert_eq!(specs(&stage), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_processes_lists_the_schedules_and_another_takes_over() {
    let stage = Stage::new().await;
    let firing = [Firing::start(&stage.broker, "a"), Firing::start(&stage.broker, "b")];
    let first = entry("first", "0 9 * * *", "default", 1);
    firing[0].scheduler.apply(&first).await.expect("valid");
    until(SOON, "it is listed", async || entries(&stage).len() == 1).await;
    assert_eq!(stage.redis.keys("asynq:schedulers:*"), ["asynq:schedulers:{cronmill}"]);
    // Without a word: its future is dropped.
    let holder = stage.redis.cli(["GET", "cronmill:schedulers:{cronmill}:turn"]);
    let dead = usize::from(holder.ends_with(":b"));
    firing[dead].running.abort();
    let died = Instant::now();
    let second = entry("second", "0 9 * * *", "default", 1);
    firing[1 - dead].scheduler.apply(&second).await.expect("valid");
    until(SOON, "the other one goes on", async || entries(&stage).len() == 2).await;
    println!("taken over after {} ms", died.elapsed().as_millis());
    assert!(died.elapsed() < Duration::from_secs(6), "{:?}", died.elapsed());
    assert_eq!(stage.redis.keys("asynq:schedulers:*"), ["asynq:schedulers:{cronmill}"]);
    for one in firing {
        one.stop.cancel();
    }
}
