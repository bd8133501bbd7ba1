//! Weights and strict priorities, from the order in which Redis saw the claims.
//!
//! Both our claim and asynq's write the field `state` of each task they take, one `HSET` per task. Redis announces
//! every `HSET` to whoever subscribes to its keyspace, in the order in which it executes commands, those inside scripts
//! included. So the first announcement for a task that was enqueued before is its claim, and the announcements are the
//! order of all claims of all workers, ours and Go's, told by neither. `redis-cli` listens. That nothing was missed is
//! checked against what is no longer pending.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use cronmill::broker::{Broker, NewTask};
use cronmill::task::Message;

use crate::fleet::{SELDOM, enqueue, length, now_and_then, worker};
use crate::support::peers::events;
use crate::support::{Peers, Process, RedisServer, full_size, until, until_seldom};

/// Heaviest first.
const WEIGHTS: [(&str, usize); 3] = [("critical", 6), ("default", 3), ("low", 1)];
const QUEUES: &str = "critical=6,default=3,low=1";
const CONCURRENCY: &str = "20";
const LIMIT: Duration = Duration::from_secs(60);
/// How long the work may take.
const WORK_LIMIT: Duration = Duration::from_secs(900);

/// A task that was claimed: its queue's place in [`WEIGHTS`], and its id.
type Claim = (usize, String);

struct Stage {
    redis: RedisServer,
    broker: Broker,
    tasks: usize,
    claims: Process,
}

impl Stage {
    /// So many tasks in each queue, and somebody who notes every claim from now on.
    async fn with(tasks: usize) -> Self {
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
        for (queue, _) in WEIGHTS {
            enqueue(&broker, queue, "hello", 0..tasks).await;
        }
        redis.cli(["CONFIG", "SET", "notify-keyspace-events", "Kh"]);
        // However far the listener is behind, nothing is thrown away.
        redis.cli(["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
        let mut command = Command::new("redis-cli");
        command.args([
            "-p",
            &redis.port().to_string(),
            "--csv",
            "PSUBSCRIBE",
            "__keyspace@0__:asynq:{*}:t:*",
        ]);
        let claims = Process::start("redis-cli", &mut command);
        claims.line(LIMIT, |line| line.starts_with(r#""psubscribe""#)).await;
        Self { redis, broker, tasks, claims }
    }

    fn ours(&self, strict: bool) -> Process {
        let flags = ["--queues", QUEUES, "--concurrency", CONCURRENCY, "--strict"];
        worker(&self.redis, if strict { &flags } else { &flags[..4] })
    }

    async fn gos(&self, strict: bool) -> Process {
        let mut flags = vec!["--queues", QUEUES, "--concurrency", CONCURRENCY];
        if strict {
            flags.push("--strict");
        }
        Peers::on(&self.redis.url()).worker(&flags).await
    }

    /// Lets the workers do light work for so long, and leaves so much of it that they cannot be through with it in the
    /// second after, however fast they are. `ids` is how many light tasks there were so far.
    async fn keep_busy(&self, lasting: Duration, ids: &mut usize) {
        const SPARE: usize = 20_000;
        let since = Instant::now();
        let claimed = |ids: usize| ids - length(&self.redis, "low", "pending");
        let before = claimed(*ids);
        until_seldom(SELDOM, LIMIT, "light work is done for a while", async || {
            if *ids - claimed(*ids) < SPARE {
                enqueue(&self.broker, "low", "hello", *ids..*ids + SPARE).await;
                *ids += SPARE;
            }
            since.elapsed() > lasting && claimed(*ids) > before
        })
        .await;
    }

    /// How many tasks are no longer pending.
    fn claimed(&self) -> usize {
        WEIGHTS.iter().map(|(queue, _)| self.tasks - length(&self.redis, queue, "pending")).sum()
    }

    /// Waits until so many tasks were claimed, kills the workers, and returns all claims in their order.
    async fn claims(&self, at_least: usize, mut workers: Vec<Process>) -> Vec<Claim> {
        let what = format!("{at_least} tasks are claimed");
        now_and_then(WORK_LIMIT, &what, || {
            for worker in &mut workers {
                assert!(worker.ended().is_none(), "{worker:#?}");
            }
            self.claimed() >= at_least
        })
        .await;
        // Dead they hand nothing back, so what is no longer pending was claimed.
        workers.iter_mut().for_each(Process::kill9);
        let claimed = self.claimed();
        let mut claims = Vec::new();
        until(LIMIT, "every claim was announced", async || {
            claims = first_of_each(&self.claims.stdout());
            claims.len() >= claimed
        })
        .await;
        // The one command that was on its way at the death.
        assert_eq!(claims.len(), self.claimed(), "as many claims as tasks that are no longer pending");
        claims
    }
}

/// Each task's first announcement: `"pmessage",pattern,"__keyspace@0__:asynq:{<queue>}:t:<id>","hset"`.
fn first_of_each(lines: &[String]) -> Vec<Claim> {
    let mut seen = HashSet::new();
    let claim = |line: &String| {
        let (_, key) = line.strip_prefix(r#""pmessage","#)?.rsplit_once(":asynq:{")?;
        let (queue, rest) = key.split_once("}:t:")?;
        let (id, event) = rest.split_once(r#"",""#)?;
        let queue = WEIGHTS.iter().position(|(name, _)| *name == queue).expect("a queue of ours");
        let claim = (queue, id.to_owned());
        (event.starts_with("hset") && seen.insert(claim.clone())).then_some(claim)
    };
    lines.iter().filter_map(claim).collect()
}

/// Fails unless each queue has the share of the claims that its weight says, give or take so many points.
fn assert_shares(what: &str, claims: &[Claim], points: f64) {
    let all: usize = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let share = |place: usize| {
        let of_it = claims.iter().filter(|(queue, _)| *queue == place).count();
        100.0 * of_it as f64 / claims.len() as f64
    };
    let shares = [0, 1, 2].map(share);
    println!("{what}: {} claims, {:.2} / {:.2} / {:.2} %", claims.len(), shares[0], shares[1], shares[2]);
    for (place, (queue, weight)) in WEIGHTS.iter().enumerate() {
        let wanted = 100.0 * *weight as f64 / all as f64;
        assert!((shares[place] - wanted).abs() <= points, "{what}: {queue} got {:.2} %", shares[place]);
    }
}

/// Which claims are a Go worker's, from what it printed; all others are ours.
fn split(claims: &[Claim], go: &[serde_json::Value]) -> (Vec<Claim>, Vec<Claim>) {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let started: HashSet<(String, String)> =
        go.iter().map(|event| (text(&event["queue"]), text(&event["id"]))).collect();
    claims.iter().cloned().partition(|(place, id)| started.contains(&(WEIGHTS[*place].0.into(), id.clone())))
}

/// Claims of a queue while a heavier one still had tasks, by queue. No task came after the first claim, so a queue is
/// empty once all of its tasks were claimed.
fn out_of_order(claims: &[Claim], tasks: usize) -> HashMap<&'static str, usize> {
    let (mut left, mut wrong) = ([tasks; 3], HashMap::new());
    for (queue, _) in claims {
        if left[..*queue].iter().any(|left| *left > 0) {
            *wrong.entry(WEIGHTS[*queue].0).or_default() += 1;
        }
        left[*queue] -= 1;
    }
    wrong
}

/// Tasks per queue, claims looked at, and points to each side. In the short form chance alone is good for a point.
fn size() -> (usize, usize, f64) {
    full_size((6_000, 3_000, 5.0), (100_000, 30_000, 2.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_the_shares_of_the_claims() {
    let (tasks, first, points) = size();
    let stage = Stage::with(tasks).await;
    let claims = stage.claims(first, vec![stage.ours(false)]).await;
    assert_shares("ours, weighted", &claims[..first], points);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_the_shares_of_the_claims_beside_a_go_worker() {
    // So many that whoever begins second has a part of them.
    let (tasks, first, points) = full_size((20_000, 10_000, 5.0), size());
    let stage = Stage::with(tasks).await;
    let go = stage.gos(false).await;
    let ours = stage.ours(false);
    let what = format!("{first} tasks are claimed");
    now_and_then(WORK_LIMIT, &what, || stage.claimed() >= first).await;
    let starts = events(&go, "start");
    let claims = stage.claims(first, vec![go, ours]).await;
    let claims = &claims[..first];
    assert_shares("ours and Go's, weighted", claims, points);
    let (gos, ours) = split(claims, &starts);
    assert!(gos.len() > first / 50 && ours.len() > first / 50, "both work: {}, {}", gos.len(), ours.len());
    assert_shares("  of these Go's", &gos, 100.0);
    assert_shares("  of these ours", &ours, 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strictly_no_lighter_queue_is_claimed_while_a_heavier_one_has_tasks() {
    let tasks = full_size(1_500, 100_000);
    let stage = Stage::with(tasks).await;
    let claims = stage.claims(3 * tasks, vec![stage.ours(true)]).await;
    println!("ours, strict: {} claims, out of order {:?}", claims.len(), out_of_order(&claims, tasks));
    assert_eq!(out_of_order(&claims, tasks), HashMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strictly_no_lighter_queue_is_claimed_while_a_heavier_one_has_tasks_beside_a_go_worker() {
    let tasks = full_size(1_500, 100_000);
    let stage = Stage::with(tasks).await;
    let workers = vec![stage.gos(true).await, stage.ours(true)];
    let claims = stage.claims(3 * tasks, workers).await;
    println!(
        "ours and Go's, strict: {} claims, out of order {:?}",
        claims.len(),
        out_of_order(&claims, tasks)
    );
    assert_eq!(out_of_order(&claims, tasks), HashMap::new());
}

/// How many tasks of the lightest queue were claimed while the heaviest one had some: the first announcement of a task
/// that came later, `<round>-<number>`, is its arrival, the second its claim. By round.
fn overtakers(lines: &[String], rounds: usize) -> (Vec<usize>, usize) {
    let (mut waiting, mut seen, mut by_round) = (HashSet::new(), HashSet::new(), vec![0; rounds]);
    let (mut round, mut claimed) = (0, 0);
    for line in lines.iter().filter(|line| line.contains("hset")) {
        let Some((_, key)) = line.rsplit_once(":asynq:{") else { continue };
        let (queue, id) = key.split_once("}:t:").expect("a task of a queue");
        if queue == "low" {
            if seen.insert(key) && !waiting.is_empty() {
                by_round[round] += 1;
            }
        } else if waiting.remove(key) {
            claimed += 1;
        } else if seen.insert(key) {
            waiting.insert(key);
            round = id.split_once('-').and_then(|(round, _)| round.parse().ok()).expect("<round>-<number>");
        }
    }
    (by_round, claimed)
}

/// Several workers are busy with the lightest queue, longer than any of them waits before it looks at an empty queue
/// again, when the heaviest gets work. What was on its way to be claimed at that moment is claimed: one claim of each
/// worker, and one more that was sent before its bell rang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strictly_a_heavier_queue_that_gets_work_is_served_next() {
    const WORKERS: usize = 4;
    const BURST: usize = 200;
    let rounds = full_size(2, 10);
    let stage = Stage::with(0).await;
    let mut fleet: Vec<Process> = (0..WORKERS).map(|_| stage.ours(true)).collect();
    let mut lighter = 0;
    for round in 0..rounds {
        stage.keep_busy(Duration::from_millis(1500), &mut lighter).await;
        let new = |n: usize| {
            let (kind, id, queue) = ("hello".into(), format!("{round}-{n}"), "critical".into());
            NewTask::new(Message { kind, id, queue, timeout_s: 60, ..Message::default() }, None)
        };
        let burst: Vec<NewTask> = (0..BURST).map(new).collect();
        for stored in stage.broker.enqueue_batch(&burst).await {
            stored.expect("stored");
        }
        until(LIMIT, "it is served", async || length(&stage.redis, "critical", "pending") == 0).await;
        assert!(
            length(&stage.redis, "low", "pending") > 0,
            "nothing was left that could have overtaken them"
        );
    }
    fleet.iter_mut().for_each(Process::kill9);
    let mut overtaken = Vec::new();
    until(LIMIT, "every claim was announced", async || {
        let (by_round, claimed) = overtakers(&stage.claims.stdout(), rounds);
        overtaken = by_round;
        claimed >= rounds * BURST
    })
    .await;
    println!(
        "{WORKERS} workers, strict: {BURST} came {rounds} times, overtaken by {overtaken:?} of {lighter}"
    );
    let most = 2 * WORKERS * CONCURRENCY.parse::<usize>().expect("a number");
    assert!(overtaken.iter().all(|by| *by <= most), "{overtaken:?}, at most {most} each");
}
