//! Fleets: their size, whoever sets it, and what is written while nothing happens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::field::{Field, LIMIT, on_queues, queue, task};
use crate::support::until;

#[tokio::test]
async fn a_fleet_grows_with_the_work_within_a_second_and_goes_back_to_none() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {concurrency: 1, scaling: {maxReplicas: 3, stabilization: 0s}}"));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "there is a fleet of none", async || field.replicas("main") == Some(0)).await;
    // Ten tasks that a worker of anybody's might take.
    for id in 0..10 {
        field.cli(&["LPUSH", "asynq:{default}:pending", &format!("task-{id}")]);
    }
    let arrived = std::time::Instant::now();
    until(LIMIT, "it is as large as allowed", async || field.replicas("main") == Some(3)).await;
    // Asking costs kubectl's time too, so this is a bound only.
    assert!(arrived.elapsed() < Duration::from_secs(5), "{:?}", arrived.elapsed());
    field.cli(&["DEL", "asynq:{default}:pending"]);
    until(LIMIT, "it goes back to none", async || field.replicas("main") == Some(0)).await;
}

#[tokio::test]
async fn a_burst_takes_a_fleet_to_thirty_two_in_one_step_and_a_paused_queue_takes_it_nowhere() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    let push = |queue: &str, tasks: usize| {
        let ids: Vec<_> = (0..tasks).map(|id| format!("task-{id}")).collect();
        let pending = format!("asynq:{{{queue}}}:pending");
        let words: Vec<_> = ["LPUSH", &pending].into_iter().chain(ids.iter().map(String::as_str)).collect();
        field.cli(&words);
    };
    let scaling = "workers: {concurrency: 20, scaling: {minReplicas: 1, maxReplicas: 32}}";
    let paused = "workers: {}".to_owned();
    let still = on_queues("still", &["still"], &paused)
        .replace("{name: still}]", "{name: still, paused: {reason: test}}]");
    field.apply(&(queue(scaling) + "---\n" + &still));
    for name in ["main", "still"] {
        field.ready("taskqueue", name).await;
    }
    until(LIMIT, "one is kept", async || field.replicas("main") == Some(1)).await;
    push("still", 10_000);
    push("default", 1_000);
    until(LIMIT, "there are as many as allowed", async || field.replicas("main") == Some(32)).await;
    let said = |name: &str| {
        let steps = format!("scales {}/{name} from ", field.namespace);
        let lines = operator.process.stderr().into_iter().chain(operator.process.stdout());
        let steps = lines.filter_map(|line| Some(line.split_once(&steps)?.1.split(':').next()?.to_owned()));
        // What is not seen in time is asked for again.
        let mut steps: Vec<_> = steps.collect();
        steps.dedup();
        steps
    };
    // It says so once it is written.
    until(LIMIT, "it says so", async || said("main").last().is_some_and(|last| last == "1 to 32")).await;
    assert_eq!(said("main"), ["0 to 1", "1 to 32"]);
    until(LIMIT, "status says why none is held", async || {
        let status = field.get("taskqueue", "still")["status"].clone();
        status["workers"]["message"] == "nothing to do while queues are paused: 10000 wait there"
    })
    .await;
    assert_eq!((field.replicas("still"), said("still")), (Some(0), Vec::new()));
}

#[tokio::test]
async fn what_somebody_changes_of_the_workers_is_put_back_within_seconds() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {}"));
    field.ready("taskqueue", "main").await;
    let image = || {
        field.get("deployment", "main-worker")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let ours = image();
    let other =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other:1"}]);
    for _ in 0..2 {
        let words = [
            "patch",
            "deployment",
            "main-worker",
            "-n",
            &field.namespace,
            "--type=json",
            "-p",
            &other.to_string(),
        ];
        field.api.kubectl(&words);
        until(LIMIT / 2, "it is as it was", async || image() == ours).await;
    }
}

#[tokio::test]
async fn workers_leave_nodes_that_are_emptied_one_at_a_time() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {}"));
    field.ready("taskqueue", "main").await;
    let budget = || field.get("poddisruptionbudget", "main-worker");
    let spec = budget()["spec"].clone();
    assert_eq!(spec["maxUnavailable"], 1);
    let deployment = field.get("deployment", "main-worker");
    assert_eq!(spec["selector"], deployment["spec"]["selector"]);
    assert_eq!(budget()["metadata"]["ownerReferences"], deployment["metadata"]["ownerReferences"]);
    field.apply(&queue(""));
    let budgets =
        || field.api.kubectl(&["get", "poddisruptionbudgets", "-n", &field.namespace, "-o", "name"]);
    until(LIMIT, "it goes with the workers", async || budgets().is_empty()).await;
}

#[tokio::test]
async fn kubectl_scale_fixes_the_number_and_removing_it_gives_it_back() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {}"));
    field.ready("taskqueue", "main").await;
    field.api.kubectl(&["scale", "-n", &field.namespace, "taskqueue/main", "--replicas=2"]);
    until(LIMIT, "there are two", async || field.replicas("main") == Some(2)).await;
    until(LIMIT, "it is told", async || {
        field
            .condition("taskqueue", "main", "Scaling")
            .is_some_and(|(status, reason, _)| status == "False" && reason == "FixedReplicas")
    })
    .await;
    until(LIMIT, "the scale is shown", async || {
        let path =
            format!("/apis/cronmill.dev/v1alpha1/namespaces/{}/taskqueues/main/scale", field.namespace);
        let scale: serde_json::Value =
            serde_json::from_str(&field.api.kubectl(&["get", "--raw", &path])).unwrap();
        scale["status"]["replicas"] == 2 && scale["status"]["selector"] == "cronmill.dev/task-queue=main"
    })
    .await;
    let remove = r#"[{"op": "remove", "path": "/spec/workers/replicas"}]"#;
    field.api.kubectl(&["patch", "-n", &field.namespace, "taskqueue/main", "--type=json", "-p", remove]);
    until(LIMIT + Duration::from_secs(60), "the number follows the work", async || {
        field.replicas("main") == Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_template_is_followed_whole_and_what_others_set_on_the_deployment_stays() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    let with = |pod: &str| {
        field.apply(&queue(&format!(
            "workers:\n  template: {{spec: {{{pod}containers: [{{name: worker, image: shop:1}}]}}}}"
        )));
    };
    with("nodeSelector: {disk: ssd}, ");
    field.ready("taskqueue", "main").await;
    let spec = || field.get("deployment", "main-worker")["spec"].clone();
    assert_eq!(spec()["template"]["spec"]["nodeSelector"]["disk"], "ssd");
    // Another's fields, by another's hand.
    let set = |kind: &str, patch: &str| {
        let words = ["patch", "-n", &field.namespace, kind, "main-worker", "--type=merge", "-p", patch];
        field.api.kubectl(&words)
    };
    set(
        "deployment",
        r#"{"spec": {"revisionHistoryLimit": 3}, "metadata": {"annotations": {"team": "shop"}}}"#,
    );
    with("priorityClassName: low, ");
    until(LIMIT, "the template is followed", async || {
        spec()["template"]["spec"]["priorityClassName"] == "low"
    })
    .await;
    let deployment = field.get("deployment", "main-worker");
    assert!(deployment["spec"]["template"]["spec"]["nodeSelector"].is_null(), "{}", deployment["spec"]);
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 3);
    assert_eq!(deployment["metadata"]["annotations"]["team"], "shop");
    // Nor does the template bring a number of workers with it, which would undo the last scaling.
    let managed = deployment["metadata"]["managedFields"].as_array().unwrap();
    let sets_number = |entry: &&Value| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null();
    let who: Vec<_> = managed.iter().filter(sets_number).map(|entry| &entry["manager"]).collect();
    assert_eq!(who, ["cronmill-scaler"]);
}

#[tokio::test]
async fn refreshes_of_status_keep_to_their_budget_however_many_ticks_there_are() {
    let field = Field::new();
    let operator = field.operator("a", &["--status-writes-per-second", "2"]).await;
    field.apply(&queue(""));
    let tasks: String = (0..30).map(|number| task(&format!("task-{number}"), "@every 1s", "")).collect();
    field.apply(&tasks);
    until(LIMIT, "all are in force", async || field.entries("default").len() == 30).await;
    let written = async || operator.metric("cronmill_operator_status_refreshes_total").await.unwrap_or(0.0);
    let (began, before) = (std::time::Instant::now(), written().await);
    until(LIMIT, "many were written", async || written().await >= before + 20.0).await;
    let rate = (written().await - before) / began.elapsed().as_secs_f64();
    assert!(rate <= 2.4, "{rate} a second");
    // Every one of them has had its turn.
    until(LIMIT, "all were refreshed", async || {
        let list = field.api.kubectl(&["get", "-n", &field.namespace, "crontasks", "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        list["items"]
            .as_array()
            .is_some_and(|items| items.iter().all(|item| item["status"]["observedAt"].is_string()))
    })
    .await;
}
