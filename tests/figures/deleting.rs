//! What deleting very many tasks costs: time, and how long Redis is held by each step.

use std::process::Command;
use std::time::{Duration, Instant};

use cronmill::broker::Broker;
use tokio::sync::Mutex;

use crate::support::{RedisServer, SlowCalls, full_size};
use crate::{SLOW, SLOW_ONE_IN, fill};

/// What a million may take, by type and the rest together.
const LIMIT: Duration = Duration::from_secs(120);
/// Two of these at once would disturb each other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Runs the program and returns how long it took.
fn run(url: &str, words: &[&str]) -> Duration {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    let output = command.args(words).env("CRONMILL_REDIS_URL", url).output().expect("it was just built");
    let took = began.elapsed();
    let told = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    println!("{:50} {:.1} s: {told}", words.join(" "), took.as_secs_f64());
    assert!(output.status.success(), "{told}");
    took
}

/// Lets Redis run before everything else where that is allowed: its main thread also waits for those that free memory.
fn prefer(redis: &RedisServer) {
    let pid = redis.pid().to_string();
    let preferred = Command::new("chrt").args(["--all-tasks", "--fifo", "--pid", "1", &pid]).output();
    if !preferred.is_ok_and(|output| output.status.success()) {
        println!("Redis runs beside other programs with no preference: what those do may count as its own");
    }
}

/// Empties a full queue with the program; the time of all steps together. None of its calls holds Redis.
async fn emptied(tasks: usize, steps: &[&[&str]]) -> Duration {
    let redis = RedisServer::start();
    prefer(&redis);
    let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
    fill(&broker, tasks).await;
    let mut watch = SlowCalls::watch(&redis, SLOW);
    let took = watch.of_programs(|url| steps.iter().map(|words| run(url, words)).sum());
    watch.assert_rare(SLOW_ONE_IN);
    assert!(watch.calls >= tasks / 100, "{} calls for {tasks} tasks: each was to be seen", watch.calls);
    assert_eq!(redis.keys("asynq:{default}:t:*"), Vec::<String>::new(), "all are deleted");
    assert_eq!(searches(&redis), Vec::<String>::new(), "no step searches");
    took
}

/// Commands that search a list or all keys, as far as they were used.
fn searches(redis: &RedisServer) -> Vec<String> {
    let used = redis.cli_lines(["INFO", "commandstats"]);
    let is_search = |line: &String| {
        ["lrem", "lpos", "linsert", "keys"].iter().any(|name| line.starts_with(&format!("cmdstat_{name}:")))
    };
    used.into_iter().filter(is_search).collect()
}

#[tokio::test]
async fn a_million_tasks_are_deleted_within_two_minutes_and_no_step_holds_redis() {
    let _alone = ALONE.lock().await;
    let tasks = full_size(20_000, 1_000_000);
    let by_type: &[&str] = &["task", "rm", "--type", "email:digest", "--yes"];
    let took = emptied(tasks, &[by_type, &["task", "rm", "--all", "--yes"]]).await;
    println!("{tasks} tasks deleted in {:.1} s", took.as_secs_f64());
    assert!(took <= LIMIT, "{took:?}");
}

#[tokio::test]
async fn a_queue_with_very_many_tasks_is_deleted_in_small_steps() {
    let _alone = ALONE.lock().await;
    let tasks = full_size(20_000, 1_000_000);
    let took = emptied(tasks, &[&["queue", "rm", "default", "--force", "--yes"]]).await;
    println!("a queue of {tasks} tasks deleted in {:.1} s", took.as_secs_f64());
    assert!(took <= LIMIT, "{took:?}");
}
