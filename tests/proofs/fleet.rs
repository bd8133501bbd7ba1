//! Worker processes on one Redis, and tasks for them.

use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, NewTask};
use cronmill::task::Message;

use crate::support::{Process, RedisServer, until_seldom};

/// Wait between two looks at what takes long.
pub(crate) const SELDOM: Duration = Duration::from_millis(100);
/// Tasks stored at once.
const BATCH: usize = 2000;

/// Starts `cronmill-worker` without what the surroundings say.
pub(crate) fn worker(redis: &RedisServer, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRONMILL_") {
            command.env_remove(name);
        }
    }
    Process::start("cronmill-worker", command.env("CRONMILL_REDIS_URL", redis.url()).args(flags))
}

/// Enqueues tasks with these ids.
pub(crate) async fn enqueue(broker: &Broker, queue: &str, kind: &str, ids: Range<usize>) {
    let new = |n: usize| {
        let message = Message {
            kind: kind.into(),
            payload: Bytes::from_static(b"{}"),
            id: n.to_string(),
            queue: queue.into(),
            max_retry: 25,
            timeout_s: 1800,
            ..Message::default()
        };
        NewTask::new(message, None)
    };
    let end = ids.end;
    for start in ids.step_by(BATCH) {
        let batch: Vec<NewTask> = (start..end.min(start + BATCH)).map(new).collect();
        for stored in broker.enqueue_batch(&batch).await {
            stored.expect("stored");
        }
    }
}

/// How many ids a list or set of a queue holds.
pub(crate) fn length(redis: &RedisServer, queue: &str, container: &str) -> usize {
    let command = if matches!(container, "pending" | "active") { "LLEN" } else { "ZCARD" };
    redis.cli([command, &format!("asynq:{{{queue}}}:{container}")]).parse().expect("a number")
}

/// Waits until the condition holds, for what takes minutes: looks cost processor time that the workers want.
pub(crate) async fn now_and_then(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_seldom(SELDOM, limit, what, async || condition()).await;
}
