//! Who may use which queue, and what is left when an object goes.

use crate::field::{Field, LIMIT, named_queue, on_queues, queue, task};
use crate::support::until;

#[tokio::test]
async fn a_queue_of_another_namespace_is_used_only_with_its_leave() {
    let (field, other) = (Field::new(), Field::new());
    let _operator = field.operator("a", &["--watch-namespace", &other.namespace]).await;
    field.apply(&queue(""));
    field.ready("taskqueue", "main").await;
    let abroad = |name: &str| {
        let there = format!("{{name: main, namespace: {}}}", field.namespace);
        task(name, "@hourly", "").replace("{name: main}", &there)
    };
    other.apply(&abroad("guest"));
    let said = other.refused("crontask", "guest", "NotAllowed").await;
    assert!(said.contains("does not allow namespace") && said.contains("allowedNamespaces"), "{said}");
    field.apply(&queue(&format!("allowedNamespaces: [{}]", other.namespace)));
    other.ready("crontask", "guest").await;
    assert_eq!(field.entries("default").len(), 1);
    field.apply(&queue("allowedNamespaces: []"));
    other.refused("crontask", "guest", "NotAllowed").await;
    until(LIMIT, "it is out of force", async || field.entries("default").is_empty()).await;
}

#[tokio::test]
async fn a_queue_that_another_cluster_has_is_refused_until_that_lets_go() {
    let (field, other) = (Field::new(), Field::new());
    let _operators = [field.operator("a", &[]).await, other.operator("b", &[]).await];
    field.apply(&queue(""));
    field.ready("taskqueue", "main").await;
    other.put_secret("redis", &field.redis.plain_url());
    other.apply(&queue(""));
    other.apply(&task("often", "@every 1s", ""));
    let said = other.refused("taskqueue", "main", "QueueClaimed").await;
    assert!(
        said.contains(&format!("cluster cluster-{}", field.namespace)) && said.contains("another redisName"),
        "{said}"
    );
    let waits = other.refused("crontask", "often", "TaskQueueNotReady").await;
    assert!(waits.contains("QueueClaimed") || waits.contains("belongs to"), "{waits}");
    assert_eq!(field.entries("default"), Vec::<String>::new(), "nothing of it stands there");
    field.delete("taskqueue", "main");
    other.ready("taskqueue", "main").await;
    other.ready("crontask", "often").await;
}

#[tokio::test]
async fn a_shared_redis_is_for_the_namespaces_that_are_listed_and_names_queues_after_them() {
    let field = Field::new();
    let url = field.redis.plain_url();
    let shared = ["--shared-redis-url", url.as_str(), "--shared-redis-namespace", field.namespace.as_str()];
    let other = Field::new();
    let _operator =
        field.operator("a", &[&shared[..], &["--watch-namespace", &other.namespace]].concat()).await;
    let without = |text: String| text.replace("  redis: {secretRef: {name: redis}}\n", "");
    field.apply(&without(queue("")));
    other.apply(&without(queue("")));
    field.ready("taskqueue", "main").await;
    let said = other.refused("taskqueue", "main", "RedisMissing").await;
    assert!(said.contains("spec.redis.secretRef") && said.contains("administrator"), "{said}");
    field.apply(&task("often", "@hourly", ""));
    field.ready("crontask", "often").await;
    assert_eq!(field.entries(&format!("{}:default", field.namespace)).len(), 1);
    // Which Redis it is cannot be changed afterwards.
    let words = ["apply", "-n", &field.namespace, "-f", "-"];
    let said = field.api.try_kubectl(&words, &queue("")).expect_err("it would leave tasks behind");
    assert!(said.contains("redis cannot be changed"), "{said}");
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_not_connected_to() {
    let field = Field::new();
    let _operator = field.operator("a", &["--allowed-redis-host", "redis.example"]).await;
    field.apply(&queue(""));
    let said = field.refused("taskqueue", "main", "RedisHostNotAllowed").await;
    assert!(said.contains("127.0.0.1") && said.contains("administrator"), "{said}");
}

fn ending(policy: &str) -> String {
    queue(&format!("deletionPolicy: {policy}"))
}

#[tokio::test]
async fn under_delete_nothing_of_a_queue_is_left_and_under_drain_its_tasks_are_waited_for() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&ending("Delete"));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    until(LIMIT, "there are tasks", async || field.cli(&["LLEN", "asynq:{default}:pending"]) != "0").await;
    field.delete("taskqueue", "main");
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
    assert_eq!(field.cli(&["KEYS", "*{default}*"]), "", "no key of the queue");
    let said = field.refused("crontask", "often", "MissingReference").await;
    assert!(said.contains("no TaskQueue"), "{said}");

    field.apply(&ending("Drain"));
    field.ready("crontask", "often").await;
    until(LIMIT, "there are tasks", async || field.cli(&["LLEN", "asynq:{default}:pending"]) != "0").await;
    field.delete("taskqueue", "main");
    until(LIMIT, "it says what it waits for", async || {
        assert!(!field.get("taskqueue", "main").is_null(), "it is gone before its tasks");
        field
            .condition("taskqueue", "main", "Ready")
            .is_some_and(|(_, reason, said)| reason == "Ending" && said.contains("still to be finished"))
    })
    .await;
    until(LIMIT, "no schedule adds to them", async || field.entries("default").is_empty()).await;
    field.cli(&["DEL", "asynq:{default}:pending"]);
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
}

#[tokio::test]
async fn a_namespace_goes_while_redis_is_away_and_its_queues_are_deleted_when_it_is_back() {
    let (field, doomed) = (Field::new(), Field::new());
    let _operator = field.operator("a", &["--watch-namespace", &doomed.namespace]).await;
    doomed.apply(&ending("Delete"));
    doomed.apply(
        &named_queue("kept", "deletionPolicy: Drain")
            .replace("name: default", "name: default, redisName: kept"),
    );
    doomed.apply(&task("often", "@every 1s", ""));
    doomed.ready("crontask", "often").await;
    doomed.ready("taskqueue", "kept").await;
    until(LIMIT, "there are tasks", async || doomed.cli(&["LLEN", "asynq:{default}:pending"]) != "0").await;
    doomed.cli(&["LPUSH", "asynq:{kept}:pending", "one"]);
    doomed.redis.freeze();
    let began = std::time::Instant::now();
    doomed.api.kubectl(&["delete", "namespace", &doomed.namespace, "--wait=false"]);
    until(LIMIT, "the namespace is gone", async || {
        doomed.api.kubectl(&["get", "namespace", &doomed.namespace, "--ignore-not-found"]).is_empty()
    })
    .await;
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    doomed.redis.thaw();
    let back = std::time::Instant::now();
    until(LIMIT, "its keys are gone", async || doomed.cli(&["KEYS", "*{default}*"]).is_empty()).await;
    assert!(back.elapsed().as_secs() < 60, "{:?}", back.elapsed());
    assert_eq!(doomed.cli(&["LLEN", "asynq:{kept}:pending"]), "1", "Drain is Retain here");
}

#[tokio::test]
async fn a_namespace_is_not_held_up_by_tasks_that_its_queue_would_wait_for() {
    let (field, doomed) = (Field::new(), Field::new());
    let _operator = field.operator("a", &["--watch-namespace", &doomed.namespace]).await;
    doomed.apply(&ending("Drain"));
    doomed.ready("taskqueue", "main").await;
    doomed.cli(&["LPUSH", "asynq:{default}:pending", "one"]);
    doomed.api.kubectl(&["delete", "namespace", &doomed.namespace, "--wait=false"]);
    until(LIMIT, "the namespace is gone", async || {
        let ready = doomed.condition("taskqueue", "main", "Ready");
        assert!(ready.as_ref().is_none_or(|(_, reason, _)| reason != "Ending"), "it waits: {ready:?}");
        doomed.api.kubectl(&["get", "namespace", &doomed.namespace, "--ignore-not-found"]).is_empty()
    })
    .await;
    assert_eq!(doomed.cli(&["LLEN", "asynq:{default}:pending"]), "1", "Drain is Retain here");
}

#[tokio::test]
async fn a_task_queue_that_is_refused_one_queue_takes_none() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&on_queues("first", &["taken"], ""));
    field.ready("taskqueue", "first").await;
    field.apply(&on_queues("second", &["free", "taken"], ""));
    field.refused("taskqueue", "second", "QueueClaimed").await;
    field.apply(&on_queues("third", &["free"], ""));
    field.ready("taskqueue", "third").await;
}

#[tokio::test]
async fn a_queue_that_a_task_queue_names_no_more_is_free_for_another() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&on_queues("first", &["kept", "dropped"], ""));
    field.ready("taskqueue", "first").await;
    field.apply(&on_queues("second", &["dropped"], ""));
    field.refused("taskqueue", "second", "QueueClaimed").await;
    field.apply(&on_queues("first", &["kept"], ""));
    field.ready("taskqueue", "second").await;
}
