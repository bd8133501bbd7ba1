//! Leaders that die, an API server that restarts, a Redis that forgets, definitions that come late.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::field::{Field, LIMIT, queue, task};
use crate::support::{ApiServer, until};

/// The nominal times of all tasks of a schedule that stand in a queue, sorted, from their ids.
fn ticks(field: &Field) -> Vec<i64> {
    let ids = field.cli(&["LRANGE", "asynq:{default}:pending", "0", "-1"]);
    let mut ticks: Vec<i64> = ids.lines().filter_map(|id| id.rsplit_once('-')?.1.parse().ok()).collect();
    ticks.sort_unstable();
    ticks
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_not_one_tick_is_lost_or_doubled() {
    let field = Field::new();
    let mut first = field.operator("a", &[]).await;
    until(LIMIT, "the first one leads", async || first.leads().await).await;
    let second = field.operator("b", &[]).await;
    field.apply(&queue(""));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    until(LIMIT, "it fires", async || ticks(&field).len() >= 2).await;
    until(LIMIT, "the second one watches", async || second.is_ready().await).await;
    assert!(!second.leads().await);
    first.process.kill9();
    let killed = Instant::now();
    until(LIMIT, "the second one leads", async || second.leads().await).await;
    assert!(killed.elapsed() >= Duration::from_secs(10), "the Lease was still held: {:?}", killed.elapsed());
    // It does what only a leader does.
    field.apply(&task("later", "@hourly", ""));
    field.ready("crontask", "later").await;
    assert_eq!(field.get("lease", "cronmill-operator")["spec"]["leaseTransitions"], 1);
    // What the first one sends late is older than this.
    let uid = field.get("crontask", "often")["metadata"]["uid"].as_str().unwrap().to_owned();
    let epoch = || field.cli(&["HGET", &format!("cronmill:{{default}}:entry:{uid}"), "epoch"]);
    until(LIMIT, "its entries are the second one's", async || epoch() == "1").await;
    let ticks = ticks(&field);
    let whole = (ticks[ticks.len() - 1] - ticks[0] + 1) as usize;
    assert_eq!(ticks.iter().collect::<HashSet<_>>().len(), ticks.len(), "none twice");
    assert_eq!(ticks.len(), whole, "none lost");
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_gives_the_lease_back() {
    let field = Field::new();
    let mut first = field.operator("a", &[]).await;
    until(LIMIT, "the first one leads", async || first.leads().await).await;
    let second = field.operator("b", &[]).await;
    until(LIMIT, "the second one watches", async || second.is_ready().await).await;
    first.process.terminate();
    assert!(first.process.exit_blocking(LIMIT).success());
    let ended = Instant::now();
    assert_ne!(field.get("lease", "cronmill-operator")["spec"]["holderIdentity"], "a");
    until(LIMIT, "the second one leads", async || second.leads().await).await;
    // Without that it would take the fifteen seconds that a Lease lasts.
    assert!(ended.elapsed() < Duration::from_secs(14), "{:?}", ended.elapsed());
}

#[tokio::test]
async fn a_redis_that_forgets_everything_has_its_schedules_back_within_ten_seconds() {
    let field = Field::new();
    let _operators = [field.operator("a", &[]).await, field.operator("b", &[]).await];
    field.apply(&queue(""));
    for number in 0..20 {
        field.apply(&task(&format!("task-{number}"), "@every 1s", ""));
    }
    until(LIMIT, "all are in force", async || field.entries("default").len() == 20).await;
    until(LIMIT, "they fire", async || ticks(&field).len() >= 40).await;
    let before = ticks(&field);
    field.cli(&["FLUSHALL"]);
    let emptied = Instant::now();
    until(LIMIT, "all are in force again", async || field.entries("default").len() == 20).await;
    assert!(emptied.elapsed() < Duration::from_secs(10), "{:?}", emptied.elapsed());
    until(LIMIT, "they fire again", async || ticks(&field).len() >= 40).await;
    assert_eq!(field.cli(&["EXISTS", "cronmill:{default}:claim"]), "1");
    // Nothing that had fired before fires again.
    let last = before[before.len() - 1];
    let again: Vec<_> = ticks(&field).into_iter().filter(|tick| *tick < last).collect();
    assert_eq!(again, Vec::<i64>::new());
}

#[tokio::test]
async fn a_schedule_that_fires_seldom_is_back_as_soon_although_no_count_shows_that_it_went() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&task("seldom", "@yearly", ""));
    field.ready("crontask", "seldom").await;
    // Nothing else is to be told, so nothing but the claim has the operator look at them.
    for (kind, name) in [("crontask", "seldom"), ("taskqueue", "main")] {
        until(LIMIT, "all is told", async || field.get(kind, name)["status"]["observedAt"].is_string()).await;
    }
    field.cli(&["FLUSHALL"]);
    let emptied = Instant::now();
    until(LIMIT, "it is in force again", async || field.entries("default").len() == 1).await;
    assert!(emptied.elapsed() < Duration::from_secs(10), "{:?}", emptied.elapsed());
}

#[tokio::test]
async fn a_schedule_deleted_while_redis_is_away_never_fires_again() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&(task("goes", "@every 1s", "") + &task("stays", "@every 1s", "")));
    until(LIMIT, "both are in force", async || field.entries("default").len() == 2).await;
    let gone = field.get("crontask", "goes")["metadata"]["uid"].as_str().unwrap().to_owned();
    // Redis is frozen, not emptied: its entries are there when it is back.
    field.redis.freeze();
    field.delete("crontask", "goes");
    until(LIMIT, "the object is gone", async || field.get("crontask", "goes").is_null()).await;
    let deleted = jiff::Timestamp::now().as_second();
    field.redis.thaw();
    until(LIMIT, "its entry is gone", async || !field.entries("default").contains(&gone)).await;
    until(LIMIT, "the other one fires on", async || {
        ticks(&field).last().is_some_and(|tick| *tick > deleted + 3)
    })
    .await;
    let ids = field.cli(&["LRANGE", "asynq:{default}:pending", "0", "-1"]);
    let late = ids
        .lines()
        .filter_map(|id| id.rsplit_once('-'))
        .filter(|(uid, tick)| *uid == gone && tick.parse::<i64>().is_ok_and(|tick| tick > deleted + 1));
    assert_eq!(late.collect::<Vec<_>>(), Vec::new());
}

#[tokio::test]
async fn without_definitions_it_waits_and_says_so_and_a_restarted_api_server_ends_nothing() {
    let api = Arc::new(ApiServer::start());
    let field = Field::on(Arc::clone(&api));
    let mut operator = field.operator("a", &[]).await;
    until(LIMIT, "the probe says what is missing", async || {
        operator.probe("/readyz").await.is_some_and(|(code, said)| {
            code == 503
                && said.contains("CronTasks cannot be read")
                && said.contains("install the definitions")
        })
    })
    .await;
    assert_eq!(operator.probe("/livez").await.map(|(code, _)| code), Some(200));
    api.install_definitions();
    until(LIMIT, "it is ready", async || operator.is_ready().await).await;
    field.apply(&queue(""));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    until(LIMIT, "it fires", async || !ticks(&field).is_empty()).await;

    api.stop();
    let so_far = ticks(&field).len();
    until(LIMIT, "it fires without the API server", async || ticks(&field).len() >= so_far + 5).await;
    api.resume();
    field.apply(&task("later", "@hourly", ""));
    field.ready("crontask", "later").await;
    assert_eq!(operator.process.ended(), None);
}
