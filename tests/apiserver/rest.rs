//! What has come to rest is not looked at all the time, and whatever changes then is followed all the same.

use std::time::Duration;

use crate::field::{Field, LIMIT, Replica, queue};
use crate::support::{RedisServer, until};

/// Less than after how long all is looked at anyway.
const SOON: Duration = Duration::from_secs(12);

/// A TaskQueue that has what it is to have, all of which is told.
async fn at_rest(field: &Field, workers: &str) -> Replica {
    let operator = field.operator("a", &["--status-writes-per-second", "50"]).await;
    field.apply(&queue(workers));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "its workers are told", async || {
        field.get("taskqueue", "main")["status"]["workers"]["shown"] == "0/0"
    })
    .await;
    let looks = || field.redis.calls("exists");
    let before = looks();
    // Of whoever keeps its queue and of whoever sizes its fleet: with several of each, status has had its turns too.
    until(LIMIT, "it is looked at again and again", async || looks() >= before + 12).await;
    operator
}

#[tokio::test]
async fn a_number_that_somebody_else_sets_is_put_back_within_seconds() {
    let field = Field::new();
    let _operator = at_rest(&field, "workers: {scaling: {stabilization: 0s}}").await;
    for _ in 0..3 {
        field.api.kubectl(&["scale", "-n", &field.namespace, "deployment", "main-worker", "--replicas=2"]);
        until(SOON, "it is none again", async || field.replicas("main") == Some(0)).await;
    }
}

#[tokio::test]
async fn what_comes_is_told_within_seconds() {
    let field = Field::new();
    let _operator = at_rest(&field, "workers: {scaling: {maxReplicas: 1}}").await;
    for number in 1..=3 {
        field.cli(&["LPUSH", "asynq:{default}:pending", &format!("task-{number}")]);
        let told = || field.get("taskqueue", "main")["status"]["pending"].clone();
        until(SOON, "it is told", async || told() == number).await;
    }
}

#[tokio::test]
async fn an_edit_is_in_force_within_seconds() {
    let field = Field::new();
    let _operator = at_rest(&field, "workers: {concurrency: 3}").await;
    let pods = || field.get("deployment", "main-worker")["spec"]["template"].to_string();
    assert!(pods().contains(r#""3""#) && !pods().contains(r#""47""#), "{}", pods());
    field.apply(&queue("workers: {concurrency: 47}"));
    until(SOON, "workers are told", async || pods().contains(r#""47""#)).await;
}

#[tokio::test]
async fn a_secret_that_leads_elsewhere_is_followed_while_the_first_redis_still_answers() {
    let field = Field::new();
    let _operator = at_rest(&field, "workers: {}").await;
    let copied = || field.get("secret", "main-worker-redis")["data"]["url"].to_string();
    let (before, other) = (copied(), RedisServer::start());
    field.put_secret("redis", &other.plain_url());
    // A Secret is read again every half a minute.
    let is_claimed = async || !other.keys("cronmill:{default}:claim").is_empty();
    until(LIMIT, "its queue is claimed there", is_claimed).await;
    until(SOON, "workers are told", async || copied() != before).await;
}
