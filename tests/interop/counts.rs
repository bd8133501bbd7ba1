//! What we count and list is what asynq's Inspector counts and lists.

use std::time::Duration;

use cronmill::broker::{
    Broker, ClaimRequest, Claimed, Finish, FinishOutcome, Finished, Owner, Page, PauseNote,
};
use cronmill::producer::Task;
use cronmill::task::{Message, State};
use serde_json::{Value, json};

use crate::stage::{SOON, Stage};
use crate::support::eventually;

/// Leaves some tasks in each state a worker's life has: 4 pending, 3 scheduled, 2 active, 2 in retry,
/// 1 archived, 1 completed and 1 done.
async fn mixed(stage: &Stage) {
    for n in 0..11 {
        stage.enqueue(Task::new("ok", None).id(format!("p{n}")).retention(Duration::from_secs(60))).await;
    }
    for n in 0..3 {
        stage.enqueue(Task::new("ok", None).id(format!("s{n}")).after(Duration::from_secs(600 - n))).await;
    }
    let owner = Owner::new("host", 1, "run");
    let lease = Duration::from_secs(30);
    let request = ClaimRequest { queue: &stage.queue, owner: &owner, sequence: 1, max: 7, lease };
    let Claimed::Tasks(claimed) = stage.broker.claim(&request).await.expect("Redis answers") else {
        panic!("eleven tasks are pending")
    };
    let now = stage.broker.now();
    let retry = || FinishOutcome::Retry { at: now + Duration::from_secs(60), counts_as_failure: true };
    let outcomes = [retry(), retry(), FinishOutcome::Archive, FinishOutcome::Complete, FinishOutcome::Done];
    let finish = |(outcome, task): (FinishOutcome, cronmill::broker::ClaimedTask)| {
        let (message, leased_until) = (task.body.expect("our own message"), task.leased_until);
        let completed_s = if matches!(outcome, FinishOutcome::Complete) { now.as_second() } else { 0 };
        Finish { message: Message { completed_s, ..message }.into(), outcome, leased_until }
    };
    let finishes: Vec<Finish> = outcomes.into_iter().zip(claimed).map(finish).collect();
    let verdicts = stage.broker.finish(&stage.queue, &owner, &finishes).await.expect("Redis answers");
    assert!(verdicts.iter().all(|verdict| *verdict == Finished::Stored), "{verdicts:?}");
}

/// Our summary in the Inspector's words.
async fn our_summary(broker: &Broker, stage: &Stage) -> Value {
    let ours = broker.queue_summary(&stage.queue).await.expect("Redis answers");
    json!({
        "queue": ours.queue, "size": ours.size(), "pending": ours.pending, "active": ours.active,
        "scheduled": ours.scheduled, "retry": ours.retry, "archived": ours.archived,
        "completed": ours.completed, "aggregating": ours.aggregating, "groups": ours.groups,
        "processed": ours.processed_today, "failed": ours.failed_today,
        "processed_total": ours.processed_total, "failed_total": ours.failed_total,
        "paused": ours.paused.is_some(),
    })
}

/// Fails unless both sides say the same of the queue and of every list; returns the Inspector's numbers.
async fn assert_agreement(stage: &Stage) -> Value {
    let mut theirs = stage.inspected_queue();
    let numbers = theirs.as_object_mut().expect("an object");
    numbers.remove("memory_bytes");
    numbers.remove("latency_s");
    assert_eq!(theirs, our_summary(&stage.broker, stage).await);

    for state in State::ALL.into_iter().filter(|state| *state != State::Aggregating) {
        let page = Page { offset: 0, limit: 1000 };
        let ours = stage.broker.tasks(&stage.queue, state, page).await.expect("Redis answers");
        let listed = stage.peers.inspect(&["list", "default", state.as_str()]);
        let theirs: Vec<_> =
            listed.as_array().expect("a list").iter().map(|task| task["id"].clone()).collect();
        assert_eq!(theirs, ours.iter().map(|task| json!(task.id)).collect::<Vec<_>>(), "{state}");
    }
    theirs
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_agrees_with_our_counts_and_lists() {
    let stage = Stage::new().await;
    mixed(&stage).await;
    let numbers = assert_agreement(&stage).await;
    let expected =
        [("pending", 4), ("scheduled", 3), ("active", 2), ("retry", 2), ("archived", 1), ("completed", 1)];
    for (state, count) in expected {
        assert_eq!(numbers[state], count, "{state}");
    }
    assert_eq!((&numbers["processed"], &numbers["failed"]), (&json!(5), &json!(3)));

    let ours = stage.broker.history(&stage.queue, 2).await.expect("Redis answers");
    let ours: Vec<_> = ours
        .iter()
        .map(|day| json!({"date": day.day, "processed": day.processed, "failed": day.failed}))
        .collect();
    assert_eq!(stage.peers.inspect(&["history", "default", "2"]), json!(ours));
    let queues = stage.broker.queues().await.expect("Redis answers");
    let names: Vec<&str> = queues.iter().map(|queue| queue.as_str()).collect();
    assert_eq!(stage.peers.inspect(&["queues"]), json!(names));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_agree_after_each_has_moved_tasks() {
    let stage = Stage::new().await;
    mixed(&stage).await;
    for order in [["run", "default", "s0"], ["archive", "default", "s1"], ["delete", "default", "s2"]] {
        stage.peers.inspect(&order);
    }
    let numbers = assert_agreement(&stage).await;
    assert_eq!(
        (&numbers["pending"], &numbers["scheduled"], &numbers["archived"]),
        (&json!(5), &json!(0), &json!(2))
    );

    stage.broker.run_now(&stage.queue, "s1").await.expect("Redis answers");
    stage.broker.delete(&stage.queue, "p10").await.expect("Redis answers");
    let numbers = assert_agreement(&stage).await;
    assert_eq!((&numbers["pending"], &numbers["archived"]), (&json!(5), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_by_either_is_seen_by_both() {
    let stage = Stage::new().await;
    stage.enqueue(Task::new("ok", None)).await;
    stage.peers.inspect(&["pause", "default"]);
    assert_eq!(assert_agreement(&stage).await["paused"], true);
    stage.peers.inspect(&["unpause", "default"]);
    assert_eq!(assert_agreement(&stage).await["paused"], false);
    let note =
        PauseNote { source: "test".into(), reason: "to see".into(), actor: "nobody".into(), until: None };
    stage.broker.pause(&stage.queue, &note).await.expect("Redis answers");
    assert_eq!(assert_agreement(&stage).await["paused"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_worker_is_listed_here_with_what_it_runs() {
    let stage = Stage::new().await;
    let mut go = stage.go_worker().await;
    stage.produce(&["--type", "sleep", "--payload", r#"{"ms":600000}"#, "--id", "a"]);
    let server = eventually(SOON, "it shows its task", async || {
        let servers = stage.broker.servers().await.expect("Redis answers");
        servers.into_iter().find(|server| !server.running.is_empty())
    })
    .await;
    assert_eq!(server.info.pid.cast_unsigned(), go.pid());
    assert_eq!((server.info.concurrency, server.running[0].task_id.as_str()), (10, "a"));
    let told = stage.peers.inspect(&["servers"]);
    assert_eq!((&told[0]["id"], told.as_array().map(Vec::len)), (&json!(server.info.server_id), Some(1)));
    stage.cancelled_by_go("a", "retry").await;
    go.terminate();
    go.exit(SOON).await;
    assert!(stage.broker.servers().await.expect("Redis answers").is_empty());
}
