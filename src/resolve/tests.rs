use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::crd::{CronTaskSpec, Paused, TaskQueueSpec};
use crate::task::QueueName;

fn queue(spec: Value) -> TaskQueueSpec {
    serde_json::from_value(spec).unwrap()
}

fn task(queue_ref: Value) -> CronTaskSpec {
    let spec = json!({ "schedule": "@daily", "queueRef": queue_ref, "task": { "type": "hello" } });
    serde_json::from_value(spec).unwrap()
}

#[test]
fn on_a_shared_redis_a_queue_is_named_after_its_namespace_unless_it_has_a_name_of_its_own() {
    let spec = queue(json!({ "queues": [{ "name": "default" }, { "name": "low", "redisName": "bulk" }] }));
    for (shared_by, names) in [(Some("shop"), ["shop:default", "bulk"]), (None, ["default", "bulk"])] {
        let plan = QueuePlan::of(&spec, shared_by).unwrap();
        assert!(plan.redis_names().map(|name| name.as_str()).eq(names), "{shared_by:?}");
    }
}

#[test]
fn a_queue_of_another_namespace_is_found_only_if_that_allows_it() {
    let plan = QueuePlan::of(&queue(json!({ "queues": [{ "name": "default" }] })), None).unwrap();
    let view = |allowed| QueueView {
        namespace: "shop",
        name: "main",
        queues: &plan.queues,
        allowed_namespaces: allowed,
    };
    let spec = task(json!({ "namespace": "shop", "name": "main" }));
    let allowed = ["billing".to_owned()];
    let found = find_queue("billing", &spec, Some(view(&allowed)), Vec::new);
    assert_eq!(found.map(|name| name.as_str()), Ok("default"));
    let refused = find_queue("sales", &spec, Some(view(&allowed)), Vec::new).unwrap_err();
    assert_eq!(refused.kind, FlawKind::NotAllowed);
    assert_eq!(
        refused.to_string(),
        "spec.queueRef.namespace: TaskQueue shop/main does not allow namespace sales; allowed: a TaskQueue that has \
         sales in its allowedNamespaces"
    );
    assert!(find_queue("shop", &spec, Some(view(&[])), Vec::new).is_ok(), "its own namespace needs no leave");
}

#[test]
fn names_of_another_namespace_are_not_told() {
    let names = || vec!["mian".to_owned()];
    let own = find_queue("shop", &task(json!({ "name": "main" })), None, names).unwrap_err();
    assert!(own.to_string().contains("did you mean mian?"), "{own}");
    let spec = task(json!({ "namespace": "shop", "name": "main" }));
    let other = find_queue("sales", &spec, None, names).unwrap_err();
    assert!(!other.to_string().contains("mian"), "{other}");
}

#[test]
fn a_pause_that_is_over_is_not_asked_for_again() {
    let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let second = SignedDuration::from_secs(1);
    for (until, asked) in
        [(None, true), (Some(now + second), true), (Some(now), false), (Some(now - second), false)]
    {
        let queue = ServedQueue {
            name: "default".into(),
            redis_name: QueueName::new("default").unwrap(),
            weight: 1,
            paused: Some(Paused { reason: "migration".into(), until }),
        };
        assert_eq!(queue.pause_at(now).is_some(), asked, "{until:?}");
    }
}
