//! Workers killed without warning while they hold work, one after another.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cronmill::broker::Broker;

use crate::fleet::{enqueue, length, now_and_then, worker};
use crate::support::{Process, RedisServer, Sink, full_size, until};

const QUEUE: &str = "kills";
/// How long anything may take that is no wait for work to be done.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the work may take: what crashed three times waits for its retry.
const WORK_LIMIT: Duration = Duration::from_secs(1200);
/// How long an answer takes, so that a worker holds work nearly always.
const ANSWER: Duration = Duration::from_millis(25);

/// Of each task in `active`, who holds it: `<lease end> <host>:<pid>:<run>`.
const HOLDERS: &str = "local r = {} for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do \
     r[#r+1] = redis.call('HGET', KEYS[2], id) or '' end return r";

/// How many tasks each process holds, from Redis.
fn holdings(redis: &RedisServer) -> HashMap<u32, usize> {
    let (active, holders) = (format!("asynq:{{{QUEUE}}}:active"), format!("cronmill:{{{QUEUE}}}:holders"));
    let mut held = HashMap::new();
    for lease in redis.cli_lines(["EVAL", HOLDERS, "2", &active, &holders]) {
        if let Some(pid) = lease.rsplit(':').nth(1).and_then(|pid| pid.parse().ok()) {
            *held.entry(pid).or_default() += 1;
        }
    }
    held
}

struct Fleet<'a> {
    redis: &'a RedisServer,
    flags: Vec<String>,
    workers: Vec<Process>,
}

impl Fleet<'_> {
    fn add(&mut self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.workers.push(worker(self.redis, &flags));
    }

    /// Kills one of those that hold work, any of them, and starts another in its place. Returns how many tasks it
    /// held: those that stand in `active` in its name once it is dead.
    async fn kill_one(&mut self) -> usize {
        let end = Instant::now() + LIMIT;
        loop {
            let held = holdings(self.redis);
            let busy: Vec<usize> =
                (0..self.workers.len()).filter(|&n| held.contains_key(&self.workers[n].pid())).collect();
            if !busy.is_empty() {
                let mut victim = self.workers.swap_remove(busy[fastrand::usize(..busy.len())]);
                victim.kill9();
                self.add();
                // One that had just reported all it held is dead too, but shows nothing.
                if let Some(tasks) = holdings(self.redis).get(&victim.pid()) {
                    return *tasks;
                }
            }
            assert!(Instant::now() < end, "no worker holds work; {:#?}", self.workers);
            tokio::task::yield_now().await;
        }
    }
}

/// Each task's effect is counted by a web server that the handler `http` hands it to, not by us. A worker counts as
/// killed only if tasks stood in `active` in its name after its death. The kills are spread over the work: the next
/// one is due when so many more tasks have had their effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_of_killed_workers_has_its_effect_and_none_strands() {
    let (tasks, kills, size) = full_size((2_000, 20, 3), (100_000, 1_000, 4));
    let redis = RedisServer::start();
    let sink = Sink::start(ANSWER).await;
    let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
    enqueue(&broker, QUEUE, "http:sink", 0..tasks).await;
    let target = format!("--http-target={}", sink.target());
    let queues = format!("--queues={QUEUE}");
    let flags = [queues.as_str(), "--concurrency=10", "--lease=2s", &target].map(str::to_owned);
    let mut fleet = Fleet { redis: &redis, flags: flags.into(), workers: Vec::new() };
    let start = Instant::now();
    (0..size).for_each(|_| fleet.add());

    let mut held = 0;
    for kill in 0..kills {
        // After the last one there has to be work, or nobody holds any.
        let due = tasks * 3 / 4 * kill / kills;
        until(WORK_LIMIT, "work goes on", async || sink.tasks() >= due).await;
        held += fleet.kill_one().await;
    }
    println!(
        "{kills} workers killed while they held {held} tasks, over {} of {tasks} tasks, in {:.0} s",
        sink.tasks(),
        start.elapsed().as_secs_f64()
    );
    let containers = ["pending", "active", "lease", "retry", "scheduled"];
    let left = || containers.map(|container| length(&redis, QUEUE, container));
    now_and_then(WORK_LIMIT, "nothing is left to do", || left() == [0; 5]).await;
    let seconds = start.elapsed().as_secs_f64();

    let effects = sink.effects();
    let runs: u64 = effects.values().map(|times| u64::from(*times)).sum();
    let doubles = effects.values().filter(|times| **times > 1).count();
    let most = effects.values().max().copied().unwrap_or_default();
    println!(
        "{tasks} tasks, {} had their effect, {runs} runs: {} double runs of {doubles} tasks, one of them {most} times; {seconds:.0} s",
        effects.len(),
        runs - effects.len() as u64,
    );
    let without: Vec<usize> = (0..tasks).filter(|n| !effects.contains_key(&n.to_string())).collect();
    assert_eq!(without, Vec::<usize>::new(), "without an effect");
    assert_eq!(effects.len(), tasks, "effects of tasks that nobody enqueued");
    assert_eq!(left(), [0; 5], "{containers:?}");
    assert_eq!((length(&redis, QUEUE, "archived"), length(&redis, QUEUE, "completed")), (0, 0));
    assert_eq!(redis.keys(&format!("asynq:{{{QUEUE}}}:t:*")), Vec::<String>::new());
}
