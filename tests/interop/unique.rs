//! Unique tasks: Go's locks and ours are the same locks.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::unique_key;
use cronmill::producer::{EnqueueError, Task};
use serde_json::json;

use crate::stage::{SOON, Stage};
use crate::support::peers::events;
use crate::support::{eventually, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Who keeps our task out.
async fn holder(stage: &Stage, task: Task) -> String {
    match stage.client.enqueue(task.unique(HOUR)).await {
        Err(EnqueueError::Duplicate { holder, .. }) => holder,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_unique_task_of_go_keeps_ours_out_and_the_other_way_round() {
    let stage = Stage::new().await;
    let payloads: [(&str, Option<&str>); 3] =
        [("nil", None), ("empty", Some("")), ("some", Some(r#"{"a":1}"#))];
    for (kind, payload) in payloads {
        let ours = || Task::new(kind, payload.map(|text| Bytes::from_static(text.as_bytes())));
        let mut flags = vec!["--type", kind, "--unique", "1h"];
        flags.extend(payload.iter().flat_map(|text| ["--payload", text]));
        for delay in [&[][..], &["--in", "1h"], &["--group", "g"]] {
            let go_id = format!("go-{kind}");
            stage.produce(&[&flags[..], delay, &["--id", &go_id]].concat());
            assert_eq!(holder(&stage, ours()).await, go_id, "{kind} {delay:?}");
            stage.broker.delete(&stage.queue, &go_id).await.expect("Redis answers");
            assert_eq!(
                stage.redis.keys("asynq:{default}:unique:*"),
                Vec::<String>::new(),
                "{kind} {delay:?}"
            );

            let ours_id = format!("ours-{kind}");
            let task = ours().id(&ours_id).unique(HOUR);
            let task = match delay.first() {
                Some(&"--in") => task.after(HOUR),
                Some(_) => task.group("g"),
                None => task,
            };
            stage.enqueue(task).await;
            let refused = stage.peers.produce(&flags);
            assert_eq!(refused[0]["error"], "duplicate", "{kind} {delay:?}");
            // Go deletes ours and gives our lock back, also of one in a group.
            stage.peers.inspect(&["delete", "default", &ours_id]);
            assert_eq!(
                stage.redis.keys("asynq:{default}:unique:*"),
                Vec::<String>::new(),
                "{kind} {delay:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_task_that_ran_in_the_other_program_may_come_again() {
    let stage = Stage::new().await;
    stage.produce(&["--type", "ok", "--unique", "1h", "--id", "go"]);
    let ours = stage.our_worker();
    stage.reaches("go", "").await;
    ours.stop().await;
    stage.enqueue(Task::new("ok", None).id("ours").unique(HOUR)).await;
    let _go = stage.go_worker().await;
    stage.reaches("ours", "").await;
    stage.produce(&["--type", "ok", "--unique", "1h", "--in", "1h", "--id", "again"]);
    // What is left of ours in our list goes with the next look.
    stage.redis.cli(["ZADD", "cronmill:{default}:locks", "XX", "1", "ours"]);
    stage.broker.renew_locks(&stage.queue).await.expect("Redis answers");
    assert_eq!(stage.redis.cli(["ZCARD", "cronmill:{default}:locks"]), "0");
    assert_eq!(holder(&stage, Task::new("ok", None)).await, "again", "the look touched no lock but its own");
}

// asynq keeps the locks of what it archives, deletes in bulk or aggregates, until they run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_go_leaves_behind_keeps_only_go_out() {
    let stage = Stage::new().await;
    let _go = stage.go_worker().await;
    let flags = ["--type", "fail", "--payload", r#"{"times":9}"#, "--unique", "1h", "--max-retry", "0"];
    stage.produce(&[&flags[..], &["--id", "go"]].concat());
    stage.reaches("go", "archived").await;
    assert_eq!(stage.peers.produce(&flags)[0]["error"], json!("duplicate"));
    let ours = Task::new("fail", Bytes::from_static(br#"{"times":9}"#)).id("ours").unique(HOUR).after(HOUR);
    stage.enqueue(ours).await;
    assert_eq!(stage.state("ours"), "scheduled");
    until(SOON, "it is ours now", async || stage.peers.produce(&flags)[0]["error"] == "duplicate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_only_go_works_a_lock_runs_out_and_keeping_puts_it_off() {
    let stage = Stage::new().await;
    let go = stage.go_worker().await;
    let lock_of = |payload: &'static str| unique_key(&stage.queue, "sleep", Some(payload.as_bytes()));
    let payloads = [r#"{"ms":600000}"#, r#"{"ms":600001}"#];
    for (id, payload) in ["a", "b"].into_iter().zip(payloads) {
        stage.enqueue(Task::new("sleep", Bytes::from(payload)).id(id).unique(HOUR)).await;
    }
    until(SOON, "both run in Go", async || events(&go, "start").len() == 2).await;
    // Time passes.
    stage.redis.cli(["PEXPIRE", &lock_of(payloads[0]), "1"]);
    stage.redis.cli(["EXPIRE", &lock_of(payloads[1]), "5"]);
    stage.redis.cli(["ZADD", "cronmill:{default}:locks", "XX", "1", "b"]);
    let second =
        ["--type", "sleep", "--payload", payloads[0], "--unique", "1h", "--id", "twice", "--in", "1h"];
    until(SOON, "a second one comes in", async || stage.peers.produce(&second)[0].get("error").is_none())
        .await;
    stage.broker.renew_locks(&stage.queue).await.expect("Redis answers");
    let left: i64 = stage.redis.cli(["TTL", &lock_of(payloads[1])]).parse().expect("a number");
    assert!(left > 60, "{left} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_go_forgets_keep_only_go_out() {
    let stage = Stage::new().await;
    let of = |payload| ["--type", "one", "--payload", payload, "--unique", "1h"];
    // Deleted with many others.
    stage.produce(&of("deleted"));
    assert_eq!(stage.peers.inspect(&["delete-pending", "default"]), json!(1));
    // Aggregated.
    stage.produce(&[&of("aggregated")[..], &["--group", "g"]].concat());
    let go = stage.peers.worker(&["--aggregate"]).await;
    eventually(SOON, "Go aggregates", async || events(&go, "aggregate").pop()).await;
    until(SOON, "it is done", async || stage.redis.keys("asynq:{default}:t:*").is_empty()).await;
    drop(go);
    // Archived by hand.
    stage.produce(&of("archived"));
    assert_eq!(stage.peers.inspect(&["archive-pending", "default"]), json!(1));
    for payload in ["deleted", "aggregated", "archived"] {
        assert_eq!(stage.peers.produce(&of(payload))[0]["error"], "duplicate", "{payload}");
        stage.enqueue(Task::new("one", Bytes::from(payload)).unique(HOUR)).await;
        assert_eq!(stage.peers.produce(&of(payload))[0]["error"], "duplicate", "{payload}: now it is ours");
    }
}
