//! The whole way once: objects in, an entry, a tick, workers, columns; objects out, nothing left.

use crate::field::{Field, LIMIT, queue, task};
use crate::support::until;

const SUSPENDED: &str = r#"{"spec": {"suspend": true}}"#;

#[tokio::test]
async fn objects_are_put_into_force_fired_scaled_and_told_about_and_go_without_a_trace() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {concurrency: 5, scaling: {maxReplicas: 3, stabilization: 1s}}"));
    field.apply(&task("often", "@every 2s", ""));
    field.ready("taskqueue", "main").await;
    field.ready("crontask", "often").await;
    assert_eq!(operator.probe("/readyz").await.map(|(code, _)| code), Some(200));

    // An entry, owned by the object, and a tick of it.
    let uid = field.get("crontask", "often")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(field.entries("default"), [uid]);
    until(LIMIT, "a tick fired", async || {
        field.cli(&["LLEN", "asynq:{default}:pending"]).parse::<u64>().is_ok_and(|pending| pending > 0)
    })
    .await;

    // Workers: a Deployment that began with none, scaled through /scale alone.
    until(LIMIT, "there is to be a worker", async || {
        field.get("deployment", "main-worker")["spec"]["replicas"]
            .as_u64()
            .is_some_and(|replicas| replicas >= 1)
    })
    .await;
    let deployment = field.get("deployment", "main-worker");
    let managed = deployment["metadata"]["managedFields"].as_array().unwrap();
    let owns_replicas: Vec<_> = managed
        .iter()
        .filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null())
        .map(|entry| (entry["manager"].as_str().unwrap(), entry["subresource"].as_str().unwrap_or("")))
        .collect();
    assert!(owns_replicas.iter().all(|(manager, _)| *manager == "cronmill-scaler"), "{owns_replicas:?}");
    assert!(owns_replicas.contains(&("cronmill-scaler", "scale")), "{owns_replicas:?}");
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["name"], "main");

    // What kubectl shows.
    until(LIMIT, "status is refreshed", async || {
        let status = field.get("taskqueue", "main")["status"].clone();
        let often = field.get("crontask", "often")["status"].clone();
        status["pending"].as_u64().is_some_and(|pending| pending > 0)
            && status["workers"]["shown"].as_str().is_some_and(|shown| shown.starts_with("0/"))
            && often["lastResult"] == "Pending"
            && often["nextScheduleTime"].is_string()
    })
    .await;
    let header = |kind: &str| {
        let table = field.api.kubectl(&["get", "-n", &field.namespace, kind]);
        table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(header("crontasks"), "NAME SCHEDULE TZ SUSPEND QUEUE LAST NEXT LAST-RESULT READY AGE");
    assert_eq!(header("taskqueues"), "NAME PENDING ACTIVE SCHEDULED RETRY DEAD WORKERS WAIT READY AGE");

    field.api.kubectl(&[
        "patch",
        "-n",
        &field.namespace,
        "crontask",
        "often",
        "--type=merge",
        "-p",
        SUSPENDED,
    ]);
    until(LIMIT, "a suspended schedule shows no next tick", async || {
        field.get("crontask", "often")["status"]["nextScheduleTime"].is_null()
    })
    .await;

    // One event for each that came into force, although status has changed since.
    let events = || {
        let told = [
            "get",
            "-n",
            &field.namespace,
            "events",
            "-o=jsonpath={range .items[*]}{.reason} {.type} {.involvedObject.name}{\"\\n\"}{end}",
        ];
        let mut lines: Vec<_> = field
            .api
            .kubectl(&told)
            .lines()
            .map(str::to_owned)
            .filter(|line| line.starts_with("InForce"))
            .collect();
        lines.sort();
        lines
    };
    until(LIMIT, "events are told", async || events().len() >= 2).await;
    assert_eq!(events(), ["InForce Normal main", "InForce Normal often"]);

    // Deleted, it fires no more and leaves no entry; its TaskQueue leaves no claim and no workers.
    field.delete("crontask", "often");
    until(LIMIT, "the entry is gone", async || field.entries("default").is_empty()).await;
    assert_eq!(field.cli(&["EXISTS", "cronmill:{default}:claim"]), "1");
    field.delete("taskqueue", "main");
    until(LIMIT, "the claim is given back", async || {
        field.cli(&["EXISTS", "cronmill:{default}:claim"]) == "0"
    })
    .await;
    until(LIMIT, "the workers go", async || field.get("deployment", "main-worker").is_null()).await;
    assert!(
        field.cli(&["LLEN", "asynq:{default}:pending"]).parse::<u64>().unwrap() > 0,
        "Retain keeps the tasks"
    );
}
