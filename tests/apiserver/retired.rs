//! An operator that is taken away for good holds nothing up after it.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::field::{Field, LIMIT, named_queue, task};
use crate::support::{Process, until};

const FINALIZER: &str = "cronmill.dev/queues";

fn retirement(field: &Field) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    command.args(["operator", "retire", "--watch-namespace", &field.namespace]);
    command.args(["--lease-namespace", &field.namespace]).env("KUBECONFIG", field.api.kubeconfig());
    command
}

/// Runs it to its end; what it prints.
fn retire(field: &Field) -> String {
    let Output { status, stdout, stderr } = retirement(field).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(0), "{stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// A TaskQueue with a queue of its own.
fn ends_with(name: &str, policy: &str) -> String {
    named_queue(name, &format!("deletionPolicy: {policy}"))
        .replace("name: default", &format!("name: default, redisName: {name}"))
        + "---\n"
}

fn finalizers(field: &Field, name: &str) -> Vec<String> {
    let object = field.get("taskqueue", name);
    let list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn patch(field: &Field, name: &str, patch: &str) {
    field.api.kubectl(&["patch", "-n", &field.namespace, "taskqueue", name, "--type=merge", "-p", patch]);
}

#[tokio::test]
async fn a_retired_operator_holds_no_task_queue_and_puts_no_finalizer_on_again() {
    let field = Field::new();
    let [first, second] = [field.operator("a", &[]).await, field.operator("b", &[]).await];
    let all = [("main", "Delete"), ("drained", "Drain"), ("kept", "Retain"), ("others", "Delete")];
    field.apply(&all.map(|(name, policy)| ends_with(name, policy)).concat());
    field.apply(&task("often", "@every 1s", ""));
    for (name, _) in all {
        field.ready("taskqueue", name).await;
    }
    field.ready("crontask", "often").await;
    assert_eq!(finalizers(&field, "main"), [FINALIZER]);
    assert_eq!(finalizers(&field, "kept"), Vec::<String>::new());
    // Somebody else's stays, and so does whoever else applied ours with it.
    let both = format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\n\
         metadata: {{name: others, finalizers: [example.com/mine, {FINALIZER}]}}\n"
    );
    let words = ["apply", "-n", &field.namespace, "--server-side", "--field-manager=other", "-f", "-"];
    field.api.try_kubectl(&words, &both).unwrap();
    // One hangs on what nobody will do.
    field.cli(&["LPUSH", "asynq:{drained}:pending", "one"]);
    field.delete("taskqueue", "drained");
    field.refused("taskqueue", "drained", "Ending").await;

    let said = retire(&field);
    let of = |name: &str| format!("TaskQueue {}/{name}", field.namespace);
    for line in [
        format!("{} is free; its queues stay in Redis: main", of("main")),
        format!("{} is free; its queues stay in Redis: others", of("others")),
        format!("{} goes now; its queues stay in Redis: drained", of("drained")),
        "3 TaskQueues are no longer held by the operator".to_owned(),
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    assert!(field.get("taskqueue", "drained").is_null());
    assert_eq!(field.cli(&["LLEN", "asynq:{drained}:pending"]), "1", "its tasks stay");

    // Both replicas still run, see every change, and fire.
    patch(&field, "main", r#"{"spec": {"priority": "Strict"}}"#);
    patch(&field, "others", r#"{"metadata": {"labels": {"touched": "yes"}}}"#);
    let fired = || field.cli(&["LLEN", "asynq:{main}:pending"]).parse::<u64>().unwrap_or(0);
    let so_far = fired();
    until(LIMIT, "they fire on", async || fired() >= so_far + 5).await;
    assert!(!first.leads().await && !second.leads().await);
    assert_eq!(finalizers(&field, "main"), Vec::<String>::new());
    assert_eq!(finalizers(&field, "others"), ["example.com/mine"]);
    assert_eq!(retire(&field), "no TaskQueue is held by the operator\n");
    patch(&field, "others", r#"{"metadata": {"finalizers": []}}"#);

    // Now they go, and all the objects after them, with what their policies say left undone.
    drop((first, second));
    let began = std::time::Instant::now();
    field.api.kubectl(&["delete", "namespace", &field.namespace, "--wait=false"]);
    until(LIMIT, "the namespace is gone", async || {
        field.api.kubectl(&["get", "namespace", &field.namespace, "--ignore-not-found"]).is_empty()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_hangs_because_the_operator_went_first_is_freed_without_one() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    field.apply(&ends_with("main", "Delete"));
    field.ready("taskqueue", "main").await;
    drop(operator);
    // The chart's Lease goes with the chart.
    field.delete("lease", "cronmill-operator");
    field.delete("taskqueue", "main");
    assert!(!field.get("taskqueue", "main").is_null());
    let said = retire(&field);
    assert!(said.contains("goes now"), "{said}");
    assert!(field.get("taskqueue", "main").is_null());
    assert!(field.get("lease", "cronmill-operator").is_null(), "it leaves none behind");
}

#[tokio::test]
async fn a_retirement_that_is_stopped_leaves_the_operator_as_it_was() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    field.apply(&ends_with("main", "Delete"));
    field.ready("taskqueue", "main").await;
    let mut retiring = Process::start("retire", &mut retirement(&field));
    until(LIMIT, "the operator leads no more", async || !operator.leads().await).await;
    retiring.terminate();
    assert_eq!(retiring.exit_blocking(LIMIT).code(), Some(3));
    let said = retiring.all_stderr(LIMIT).await.join("\n");
    assert!(said.contains("goes on from here"), "{said}");
    until(LIMIT, "it leads again", async || operator.leads().await).await;
    assert_eq!(finalizers(&field, "main"), [FINALIZER]);
}
