//! Unique tasks and groups on the command line.

use serde_json::json;

use crate::stage::{Stage, offline};

#[tokio::test]
async fn a_duplicate_is_a_negative_answer_that_names_the_other_task() {
    let stage = Stage::new().await;
    let unique = ["--unique", "1h", "--payload", "{}"];
    stage.enqueue(&[&unique[..], &["--id", "one"]].concat());
    let again = [&["task", "enqueue", "-t", "mail", "--id", "two"][..], &unique].concat();
    let refused = stage.run(&again).refused(1);
    assert_eq!(
        refused,
        "task two is a duplicate: task one is in queue default already, with the same type and payload\n"
    );
    assert_eq!(
        stage.show("default", "one")["uniqueKey"],
        "asynq:{default}:unique:mail:99914b932bd37a50b983c5e7c90ae93b"
    );
    stage.run(&["task", "rm", "-q", "default", "one"]).done();
    assert_eq!(stage.run(&again).done(), "two\n");
    let short = offline(&["task", "enqueue", "-t", "mail", "--unique", "0s"]).refused(2);
    assert!(short.contains("--unique"), "{short}");
}

#[tokio::test]
async fn groups_are_listed_and_so_are_their_tasks() {
    let stage = Stage::new().await;
    stage.enqueue(&["--id", "a", "--group", "by user"]);
    let ran = stage.run(&["queue", "groups", "default", "-o", "json"]).json();
    assert_eq!(ran[0]["name"], "by user");
    stage.enqueue(&["--id", "b", "--group", "by user"]);
    stage.enqueue(&["--id", "c", "--group", "other"]);
    stage.enqueue(&["--id", "d", "--group", "other", "--in", "1h"]);
    let groups = stage.run(&["queue", "groups", "default", "-o", "json"]).json();
    let counts: Vec<_> = groups
        .as_array()
        .expect("a list")
        .iter()
        .map(|group| {
            (group["name"].as_str().expect("a name"), group["tasks"].as_u64(), group["aggregating"].as_u64())
        })
        .collect();
    assert_eq!(counts, [("by user", Some(2), Some(0)), ("other", Some(1), Some(0))]);
    assert!(groups[0]["oldestJoinedTime"].is_string(), "{groups}");
    let table = stage.run(&["queue", "groups", "default", "--limit", "1"]).done();
    assert_eq!(table.lines().count(), 2, "{table}");

    for flags in [&["--group", "by user"][..], &["--group", "by user", "-s", "aggregating"]] {
        let list = stage.run(&[&["task", "ls", "-q", "default", "-o", "json"][..], flags].concat()).json();
        let ids: Vec<_> = list.as_array().expect("a list").iter().map(|task| task["id"].as_str()).collect();
        assert_eq!(ids, [Some("a"), Some("b")]);
        assert_eq!((&list[0]["state"], &list[0]["group"]), (&json!("aggregating"), &json!("by user")));
    }
    let table = stage.run(&["task", "ls", "-q", "default", "--group", "by user"]).done();
    assert!(table.contains("joined "), "{table}");
    assert_eq!(stage.show("default", "d")["group"], "other");

    stage.run(&["task", "run", "-q", "default", "c"]).done();
    let groups = stage.run(&["queue", "groups", "default", "-o", "json"]).json();
    assert_eq!(groups.as_array().expect("a list").len(), 1, "{groups}");
    let ran = stage.run(&["task", "ls", "-q", "default", "--group", "other"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "no aggregating task on page 1 of queue default\n"));
}

#[test]
fn a_state_and_a_group_that_do_not_go_together_are_refused() {
    let refused = offline(&["task", "ls", "-q", "q", "-s", "aggregating"]).refused(2);
    assert!(refused.contains("needs a --group"), "{refused}");
    let refused = offline(&["task", "ls", "-q", "q", "-s", "retry", "--group", "g"]).refused(2);
    assert!(refused.contains("aggregating, not retry"), "{refused}");
}

#[tokio::test]
async fn an_ended_unique_task_is_not_run_beside_the_one_that_took_its_place() {
    let stage = Stage::new().await;
    stage.enqueue(&["--unique", "1h", "--id", "one"]);
    let owner = cronmill::broker::Owner::new("h", 1, "w");
    let task = stage.claim("default", &owner).await;
    let finish = cronmill::broker::Finish {
        message: task.body.expect("it can be read").into(),
        outcome: cronmill::broker::FinishOutcome::Archive,
        leased_until: task.leased_until,
    };
    let queue = cronmill::task::QueueName::new("default").expect("valid");
    stage.broker.finish(&queue, &owner, &[finish]).await.expect("Redis answers");
    stage.enqueue(&["--unique", "1h", "--id", "two"]);
    let refused = stage.run(&["task", "run", "-q", "default", "one"]).refused(1);
    assert!(refused.contains("task two took its place"), "{refused}");
}
