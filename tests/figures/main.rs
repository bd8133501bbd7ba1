//! What a very long queue costs to read and to empty: time, memory, and how long Redis is held.
//!
//! Times are printed, not judged: the machine may be busy. `make prove` runs it with a million tasks, built for
//! release.

#[path = "../support/mod.rs"]
pub mod support;

mod deleting;

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::{Broker, NewTask};
use cronmill::task::Message;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::{RedisServer, SlowCalls, full_size};

/// Tasks stored with one call.
const BATCH: usize = 10_000;
/// How often each command is run.
const RUNS: usize = 7;
/// What a command may hold.
const BYTES_MAX: u64 = 50 << 20;
/// From this on Redis counts a command as slow.
const SLOW: Duration = Duration::from_millis(2);
/// Of so many calls one may have been stopped by what lies under a virtual machine.
const SLOW_ONE_IN: usize = 500;

/// Fills one queue: most tasks pending, every fourth scheduled.
async fn fill(broker: &Broker, tasks: usize) {
    let later: Timestamp = broker.now() + SignedDuration::from_hours(24);
    for start in (0..tasks).step_by(BATCH) {
        let new = |n: usize| NewTask {
            message: Message {
                kind: if n.is_multiple_of(2) { "email:send" } else { "email:digest" }.into(),
                payload: Bytes::from(format!(r#"{{"user":{n},"template":"welcome"}}"#)),
                id: uuid::Uuid::from_u128(n as u128).to_string(),
                queue: "default".into(),
                max_retry: 25,
                timeout_s: 1800,
                ..Message::default()
            },
            due: (n % 4 == 3).then(|| later + SignedDuration::from_secs(n as i64)),
            lock_for: None,
        };
        let batch: Vec<NewTask> = (start..tasks.min(start + BATCH)).map(new).collect();
        for stored in broker.enqueue_batch(&batch).await {
            stored.expect("stored");
        }
    }
}

/// What a command costs.
struct Cost {
    seconds: Vec<f64>,
    bytes: u64,
}

fn measure(url: &str, words: &[&str]) -> Cost {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/figures/measure.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(RUNS.to_string()).arg(env!("CARGO_BIN_EXE_cronmill")).args(words);
    let output = command.env("CRONMILL_REDIS_URL", url).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cost: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut seconds: Vec<f64> =
        cost["seconds"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    seconds.sort_by(f64::total_cmp);
    Cost { seconds, bytes: cost["bytes"].as_u64().expect("a number") }
}

#[tokio::test]
async fn a_very_long_queue_is_read_in_little_time_and_memory() {
    let tasks = full_size(100_000, 1_000_000);
    let redis = RedisServer::start();
    let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
    let start = Instant::now();
    fill(&broker, tasks).await;
    println!("{tasks} tasks stored in {:.1} s", start.elapsed().as_secs_f64());

    let last_page = (tasks / 30).to_string();
    let commands: [&[&str]; 7] = [
        &["stats"],
        &["queue", "ls"],
        &["task", "ls", "-q", "default"],
        &["task", "ls", "-q", "default", "-s", "pending", "-o", "json"],
        &["task", "ls", "-q", "default", "-s", "scheduled"],
        &["task", "ls", "-q", "default", "--page", &last_page],
        &["task", "show", "-q", "default", "00000000-0000-0000-0000-000000000001"],
    ];
    for words in commands {
        let mut watch = SlowCalls::watch(&redis, SLOW);
        let Cost { seconds, bytes } = watch.of_programs(|url| measure(url, words));
        let (median, max) = (seconds[RUNS / 2] * 1000.0, seconds[RUNS - 1] * 1000.0);
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        println!("{:60} median {median:.1} ms, slowest {max:.1} ms, {mebibytes:.1} MiB", words.join(" "));
        assert!(bytes <= BYTES_MAX, "{words:?} held {bytes} bytes");
        watch.assert_rare(SLOW_ONE_IN);
    }
    let stats: Value = serde_json::from_slice(
        &Command::new(env!("CARGO_BIN_EXE_cronmill"))
            .args(["stats", "-o", "json", "--redis-url", &redis.url()])
            .output()
            .expect("it was just built")
            .stdout,
    )
    .expect("JSON");
    assert_eq!(stats["size"], tasks);
    assert_eq!(stats["scheduled"], tasks / 4);
}
