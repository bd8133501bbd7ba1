//! Very many queues with nothing to do: what the leader pays for them, and how soon one that gets work is served.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::field::{Field, LIMIT, Replica};
use crate::figures::{in_batches, memory};
use crate::support::{full_size, until, until_seldom};
use crate::zero::{scaled, served};

/// Queues that a leader waits on, at most, each with a connection of its own.
const WAITS_MAX: usize = 100;
/// Tasks of a burst, and the workers it gets: as many as are allowed where nothing is said.
const BURST: usize = 1_000;
const MOST_WORKERS: u32 = 10;

/// Clients that wait in a blocking command.
fn blocked(field: &Field) -> usize {
    let told = field.cli(&["INFO", "clients"]);
    let number = told.lines().find_map(|line| line.trim().strip_prefix("blocked_clients:"));
    number.and_then(|number| number.parse().ok()).expect("Redis tells it")
}

/// Seconds of processor time that a process has used.
fn processor_s(replica: &Replica) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", replica.process.pid())).expect("it runs");
    let fields: Vec<_> = stat.rsplit_once(')').expect("its name").1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // utime and stime, in hundredths.
    (ticks(11) + ticks(12)) / 100.0
}

/// Thousandths of a processor that a replica uses while nothing happens.
pub(crate) async fn millicores(replica: &Replica) -> f64 {
    let (began, before) = (Instant::now(), processor_s(replica));
    tokio::time::sleep(full_size(Duration::from_secs(5), Duration::from_secs(60))).await;
    (processor_s(replica) - before) / began.elapsed().as_secs_f64() * 1000.0
}

/// How many of the fleets are there.
fn fleets(field: &Field) -> usize {
    field.api.kubectl(&["get", "deployments", "-n", &field.namespace, "-o", "name"]).lines().count()
}

#[tokio::test]
async fn many_idle_queues_take_few_connections_and_a_burst_on_any_is_decided_within_a_second() {
    let field = Field::new();
    let count = full_size(120, 1_000);
    let operator = field.operator("a", &[]).await;
    in_batches(count, |numbers| {
        let manifests: String = numbers.map(|number| served(&format!("idle-{number}"))).collect();
        let words = ["create", "-n", &field.namespace, "--validate=false", "-f", "-"];
        field.api.try_kubectl(&words, &manifests).expect("objects that are right");
    });
    let patience = full_size(2 * LIMIT, 15 * LIMIT);
    let is_whole = async || fleets(&field) == count;
    until_seldom(Duration::from_secs(1), patience, "each has a fleet", is_whole).await;
    until(patience, "the leader waits on as many as it may", async || blocked(&field) >= WAITS_MAX).await;
    let told = async || operator.metric("cronmill_operator_status_refreshes_total").await;
    let all_is_told = async || {
        let before = told().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        told().await == before
    };
    until(patience, "what there is to tell of each is told", all_is_told).await;
    // Each queue by itself takes fifteen a second, before it is known that there is nothing in it.
    let few = async || {
        let before = field.redis.calls("evalsha");
        tokio::time::sleep(Duration::from_secs(2)).await;
        field.redis.calls("evalsha") - before < count as u64
    };
    until(patience, "scripts are run for few of them", few).await;
    let (used, peak) = (millicores(&operator).await, memory(&operator, "VmHWM"));
    let mut most = blocked(&field);

    // Of some it is heard, the others are looked at.
    let mut took = Vec::new();
    for number in (0..count).step_by(count / 8) {
        let name = format!("idle-{number}");
        let ids: Vec<_> = (0..BURST).map(|id| format!("task-{id}")).collect();
        let pending = format!("asynq:{{{name}}}:pending");
        let words: Vec<_> = ["LPUSH", &pending].into_iter().chain(ids.iter().map(String::as_str)).collect();
        let arrived = Timestamp::now();
        field.cli(&words);
        let queue = format!("{}/{name}", field.namespace);
        let decided = async || scaled(&operator, &queue, MOST_WORKERS).is_some();
        until(LIMIT, "it is scaled, in one step", decided).await;
        took.push(scaled(&operator, &queue, MOST_WORKERS).expect("seen above").duration_since(arrived));
        assert_eq!(field.replicas(&name), Some(u64::from(MOST_WORKERS)));
        most = most.max(blocked(&field));
    }
    println!(
        "{count} idle queues: {used:.1} thousandths of a processor, {peak:.1} MB at the peak, {most} connections \
         that wait; bursts decided after {took:?}"
    );
    assert!(most <= WAITS_MAX, "{most} wait");
    took.sort();
    // A busy machine may hold up one or the other.
    assert!(took[took.len() / 2] < SignedDuration::from_secs(1), "{took:?}");
    if full_size(false, true) {
        assert!(used <= 20.0 && peak <= 80.0, "{used} thousandths, {peak} MB");
        assert!(took.iter().all(|took| *took <= SignedDuration::from_secs(1)), "{took:?}");
    }
}
