//! `deadLetter`: how much of an archive is kept.

use serde_json::json;

use crate::field::{Dev, Folder, count, queue};
use crate::metrics::scrape;
use crate::support::RedisServer;
use crate::support::http::free_address;

/// Puts tasks into the archive of queue `q`, a second apart, the last one now.
fn archive(redis: &RedisServer, count: i64) {
    let script = "local now = tonumber(redis.call('TIME')[1]) for n = 1, ARGV[1] do \
        redis.call('HSET', 'asynq:{q}:t:' .. n, 'msg', 'x', 'state', 'archived') \
        redis.call('ZADD', 'asynq:{q}:archived', now - ARGV[1] + n, n) end return 1";
    redis.cli(["EVAL", script, "0", &count.to_string()]);
}

#[tokio::test]
async fn an_archive_is_kept_within_its_limits_and_what_that_costs_is_told_and_counted() {
    let redis = RedisServer::start();
    archive(&redis, 7250);
    let folder = Folder::with(&[("q.yaml", queue("deadLetter: {maxTasks: 200, maxAge: 1h}"))]);
    let addr = free_address().await;
    let dev = Dev::on(&redis, &folder, &["--listen", &addr.to_string()]);
    dev.until("it is within its limits", async || count(&redis, "archived") == 200).await;
    let event = dev.event("dropped", |_| true).await;
    let sum = |name: &str| event[name].as_i64().expect("a number");
    assert_eq!((&event["queue"], sum("age") + sum("number")), (&json!("q"), 7050));
    // Those of more than an hour ago, give or take what the test took.
    assert!((3600..3700).contains(&sum("age")), "{event}");
    let samples = scrape(addr).await;
    let dropped =
        |limit: &str| samples[&format!("cronmill_archive_dropped_total{{queue=\"q\",limit=\"{limit}\"}}")];
    assert_eq!((dropped("age"), dropped("number")), (sum("age") as f64, sum("number") as f64));
    assert_eq!(redis.keys("asynq:{q}:t:*").len(), 200);
    // The newest are kept.
    assert_eq!(redis.cli(["EXISTS", "asynq:{q}:t:7250", "asynq:{q}:t:7051", "asynq:{q}:t:7050"]), "2");

    folder.write("q.yaml", &queue("deadLetter: {maxTasks: 3}"));
    dev.until("the edit is in force", async || count(&redis, "archived") == 3).await;
    dev.event("dropped", |event| event["number"] == 197 && event["age"] == 0).await;
}
