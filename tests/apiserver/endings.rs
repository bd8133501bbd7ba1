//! The end of a TaskQueue while its operator, or what tells of its Redis, is gone.

use crate::field::{Field, LIMIT, queue};
use crate::support::until;

/// How long an object waits for its end at most, and a look more.
const WAITED_S: i64 = 13;

/// A field on which a TaskQueue is being deleted that nobody looks after, longer ago than it would wait.
async fn long_deleted(secret_is_gone: bool) -> Field {
    let field = Field::new();
    let mut operator = field.operator("a", &[]).await;
    field.apply(&queue("deletionPolicy: Delete"));
    field.ready("taskqueue", "main").await;
    field.cli(&["LPUSH", "asynq:{default}:pending", "one"]);
    operator.process.terminate();
    assert!(operator.process.exit_blocking(LIMIT).success());
    if secret_is_gone {
        field.delete("secret", "redis");
    }
    field.delete("taskqueue", "main");
    let deleted = field.get("taskqueue", "main")["metadata"]["deletionTimestamp"].clone();
    let deleted: jiff::Timestamp = deleted.as_str().expect("it is held").parse().unwrap();
    until(LIMIT, "that is long ago", async || {
        jiff::Timestamp::now().as_second() - deleted.as_second() >= WAITED_S
    })
    .await;
    assert!(!field.get("taskqueue", "main").is_null(), "nobody carries its policy out");
    field
}

#[tokio::test]
async fn an_operator_that_starts_amid_the_end_of_a_queue_still_deletes_it() {
    let field = long_deleted(false).await;
    let _operator = field.operator("b", &[]).await;
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
    until(LIMIT, "so are its keys", async || field.cli(&["KEYS", "*{default}*"]).is_empty()).await;
}

#[tokio::test]
async fn a_queue_whose_redis_nobody_can_find_any_more_goes_after_its_time_and_tells_what_stays() {
    let field = long_deleted(true).await;
    let _operator = field.operator("b", &[]).await;
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
    assert_eq!(field.cli(&["LLEN", "asynq:{default}:pending"]), "1");
    let told = || {
        let words =
            ["get", "-n", &field.namespace, "events.events.k8s.io", "-o", "jsonpath={.items[*].note}"];
        field.api.kubectl(&words)
    };
    until(LIMIT, "it is told", async || {
        let told = told();
        told.contains("the queues default stay in Redis") && told.contains("no Secret redis")
    })
    .await;
}

#[tokio::test]
async fn what_is_left_to_be_deleted_is_spared_once_another_task_queue_has_it() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("deletionPolicy: Delete"));
    field.ready("taskqueue", "main").await;
    field.cli(&["LPUSH", "asynq:{default}:pending", "one"]);
    field.redis.freeze();
    field.delete("taskqueue", "main");
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
    let is_left = || {
        let left = field.get("secret", "cronmill-unfinished");
        left["data"].as_object().is_some_and(|data| !data.is_empty())
    };
    assert!(is_left());
    field.apply(&queue("deletionPolicy: Delete"));
    until(LIMIT, "the new one is seen", async || {
        field.get("taskqueue", "main")["metadata"]["finalizers"].is_array()
    })
    .await;
    field.redis.thaw();
    until(LIMIT, "nothing is left to be done", async || !is_left()).await;
    assert_eq!(field.cli(&["LLEN", "asynq:{default}:pending"]), "1", "it is the new one's");
    // The old one could not give its claim back, and must not keep the new one waiting until that lapses.
    field.ready("taskqueue", "main").await;
}
