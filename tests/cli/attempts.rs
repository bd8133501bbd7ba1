//! What the program says of attempts that were cancelled, put off, or never begun.

use std::time::Duration;

use cronmill::broker::{CancelThen, Finish, FinishOutcome, Owner};
use cronmill::task::QueueName;
use serde_json::json;

use crate::stage::Stage;

fn queue() -> QueueName {
    QueueName::new("default").expect("valid")
}

#[tokio::test]
async fn the_errors_of_a_task_are_shown_with_when_and_where() {
    let stage = Stage::new().await;
    stage.enqueue(&["--id", "a"]);
    for (n, text) in ["first\nboom", "second"].into_iter().enumerate() {
        let owner = Owner::new("host", 7, &n.to_string());
        let claimed = stage.claim("default", &owner).await;
        let (mut message, leased_until) = (claimed.body.expect("a message"), claimed.leased_until);
        message.error = text.into();
        message.retried += 1;
        let outcome = FinishOutcome::Retry { at: stage.broker.now(), counts_as_failure: true };
        stage
            .broker
            .finish(&queue(), &owner, &[Finish { message: message.into(), outcome, leased_until }])
            .await
            .expect("finished");
        assert_eq!(stage.run(&["task", "run", "-q", "default", "a"]).code, 0);
    }
    let errors = &stage.show("default", "a")["errors"];
    let told: Vec<_> = errors
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| (&e["attempt"], &e["worker"], &e["error"]))
        .collect();
    assert_eq!(told[0], (&json!(1), &json!("host:7:1"), &json!("second")));
    assert_eq!(told[1], (&json!(0), &json!("host:7:0"), &json!("first\nboom")));
    assert!(errors[0]["time"].is_string(), "{errors}");
    let sheet = stage.run(&["task", "show", "-q", "default", "a"]).done();
    let line = sheet.lines().find(|line| line.contains("attempt 0")).expect("a line of its own");
    assert!(line.ends_with(r"), attempt 0 on host:7:0: first\nboom"), "{line}");
    assert_eq!(stage.show("default", &stage.enqueue(&[])).get("errors"), None, "none without an error");
}

#[tokio::test]
async fn a_snoozed_task_shows_how_often_and_why_until_that_time_is_over() {
    let stage = Stage::new().await;
    stage.enqueue(&["--id", "a"]);
    let owner = Owner::new("host", 7, "w");
    let claimed = stage.claim("default", &owner).await;
    let (message, leased_until) = (claimed.body.expect("a message").into(), claimed.leased_until);
    let outcome =
        FinishOutcome::Snooze { at: stage.broker.now() + Duration::from_secs(60), reason: "busy".into() };
    stage
        .broker
        .finish(&queue(), &owner, &[Finish { message, outcome, leased_until }])
        .await
        .expect("finished");
    let shown = stage.show("default", "a");
    assert_eq!((&shown["state"], &shown["snoozes"]), (&json!("scheduled"), &json!(1)));
    assert_eq!((&shown["snoozeReason"], &shown["retried"]), (&json!("busy"), &json!(0)));
    let sheet = stage.run(&["task", "show", "-q", "default", "a"]).done();
    assert!(sheet.contains("Snoozed:       1 times\n") && sheet.contains("Snooze reason: busy\n"), "{sheet}");
    stage.run(&["task", "run", "-q", "default", "a"]).done();
    let shown = stage.show("default", "a");
    assert_eq!((&shown["snoozes"], shown.get("snoozeReason")), (&json!(1), None));
}

#[tokio::test]
async fn a_time_to_begin_by_is_stored_and_shown() {
    let stage = Stage::new().await;
    let id = stage.enqueue(&["--expires-in", "5m"]);
    let task = stage.show("default", &id);
    let at: jiff::Timestamp = task["startDeadline"].as_str().expect("a time").parse().expect("a time");
    let left = at.as_second() - stage.broker.now().as_second();
    assert!((280..=301).contains(&left), "{task}");
    assert_eq!(task["headers"]["cronmill-expires-at"], at.as_second().to_string());
    let id = stage.enqueue(&["--expires-at", "2099-01-01T00:00:00Z", "--in", "1h"]);
    assert_eq!(stage.show("default", &id)["startDeadline"], "2099-01-01T00:00:00Z");
    for (flags, part) in [
        (&["--expires-in", "5m", "--in", "1h"][..], "it would never run"),
        (&["--expires-at", "2020-01-01T00:00:00Z"], "it would never run"),
        (&["--expires-in", "0s"], "90s 5m 2h 7d"),
        (&["--expires-in", "5m", "--expires-at", "2099-01-01T00:00:00Z"], "cannot be used with"),
    ] {
        let words = [&["task", "enqueue", "-t", "mail"], flags].concat();
        let message = stage.run(&words).refused(2);
        assert!(message.contains(part), "{flags:?}: {message}");
    }
}

#[tokio::test]
async fn a_cancel_leaves_a_mark_that_says_what_then() {
    let stage = Stage::new().await;
    let owner = Owner::new("host", 7, "w");
    stage.enqueue(&["--id", "a"]);
    stage.claim("default", &owner).await;
    for (flags, then) in [(&["--retry"][..], CancelThen::Retry), (&[], CancelThen::Stop)] {
        let words = [&["task", "cancel", "-q", "default", "a"], flags].concat();
        let ran = stage.run(&words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, "task a: asked host:7:w to cancel it\n"));
        let marks = stage.broker.cancel_marks(&queue(), &owner, &["a".into()]).await.expect("read");
        assert_eq!(marks, [Some(then)]);
    }
    assert_eq!(stage.show("default", "a")["isCancelled"], json!(true));
    // What Go runs has another lease.
    stage.redis.cli(["ZADD", "asynq:{default}:lease", "9999999999", "a"]);
    let ran = stage.run(&["task", "cancel", "-q", "default", "a"]);
    assert!(ran.code == 0 && ran.stderr.contains("it is not one of cronmill's"), "{ran:?}");
    assert_eq!(stage.show("default", "a").get("isCancelled"), None);
}

#[test]
fn what_is_no_target_host_or_authority_is_refused_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "no certificate").expect("written");
    for (name, value, parts) in [
        ("CRONMILL_HTTP_TARGETS", "a=ftp://ann:s3cret@x", ["CRONMILL_HTTP_TARGETS", "NAME=URL"]),
        (
            "CRONMILL_HTTP_TARGETS",
            "a=http://x,a=http://y",
            ["CRONMILL_HTTP_TARGETS", "target a is named twice"],
        ),
        ("CRONMILL_HTTP_HOSTS", "http://x/", ["--http-host", "*.DOMAIN"]),
        ("CRONMILL_HTTP_CA", "/does/not/exist", ["CRONMILL_HTTP_CA", "No such file"]),
        ("CRONMILL_HTTP_CA", file.to_str().expect("text"), ["CRONMILL_HTTP_CA", "not certificates in PEM"]),
    ] {
        let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
        let message = crate::stage::Ran::of(worker.env_clear().env(name, value), b"").refused(2);
        assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}
