//! `cron` on schedules in force.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::Owner;
use cronmill::schedule::{Concurrency, Entry};
use cronmill::scheduler::Scheduler;
use cronmill::task::{Message, QueueName};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, entry};
use crate::support::until;

const LIMIT: Duration = Duration::from_secs(20);

/// The queue of the entries that tests make.
fn reports() -> QueueName {
    QueueName::new("reports").expect("valid")
}

/// Moves the entry's next tick into the past and fires until it is accounted for.
async fn fire(stage: &Stage, entry: &Entry) {
    let nominal = stage.broker.now().as_second() - 2;
    stage.redis.cli([
        "HSET",
        &format!("cronmill:{{reports}}:entry:{}", entry.uid),
        "next",
        &nominal.to_string(),
    ]);
    stage.redis.cli(["ZADD", "cronmill:{reports}:due", &(nominal * 1000).to_string(), &entry.uid]);
    let stop = CancellationToken::new();
    let scheduler = Scheduler::new(stage.broker.clone(), Owner::new("h", 1, "r"));
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { scheduler.run(stop).await }
    });
    let before = stage.broker.ticks(&reports(), &entry.uid, 100).await.expect("ticks").len();
    until(LIMIT, "the tick is accounted for", async || {
        stage.broker.ticks(&reports(), &entry.uid, 100).await.expect("ticks").len() > before
    })
    .await;
    stop.cancel();
    running.await.expect("joined");
}

#[tokio::test]
async fn schedules_are_listed_with_all_that_is_known() {
    let stage = Stage::new().await;
    let mut suspended = entry("shop", "b", "@hourly");
    suspended.suspend = true;
    suspended.timing.time_zone = None;
    suspended.concurrency = Concurrency::Allow;
    stage.put(&suspended).await;
    stage.put(&entry("shop", "a", "0 0 29 2 *")).await;
    stage.put(&entry("bill", "z", "0 0 31 2 *")).await;
    stage.broker.fault_entry(&reports(), "uid-bill-z", "0.1.x", "not this revision").await.expect("asked");
    let list = stage.run(&["cron", "ls", "-o", "json"]).json();
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert_eq!(
        list[1],
        json!({
            "uid": "uid-shop-a", "queue": "reports", "namespace": "shop", "name": "a", "cluster": "test",
            "schedules": ["0 0 29 2 *"], "timeZone": "Asia/Shanghai",
            "daylightSaving": {"gap": "After", "overlap": "First"}, "jitterSeconds": 0,
            "concurrencyPolicy": "Forbid", "catchUp": "Latest", "startingDeadlineSeconds": null,
            "suspend": false, "taskType": "report", "lastTime": null,
            "nextTime": list[1]["nextTime"], "waitingTime": null, "outcomes": {}, "fault": null,
        })
    );
    assert!(list[1]["nextTime"].as_str().expect("it fires").ends_with("-02-28T16:00:00Z"));
    assert_eq!(
        (&list[0]["nextTime"], &list[2]["timeZone"], &list[2]["suspend"]),
        (&json!(null), &json!("UTC"), &json!(true))
    );

    let table = stage.run(&["cron", "ls"]).done();
    let heads: Vec<_> = table.lines().next().expect("headings").split_whitespace().collect();
    assert_eq!(
        heads,
        ["NAME", "SCHEDULE", "ZONE", "QUEUE", "SUSPENDED", "LAST", "NEXT", "OUTCOMES", "FAULT"]
    );
    assert!(table.lines().nth(3).expect("three").starts_with("shop/b  @hourly"), "{table}");
    assert!(!table.contains('\u{1b}'), "colour is for terminals: {table}");
}

#[tokio::test]
async fn a_schedule_set_aside_shows_its_fault() {
    let stage = Stage::new().await;
    let broken = entry("shop", "broken", "@hourly");
    stage.put(&broken).await;
    let revision = broken.revision.to_string();
    let is_aside = stage.broker.fault_entry(&reports(), &broken.uid, &revision, "no such queue").await;
    assert!(is_aside.expect("asked"));
    stage.put(&entry("shop", "newer", "@hourly")).await;
    stage.redis.cli(["HSET", "cronmill:{reports}:entry:uid-shop-newer", "body", r#"{"format":99}"#]);
    let list = stage.run(&["cron", "ls", "-o", "json"]).json();
    let faults: Vec<_> = list.as_array().expect("a list").iter().map(|one| one["fault"].as_str()).collect();
    let newer = "read schedule entry: its format 99 is newer than 2, the newest known here";
    assert_eq!(faults, [Some(newer), Some("no such queue")]);
    assert!(list[0].get("name").is_none(), "{list}");
}

#[tokio::test]
async fn more_schedules_than_a_page_are_all_listed_and_found() {
    let stage = Stage::new().await;
    for n in 0..1003 {
        stage.put(&entry("shop", &format!("job-{n:04}"), "@hourly")).await;
    }
    let list = stage.run(&["cron", "ls", "-o", "json"]).json();
    let names: Vec<String> =
        list.as_array().expect("a list").iter().map(|one| one["name"].to_string()).collect();
    let expected: Vec<String> = (0..1003).map(|n| format!("\"job-{n:04}\"")).collect();
    assert_eq!(names, expected);
    stage.run(&["cron", "next", "job-1002", "-o", "json"]).json();
}

#[tokio::test]
async fn the_next_times_of_an_object_are_its_own() {
    let stage = Stage::new().await;
    stage.put(&entry("shop", "report", "0 9 * * *")).await;
    let times = |flags: &[&str]| {
        let words =
            ["cron", "next", "shop/report", "--after", "2026-11-23T00:00:00Z", "--count", "1", "-o", "json"];
        stage.run(&[&words[..], flags].concat()).json()
    };
    assert_eq!(times(&[]), json!(["2026-11-23T01:00:00Z"]));
    assert_eq!(times(&["--tz", "UTC"]), json!(["2026-11-23T09:00:00Z"]));
}

#[tokio::test]
async fn a_name_that_fits_none_or_several_is_refused() {
    let stage = Stage::new().await;
    stage.put(&entry("shop", "report", "0 9 * * *")).await;
    stage.put(&entry("bill", "report", "0 9 * * *")).await;
    for words in
        [&["cron", "next", "nightly"][..], &["cron", "ticks", "nightly"], &["cron", "trigger", "nightly"]]
    {
        let message = stage.run(words).refused(1);
        assert_eq!(message, "no schedule named nightly; known: bill/report, shop/report\n");
        let words = [&words[..2], &["report"]].concat();
        let message = stage.run(&words).refused(2);
        assert!(message.contains("report fits 2 schedules: bill/report of"), "{message}");
    }
    let message = stage.run(&["cron", "ticks", "*/20"]).refused(2);
    assert!(message.contains("name or namespace/name"), "{message}");
}

#[tokio::test]
async fn the_ledger_is_shown_newest_first() {
    let stage = Stage::new().await;
    let report = entry("shop", "report", "@hourly");
    stage.put(&report).await;
    let ran = stage.run(&["cron", "ticks", "report"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "no tick yet\n"));
    fire(&stage, &report).await;
    // The first run still lives, so this one is skipped.
    fire(&stage, &report).await;
    let ticks = stage.run(&["cron", "ticks", "shop/report", "-o", "json"]).json();
    let outcomes: Vec<_> =
        ticks.as_array().expect("a list").iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, ["skipped-overlap", "enqueued"]);
    let enqueued = &ticks[1];
    let id = enqueued["taskId"].as_str().expect("it has a task");
    assert_eq!((&enqueued["count"], &enqueued["from"]), (&json!(1), &enqueued["to"]));
    assert_eq!(stage.show("reports", id)["state"], "pending");
    let one = stage.run(&["cron", "ticks", "report", "--limit", "1", "-o", "json"]).json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    let table = stage.run(&["cron", "ticks", "report"]).done();
    assert!(table.contains("skipped-overlap") && table.contains(id), "{table}");
    let listed = stage.run(&["cron", "ls", "-o", "json"]).json();
    assert_eq!(listed[0]["outcomes"], json!({"enqueued": 1, "skipped-overlap": 1}));
    assert_eq!(listed[0]["lastTime"], enqueued["from"]);
}

#[tokio::test]
async fn a_trigger_enqueues_now_and_leaves_the_schedule_alone() {
    let stage = Stage::new().await;
    let report = entry("shop", "report", "0 9 * * *");
    stage.put(&report).await;
    let schedule = |stage: &Stage| stage.redis.cli(["HGETALL", "cronmill:{reports}:entry:uid-shop-report"]);
    let before = schedule(&stage);
    let ids: Vec<String> =
        (0..2).map(|_| stage.run(&["cron", "trigger", "shop/report"]).done().trim_end().to_owned()).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(schedule(&stage), before);
    let task = stage.show("reports", &ids[0]);
    assert!(ids[0].starts_with("uid-shop-report-manual-"), "{ids:?}");
    assert_eq!(
        (&task["type"], &task["state"], &task["payload"]["text"], &task["timeoutSeconds"], &task["maxRetry"]),
        (&json!("report"), &json!("pending"), &json!(r#"{"all":true}"#), &json!(60), &json!(3))
    );
    let headers = &task["headers"];
    assert_eq!((&headers["tenant"], &headers["cronmill-schedule"]), (&json!("acme"), &json!("shop/report")));
    let nominal: jiff::Timestamp =
        headers["cronmill-nominal-time"].as_str().expect("it has one").parse().expect("a time");
    assert!((stage.broker.now().as_second() - nominal.as_second()).abs() <= 5, "{nominal}");
    // What the stored message says, not our own reading of it.
    let raw = stage.redis.cli_bytes(["HGET", &format!("asynq:{{reports}}:t:{}", ids[0]), "msg"]);
    assert_eq!(Message::decode(Bytes::from(raw)).expect("a message").id, ids[0]);
}
