//! Many tasks at once, and what is asked before.

use std::process::Command;
use std::time::Duration;

use cronmill::broker::{Finish, FinishOutcome, Owner};
use cronmill::task::QueueName;
use serde_json::{Value, json};

use crate::stage::{Ran, Stage};

/// Four mails pending and one report in queue `shop`, two mails scheduled in queue `post`.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    for n in 0..4 {
        stage.enqueue(&["-q", "shop", "--id", &format!("mail-{n}")]);
    }
    stage.run(&["task", "enqueue", "-t", "report", "-q", "shop", "--id", "report"]).done();
    for n in 0..2 {
        stage.enqueue(&["-q", "post", "--id", &format!("late-{n}"), "--in", "1h"]);
    }
    stage
}

fn counts(stage: &Stage) -> Value {
    let queues = stage.run(&["queue", "ls", "-o", "json"]).json();
    let one = |queue: &Value| json!([queue["name"], queue["pending"], queue["scheduled"], queue["archived"]]);
    queues.as_array().expect("a list").iter().map(one).collect()
}

#[tokio::test]
async fn without_a_terminal_nothing_is_done_unless_told_so() {
    let stage = stage().await;
    let message = stage.run(&["task", "rm", "--all"]).refused(2);
    let expected = "\
delete 7 tasks:
  queue post: 2 scheduled
  queue shop: 5 pending
error: nothing was done: say --yes to delete 7 tasks, or run it in a terminal to be asked
";
    assert_eq!(message, expected);
    assert_eq!(counts(&stage), json!([["post", 0, 2, 0], ["shop", 5, 0, 0]]));
    let ran = stage.run(&["task", "rm", "--all", "--yes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.ends_with("  queue shop: 5 pending\ndeleted 7 tasks\n"), "{ran:#?}");
    assert_eq!(counts(&stage), json!([["post", 0, 0, 0], ["shop", 0, 0, 0]]));
    let ran = stage.run(&["task", "rm", "--all"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "no task fits; there is nothing to do\n"));
}

#[tokio::test]
async fn queue_state_and_type_narrow_what_is_meant() {
    let stage = stage().await;
    let ran = stage.run(&["task", "archive", "--type", "mail", "-q", "shop", "-y"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, "archive 4 tasks of type mail:\n  queue shop: 4 pending\narchived 4 tasks\n")
    );
    assert_eq!(counts(&stage), json!([["post", 0, 2, 0], ["shop", 1, 0, 4]]));
    stage.run(&["task", "run", "--state", "archived", "-y"]).done();
    assert_eq!(counts(&stage), json!([["post", 0, 2, 0], ["shop", 5, 0, 0]]));
    stage.run(&["task", "rm", "--all", "-s", "scheduled", "-s", "retry", "-y"]).done();
    assert_eq!(counts(&stage), json!([["post", 0, 0, 0], ["shop", 5, 0, 0]]));
    stage.run(&["task", "rm", "-t", "report", "-y"]).done();
    let left = stage.run(&["task", "ls", "-q", "shop", "-o", "json"]).json();
    assert_eq!(left.as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn what_is_done_runs_again_only_when_it_is_asked_for() {
    let stage = stage().await;
    let owner = Owner::new("h", 1, "w");
    let task = stage.claim("shop", &owner).await;
    let done = Finish {
        message: task.body.expect("our own").into(),
        outcome: FinishOutcome::Complete,
        leased_until: task.leased_until,
    };
    let shop = QueueName::new("shop").expect("valid");
    stage.broker.finish(&shop, &owner, &[done]).await.expect("finished");
    let ran = stage.run(&["task", "run", "--all", "-q", "shop", "-y"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "no task fits; there is nothing to do\n"));
    let ran = stage.run(&["task", "run", "--all", "-q", "shop", "-s", "completed", "-y"]);
    assert!(ran.stderr.ends_with("made pending 1 task\n"), "{ran:#?}");
}

#[tokio::test]
async fn many_running_tasks_are_asked_to_stop() {
    let stage = stage().await;
    let mut heard = stage.broker.cancellations().await.expect("subscribed");
    let task = stage.claim("shop", &Owner::new("h", 1, "w")).await;
    let ran = stage.run(&["task", "cancel", "--all", "-y"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, "cancel 1 task:\n  queue shop: 1 active\nasked to cancel 1 task\n")
    );
    let told = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.expect("within time");
    assert_eq!(told.as_deref(), Some(task.id.as_str()));
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused() {
    let stage = stage().await;
    for (words, part) in [
        (&["rm", "-q", "shop"][..], "no task is named (allowed: ids, or --all, --state, --type)"),
        (&["rm", "-q", "shop", "mail-1", "--all"], "either ids or --all, --state, --type, not both"),
        (&["rm", "-q", "shop", "mail-1", "--yes"], "--yes is for --all, --state, --type"),
        (&["run", "mail-1"], "ids need one --queue they are in"),
        (&["run", "-q", "shop", "-q", "post", "mail-1"], "ids need one --queue they are in"),
        (
            &["run", "-s", "pending", "-y"],
            "run pending tasks: that can be done with tasks that are scheduled",
        ),
        (&["rm", "-s", "active", "-y"], "delete active tasks: that can be done"),
        (&["cancel", "-s", "retry", "-y"], "cancel retry tasks: that can be done with tasks that are active"),
        (&["archive", "-s", "done", "-y"], "[possible values: active, pending, aggregating,"),
    ] {
        let message = stage.run(&[&["task"][..], words].concat()).refused(2);
        assert!(message.contains(part), "{words:?}: {message}");
    }
    let message = stage.run(&["task", "rm", "--all", "-q", "nope", "-y"]).refused(1);
    assert_eq!(message, "no queue named nope; known: post, shop\n");
    assert_eq!(counts(&stage), json!([["post", 0, 2, 0], ["shop", 5, 0, 0]]));
}

/// Runs the program in a terminal of its own and types an answer; what the terminal showed, and the exit code.
fn typed(stage: &Stage, words: &[&str], answer: &str) -> (i32, String) {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/terminal.py"));
    command.arg(answer).arg(env!("CARGO_BIN_EXE_cronmill")).args(words);
    let ran = Ran::of(command.env("CRONMILL_REDIS_URL", stage.redis.url()), b"");
    (ran.code, ran.stdout)
}

#[tokio::test]
async fn in_a_terminal_it_asks_and_only_yes_means_yes() {
    let stage = stage().await;
    for answer in ["n", "", "no", "yesterday"] {
        let (code, shown) = typed(&stage, &["task", "rm", "--all", "-q", "shop"], answer);
        assert_eq!(code, 1, "{answer}: {shown}");
        assert!(shown.contains("delete 5 tasks? [y/N]") && shown.contains("nothing was done"), "{shown}");
        assert_eq!(counts(&stage)[1], json!(["shop", 5, 0, 0]));
    }
    let (code, shown) = typed(&stage, &["task", "rm", "--all", "-q", "shop"], "y");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("deleted 5 tasks"), "{shown}");
    assert_eq!(counts(&stage)[1], json!(["shop", 0, 0, 0]));
}

#[tokio::test]
async fn tasks_are_archived_edited_and_given_another_time_by_their_ids() {
    let stage = stage().await;
    let ran = stage.run(&["task", "archive", "-q", "shop", "mail-1", "mail-2"]);
    let archived = "task mail-1 is archived, it was pending\ntask mail-2 is archived, it was pending\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (0, archived));
    let ran = stage.run(&["task", "archive", "-q", "shop", "mail-1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "task mail-1 is archived already\n"));
    assert_eq!(stage.run(&["task", "archive", "-q", "shop", "x"]).refused(1), "no task x in queue shop\n");

    let ran = stage.run(&["task", "edit", "-q", "post", "late-1", "--payload", r#"{"to": "ann"}"#]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "task late-1 has the new payload, it is scheduled\n"));
    assert_eq!(stage.show("post", "late-1")["payload"]["text"], r#"{"to": "ann"}"#);
    let message = stage.run(&["task", "edit", "-q", "post", "late-1", "--payload", "{"]).refused(2);
    assert!(message.contains("--payload is not JSON"), "{message}");
    assert_eq!(
        stage.run(&["task", "edit", "-q", "post", "x", "--payload", "1"]).refused(1),
        "no task x in queue post\n"
    );

    let words = ["task", "reschedule", "-q", "post", "late-0", "--at", "2099-01-01T00:00:00Z"];
    let ran = stage.run(&words);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, "task late-0 runs at 2099-01-01T00:00:00Z, it was scheduled\n")
    );
    assert_eq!(stage.show("post", "late-0")["nextRunTime"], "2099-01-01T00:00:00Z");
    stage.run(&["task", "reschedule", "-q", "shop", "mail-0", "mail-1", "--in", "2h"]).done();
    assert_eq!(stage.show("shop", "mail-1")["state"], "scheduled");
    let message = stage.run(&["task", "reschedule", "-q", "shop", "mail-0"]).refused(2);
    assert!(message.contains("--at <TIME>"), "{message}");

    let task = stage.claim("shop", &Owner::new("h", 1, "w")).await;
    for words in [
        &["archive", &task.id][..],
        &["reschedule", &task.id, "--in", "1h"],
        &["edit", &task.id, "--payload", "1"],
    ] {
        let message = stage.run(&[&["task", words[0], "-q", "shop"], &words[1..]].concat()).refused(1);
        assert!(message.starts_with(&format!("task {} is active: a worker runs it", task.id)), "{message}");
    }
}
