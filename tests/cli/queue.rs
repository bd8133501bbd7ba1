//! `queue`, `server` and `stats`.

use std::time::Duration;

use cronmill::broker::{ArchiveLimits, Owner};
use cronmill::task::{ProtoTimestamp, QueueName, QueueWeight, ServerInfo, WorkerInfo};
use serde_json::json;

use crate::stage::{Stage, entry};

#[tokio::test]
async fn queues_are_listed_with_their_numbers() {
    let stage = Stage::new().await;
    let ran = stage.run(&["queue", "ls"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "no queues\n"));
    for flags in [&["-q", "low"][..], &["-q", "low", "--in", "1h"], &["-q", "critical"], &["-q", "critical"]]
    {
        stage.enqueue(flags);
    }
    stage.claim("critical", &Owner::new("h", 1, "w")).await;
    let list = stage.run(&["queue", "ls", "-o", "json"]).json();
    let mut low = list[1].clone();
    assert!(low["waitSeconds"].take().is_f64());
    assert_eq!(
        low,
        json!({
            "name": "low", "size": 2, "pending": 1, "active": 0, "scheduled": 1, "retry": 0, "archived": 0,
            "completed": 0, "aggregating": 0, "groups": 0, "archiveDropped": {"age": 0, "number": 0}, "processedToday": 0, "failedToday": 0,
            "processedTotal": 0, "failedTotal": 0, "unservedTypes": [], "waitSeconds": null, "paused": null,
        })
    );
    assert_eq!(
        (&list[0]["name"], &list[0]["active"], &list[0]["pending"]),
        (&json!("critical"), &json!(1), &json!(1))
    );
    let table = stage.run(&["queue", "ls"]).done();
    let cells: Vec<_> = table.lines().nth(2).expect("two queues").split_whitespace().collect();
    assert_eq!(cells[..9], ["low", "2", "1", "0", "1", "0", "0", "0", "0"]);
}

#[tokio::test]
async fn a_pause_holds_until_it_is_resumed() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "low"]);
    let ran = stage.run(&["queue", "pause", "low", "--reason", "migration"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "queue low is paused until somebody resumes it\n"));
    assert_eq!(stage.redis.cli(["EXISTS", "asynq:{low}:paused"]), "1");
    let paused = stage.run(&["queue", "ls", "-o", "json"]).json()[0]["paused"].clone();
    assert_eq!(
        (&paused["source"], &paused["reason"], &paused["until"]),
        (&json!("cli"), &json!("migration"), &json!(null))
    );
    let table = stage.run(&["queue", "ls"]).done();
    assert!(table.trim_end().ends_with("by cli: migration"), "{table}");
    assert_eq!(stage.run(&["stats", "-o", "json"]).json()["pausedQueues"], 1);

    let ran = stage.run(&["queue", "resume", "low"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "queue low is resumed\n"));
    assert_eq!(stage.redis.cli(["EXISTS", "asynq:{low}:paused"]), "0");
    let ran = stage.run(&["queue", "resume", "low"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "queue low was not paused\n"));
}

#[tokio::test]
async fn a_pause_with_an_end_is_lifted_by_keeping() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "low"]);
    stage.run(&["queue", "pause", "low", "--until", "2h"]).done();
    let until = stage.run(&["queue", "ls", "-o", "json"]).json()[0]["paused"]["until"].clone();
    let until: jiff::Timestamp = until.as_str().expect("a time").parse().expect("a time");
    let away = until.as_second() - stage.broker.now().as_second();
    assert!((7180..=7201).contains(&away), "{away}");
    // As if the two hours had passed.
    stage.redis.cli(["HSET", "cronmill:{low}:pause", "until", "1000"]);
    let low = QueueName::new("low").expect("valid");
    stage.broker.clean(&low, ArchiveLimits::default(), 0).await.expect("cleaned");
    assert_eq!(stage.run(&["queue", "ls", "-o", "json"]).json()[0]["paused"], json!(null));
}

#[tokio::test]
async fn a_pause_of_another_program_is_kept_and_can_be_lifted() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "low"]);
    stage.redis.cli(["SET", "asynq:{low}:paused", "1700000000"]);
    let message = stage.run(&["queue", "pause", "low"]).refused(1);
    assert_eq!(message, "queue low is paused by another program already; nothing changed\n");
    assert!(stage.run(&["queue", "ls"]).done().trim_end().ends_with("by another program"));
    stage.run(&["queue", "resume", "low"]).done();
    assert_eq!(stage.redis.cli(["EXISTS", "asynq:{low}:paused"]), "0");
}

#[tokio::test]
async fn a_wrong_queue_or_end_pauses_nothing() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "low"]);
    for verb in ["pause", "resume"] {
        assert_eq!(stage.run(&["queue", verb, "lo"]).refused(1), "no queue named lo; known: low\n");
    }
    for (until, part) in
        [("2020-01-01T00:00:00Z", "not in the future"), ("0s", "not in the future"), ("x", "RFC 3339")]
    {
        let message = stage.run(&["queue", "pause", "low", "--until", until]).refused(2);
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(stage.redis.keys("*pause*"), Vec::<String>::new());
}

#[tokio::test]
async fn workers_are_listed_with_what_they_run() {
    let stage = Stage::new().await;
    let ran = stage.run(&["server", "ls"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "no workers\n"));
    let started: jiff::Timestamp = "2026-11-23T00:00:00Z".parse().expect("a time");
    let info = ServerInfo {
        host: "host-1".into(),
        pid: 42,
        server_id: "s-1".into(),
        concurrency: 10,
        queues: vec![QueueWeight { queue: Some("low".into()), weight: Some(3) }],
        strict_priority: true,
        status: "active".into(),
        started: Some(started.into()),
        active_workers: 1,
    };
    let running = WorkerInfo {
        task_id: "t-1".into(),
        task_kind: "mail".into(),
        queue: "low".into(),
        started: Some(started.into()),
        deadline: Some(ProtoTimestamp::NEVER),
        ..WorkerInfo::default()
    };
    let life = Duration::from_secs(60);
    stage.broker.publish_server(&info, &[running], Some(&["mail".into()]), life).await.expect("published");
    let list = stage.run(&["server", "ls", "-o", "json"]).json();
    let expected = json!([{
        "id": "s-1", "host": "host-1", "pid": 42, "status": "active", "started": "2026-11-23T00:00:00Z",
        "concurrency": 10, "active": 1, "strictPriority": true, "queues": [{"name": "low", "weight": 3}],
        "types": ["mail"],
        "running": [{"taskId": "t-1", "type": "mail", "queue": "low", "started": "2026-11-23T00:00:00Z", "deadline": null}],
    }]);
    assert_eq!(list, expected);
    let table = stage.run(&["server", "ls"]).done();
    let cells: Vec<_> = table.lines().nth(1).expect("one").split_whitespace().take(6).collect();
    assert_eq!(cells, ["host-1", "42", "active", "1/10", "low=3", "strict"]);
    assert!(!table.contains("TYPES"), "{table}");
    let types = async |types: Option<&[String]>| {
        stage.broker.publish_server(&info, &[], types, life).await.expect("published");
        let wide = stage.run(&["server", "ls", "-o", "wide"]).done();
        let (heading, line) = wide.split_once('\n').expect("two lines");
        line[heading.find("TYPES").expect("a column")..].split("  ").next().expect("a cell").to_owned()
    };
    assert_eq!(types(Some(&["mail:".into(), "hello".into()])).await, "hello mail:");
    assert_eq!(types(None).await, "?", "it does not tell");
}

#[tokio::test]
async fn types_that_nobody_serves_are_listed_with_their_queue() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "low", "--id", "a"]);
    stage.enqueue(&["-q", "high"]);
    let low = QueueName::new("low").expect("valid");
    stage.broker.note_unserved(&low, "a", "strange").await.expect("noted");
    let list = stage.run(&["queue", "ls", "-o", "json"]).json();
    assert_eq!(
        (&list[0]["unservedTypes"], &list[1]["unservedTypes"]),
        (&json!([]), &json!(["strange"])),
        "{list}"
    );
    assert!(!stage.run(&["queue", "ls"]).done().contains("UNSERVED"));
    let wide = stage.run(&["queue", "ls", "-o", "wide"]).done();
    let cells: Vec<_> = wide.lines().map(|line| line.split_whitespace().rev().nth(1)).collect();
    assert_eq!(cells, [Some("UNSERVED"), Some("-"), Some("strange")], "{wide}");
}

#[tokio::test]
async fn stats_are_the_sums_of_all_queues() {
    let stage = Stage::new().await;
    for flags in [&["-q", "a"][..], &["-q", "a", "--in", "1h"], &["-q", "b"], &["-q", "b"]] {
        stage.enqueue(flags);
    }
    stage.claim("b", &Owner::new("h", 1, "w")).await;
    stage.redis.cli([
        "MSET",
        "asynq:{a}:processed",
        "7",
        "asynq:{b}:processed",
        "5",
        "asynq:{b}:failed",
        "3",
    ]);
    stage.put(&entry("shop", "report", "@hourly")).await;
    let stats = stage.run(&["stats", "-o", "json"]).json();
    let numbers = [
        "queues",
        "size",
        "pending",
        "active",
        "scheduled",
        "processedTotal",
        "failedTotal",
        "schedules",
        "servers",
    ];
    // Its schedule makes a queue known as well.
    assert_eq!(numbers.map(|name| stats[name].as_u64()), [3, 4, 2, 1, 1, 12, 3, 1, 0].map(Some), "{stats}");
    let redis = &stats["redis"];
    assert_eq!(redis["address"], format!("127.0.0.1:{}", stage.redis.port()));
    let version = stage.redis.cli_lines(["INFO", "server"]);
    let version = version.iter().find_map(|line| line.strip_prefix("redis_version:")).expect("it has one");
    assert_eq!(redis["version"], version.trim());
    assert!(redis["memoryBytes"].as_u64().expect("a number") > 100_000, "{redis}");
    assert_eq!((&redis["role"], &redis["memoryMaxBytes"]), (&json!("master"), &json!(null)));
    let sheet = stage.run(&["stats"]).done();
    assert!(
        sheet.contains("Tasks:         4\n")
            && sheet.contains("Ever:          12 attempts, 3 failed (25.0 %)\n"),
        "{sheet}"
    );
}
