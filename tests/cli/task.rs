//! `task`: enqueueing, looking, steering.

use std::time::Duration;

use cronmill::broker::{Finish, FinishOutcome, Owner};
use cronmill::task::QueueName;
use serde_json::{Value, json};

use crate::stage::Stage;

fn owner() -> Owner {
    Owner::new("host-1", 7, "w")
}

#[tokio::test]
async fn every_flag_of_enqueue_reaches_the_task() {
    let stage = Stage::new().await;
    let flags = [
        "-q",
        "critical",
        "--id",
        "m-1",
        "--payload",
        r#"{"user": 42}"#,
        "--max-retry",
        "3",
        "--timeout",
        "90s",
        "--deadline",
        "2099-01-01T00:00:00Z",
        "--retention",
        "2h",
        "--header",
        "tenant=acme",
        "--header",
        "a=b=c",
        "--at",
        "2098-01-01T00:00:00Z",
    ];
    assert_eq!(stage.enqueue(&flags), "m-1");
    assert_eq!(
        stage.show("critical", "m-1"),
        json!({
            "id": "m-1", "queue": "critical", "type": "mail", "state": "scheduled",
            "payload": {"text": r#"{"user": 42}"#, "bytes": 12}, "headers": {"tenant": "acme", "a": "b=c"},
            "maxRetry": 3, "retried": 0, "crashes": 0, "timeoutSeconds": 90, "deadline": "2099-01-01T00:00:00Z",
            "retentionSeconds": 7200, "nextRunTime": "2098-01-01T00:00:00Z",
        })
    );
}

#[tokio::test]
async fn what_is_not_said_has_the_usual_default() {
    let stage = Stage::new().await;
    let id = stage.enqueue(&[]);
    let mut task = stage.show("default", &id);
    assert!(task["pendingSince"].take().is_string());
    let expected = json!({
        "id": id, "queue": "default", "type": "mail", "state": "pending", "payload": {"text": "", "bytes": 0},
        "headers": {}, "maxRetry": 25, "retried": 0, "crashes": 0, "timeoutSeconds": 1800, "retentionSeconds": 0,
        "pendingSince": null,
    });
    assert_eq!(task, expected);
}

#[tokio::test]
async fn durations_count_from_now() {
    let stage = Stage::new().await;
    let id = stage.enqueue(&["--in", "5m", "--deadline", "1h"]);
    let task = stage.show("default", &id);
    let away = |field: &str| {
        let at: jiff::Timestamp = task[field].as_str().expect("a time").parse().expect("a time");
        at.as_second() - stage.broker.now().as_second()
    };
    assert!((280..=301).contains(&away("nextRunTime")), "{task}");
    assert!((3580..=3600).contains(&away("deadline")), "{task}");
    assert_eq!(task.get("timeoutSeconds"), None);
}

#[tokio::test]
async fn a_payload_may_be_any_bytes_from_a_file_or_a_pipe() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("payload");
    std::fs::write(&file, [0, 255, b'a']).expect("written");
    let id = stage.enqueue(&["--payload", &format!("@{}", file.display())]);
    assert_eq!(stage.show("default", &id)["payload"], json!({"base64": "AP9h", "bytes": 3}));
    let table = stage.run(&["task", "show", "-q", "default", &id]).done();
    assert!(table.ends_with("base64 AP9h\n"), "{table}");

    // Ten megabytes of text: enqueued, shown whole as JSON, cut for people.
    let large = "xü".repeat(3_500_000);
    let ran = stage.run_with(&["task", "enqueue", "-t", "mail", "--payload", "-"], large.as_bytes());
    let id = ran.done().trim_end().to_owned();
    let task = stage.show("default", &id);
    assert_eq!(task["payload"]["bytes"], json!(large.len()));
    assert!(task["payload"]["text"] == large);
    let text = stage.run(&["task", "show", "-q", "default", &id]).done();
    assert!(text.len() < 6000 && text.contains("… (10500000 bytes)"), "{}", text.len());
    let list = stage.run(&["task", "ls", "-q", "default", "-o", "json"]).json();
    assert_eq!(list[1]["payload"]["isCut"], json!(true));
}

#[tokio::test]
async fn an_id_that_is_taken_is_a_negative_answer() {
    let stage = Stage::new().await;
    stage.enqueue(&["--id", "one"]);
    let again = stage.run(&["task", "enqueue", "-t", "mail", "--id", "one"]).refused(1);
    assert_eq!(again, "task one is already in queue default\n");
}

#[tokio::test]
async fn what_cannot_be_enqueued_is_refused_with_what_is_allowed() {
    let stage = Stage::new().await;
    for (flags, part) in [
        (&["-t", " "][..], "type cannot be blank"),
        (&["-t", "m", "--id", ""], "id cannot be blank"),
        (&["-t", "m", "-q", "}x"], "choose another name"),
        (&["-t", "m", "-q", " "], "cannot be blank"),
        (
            &["-t", "m", "--payload", "s3cret}"],
            "--payload is not JSON: expected value at line 1 column 1 (allowed: JSON, @FILE, or -)",
        ),
        (
            &["-t", "m", "--payload", "@/does/not/exist"],
            "read the payload from /does/not/exist: No such file",
        ),
        (&["-t", "m", "--timeout", "90"], "90s 5m 2h 7d"),
        (&["-t", "m", "--timeout", "0s"], "90s 5m 2h 7d"),
        (&["-t", "m", "--retention", "-1s"], "unexpected argument"),
        (&["-t", "m", "--deadline", "soon"], "RFC 3339"),
        (&["-t", "m", "--max-retry", "-1"], "unexpected argument"),
        (&["-t", "m", "--max-retry=-1"], "0..=2147483647"),
        (&["-t", "m", "--header", "a"], "NAME=VALUE"),
        (&["-t", "m", "--at", "2098-01-01T00:00:00Z", "--in", "5m"], "cannot be used with"),
        (&["-t", "m", "--in", "99999999999999d"], "year 9999"),
        (&["-q", "a"], "--type <TYPE>"),
    ] {
        let message = stage.run(&[&["task", "enqueue"][..], flags].concat()).refused(2);
        assert!(message.contains(part), "{flags:?}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    assert_eq!(stage.redis.keys("asynq:*"), Vec::<String>::new());
}

/// One task in each state but aggregating, named by it, in the queue `default`.
async fn one_of_each(stage: &Stage) {
    let queue = QueueName::new("default").expect("valid");
    for (id, outcome) in [
        ("completed", FinishOutcome::Complete),
        (
            "retry",
            FinishOutcome::Retry {
                at: "2099-01-01T00:00:00Z".parse().expect("a time"),
                counts_as_failure: true,
            },
        ),
        ("archived", FinishOutcome::Archive),
    ] {
        stage.enqueue(&["--id", id, "--retention", "1h"]);
        let owner = Owner::new("host-1", 7, id);
        let task = stage.claim("default", &owner).await;
        let (mut message, leased_until) = (task.body.expect("a message"), task.leased_until);
        if id == "completed" {
            stage.broker.write_result(&queue, &owner, id, b"sent").await.expect("written");
            message.completed_s = stage.broker.now().as_second();
        } else {
            message.error = "mailbox\n\u{1b}[2Jfull".into();
            message.last_failed_s = 1_700_000_000;
        }
        stage
            .broker
            .finish(&queue, &owner, &[Finish { message: message.into(), outcome, leased_until }])
            .await
            .expect("finished");
    }
    stage.enqueue(&["--id", "active"]);
    stage.claim("default", &owner()).await;
    stage.enqueue(&["--id", "pending"]);
    stage.enqueue(&["--id", "scheduled", "--in", "1h"]);
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|task| task["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn tasks_are_listed_by_state_or_one_state_after_the_other() {
    let stage = Stage::new().await;
    one_of_each(&stage).await;
    let list = |flags: &[&str]| {
        stage.run(&[&["task", "ls", "-q", "default", "-o", "json"][..], flags].concat()).json()
    };
    let all = ["active", "pending", "scheduled", "retry", "archived", "completed"];
    assert_eq!(ids(&list(&[])), all);
    for state in all {
        let listed = list(&["-s", state]);
        assert_eq!(ids(&listed), [state]);
        assert_eq!(listed[0]["state"], state);
    }
    assert_eq!(ids(&list(&["--limit", "4"])), all[..4]);
    assert_eq!(ids(&list(&["--limit", "4", "--page", "2"])), all[4..]);
    assert_eq!(list(&["--limit", "4", "--page", "3"]), json!([]));
    let table = stage.run(&["task", "ls", "-q", "default"]).done();
    let line = |state: &str| table.lines().find(|line| line.starts_with(state)).expect("listed").to_owned();
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(line("active").contains("on host-1:7 "), "{table}");
    assert!(line("archived").ends_with(r"mailbox\n\u{1b}[2Jfull"), "{table}");
    let ran = stage.run(&["task", "ls", "-q", "default", "--page", "9"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "no task on page 9 of queue default\n")
    );
}

#[tokio::test]
async fn a_task_shows_what_matters_in_its_state() {
    let stage = Stage::new().await;
    one_of_each(&stage).await;
    let fields = |id: &str, fields: &[&str]| {
        let task = stage.show("default", id);
        fields.iter().map(|field| task[field].clone()).collect::<Vec<_>>()
    };
    let [holder, lease] = &fields("active", &["owner", "leaseEndTime"])[..] else { panic!("two") };
    assert_eq!(holder, "host-1:7:w");
    assert!(lease.is_string());
    let done = stage.show("default", "completed");
    assert_eq!(done["result"], json!({"text": "sent", "bytes": 4}));
    assert!(done["completedTime"].is_string() && done["expiryTime"].is_string(), "{done}");
    assert_eq!(done.get("owner"), None, "it stays behind in the hash: {done}");
    assert_eq!(
        fields("retry", &["nextRunTime", "lastError", "lastFailedTime"]),
        [json!("2099-01-01T00:00:00Z"), json!("mailbox\n\u{1b}[2Jfull"), json!("2023-11-14T22:13:20Z")]
    );
    assert!(fields("archived", &["archivedTime"])[0].is_string());
    let sheet = stage.run(&["task", "show", "-q", "default", "archived"]).done();
    assert!(sheet.contains("Last error:\n  mailbox\n  \\u{1b}[2Jfull\n"), "{sheet}");
}

#[tokio::test]
async fn a_task_that_waits_is_run_at_once() {
    let stage = Stage::new().await;
    one_of_each(&stage).await;
    let run = |id: &str| stage.run(&["task", "run", "-q", "default", id]);
    for id in ["scheduled", "retry", "archived", "completed"] {
        let ran = run(id);
        assert_eq!((ran.code, ran.stderr), (0, format!("task {id} is pending, it was {id}\n")));
        assert_eq!(stage.show("default", id)["state"], "pending");
    }
    let ran = run("active");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "task active is active already\n"));
    assert_eq!(run("nothing").refused(1), "no task nothing in queue default\n");
}

#[tokio::test]
async fn tasks_are_deleted_unless_a_worker_runs_them() {
    let stage = Stage::new().await;
    one_of_each(&stage).await;
    let all = ["task", "rm", "-q", "default", "pending", "active", "nothing", "archived"];
    let message = stage.run(&all).refused(1);
    let expected = "\
deleted task pending, which was pending
task active is active: a worker runs it, so it was not deleted; cancel it first
deleted task archived, which was archived
no task nothing in queue default
";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&message), sorted(expected));
    let left = stage.run(&["task", "ls", "-q", "default", "-o", "json"]).json();
    assert_eq!(ids(&left), ["active", "scheduled", "retry", "completed"]);
}

#[tokio::test]
async fn only_an_active_task_is_cancelled_and_its_worker_hears_of_it() {
    let stage = Stage::new().await;
    one_of_each(&stage).await;
    let mut heard = stage.broker.cancellations().await.expect("subscribed");
    let cancel = |id: &str| stage.run(&["task", "cancel", "-q", "default", id]);
    assert_eq!(cancel("retry").refused(1), "task retry is retry, not active: there is no run to cancel\n");
    let ran = cancel("active");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "task active: asked host-1:7:w to cancel it\n"));
    let told = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.expect("within time");
    assert_eq!(told.as_deref(), Some("active"));
    assert_eq!(cancel("nothing").refused(1), "no task nothing in queue default\n");
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_named_with_those_that_are() {
    let stage = Stage::new().await;
    let none = stage.run(&["task", "ls", "-q", "mails"]).refused(1);
    assert_eq!(none, "no queue named mails; known: none\n");
    for n in 0..25 {
        stage.enqueue(&["-q", &format!("q{n:02}")]);
    }
    for words in [&["ls"][..], &["show", "x"], &["rm", "x"], &["run", "x"], &["cancel", "x"]] {
        let message = stage.run(&[&["task"][..], words, &["-q", "mails"]].concat()).refused(1);
        let is_bounded = message.starts_with("no queue named mails; known: q00, q01,")
            && message.ends_with("q19 and 5 more\n");
        assert!(is_bounded, "{message}");
    }
    let message = stage.run(&["task", "ls", "-q", "q00", "-s", "done"]).refused(2);
    assert!(
        message.contains("active, pending, aggregating, scheduled, retry, archived, completed"),
        "{message}"
    );
    for flags in [["--limit", "0"], ["--limit", "1001"], ["--page", "0"]] {
        stage.run(&[&["task", "ls", "-q", "q00"][..], &flags].concat()).refused(2);
    }
    assert!(!stage.redis.cli(["SMEMBERS", "asynq:queues"]).contains("mails"), "reading makes no queue");
}
