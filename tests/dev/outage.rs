//! Redis gone for a while under load: nothing lost, nothing busy, and soon at work again.

use std::time::{Duration, Instant};

use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};

use crate::field::{Dev, Folder, LIMIT, completed, count, cronmill, entries, processor_s, queue, task};
use crate::support::{RedisServer, Sink, full_size, until};

/// Schedules, each of which fires every second.
const SCHEDULES: u64 = 20;
/// How long work may take to go on after Redis is back.
const BACK_AT_WORK: Duration = Duration::from_secs(2);
/// Most processor time that may be used while Redis is away, as a part of one processor.
const IDLE_SHARE: f64 = 0.05;

fn load() -> Folder {
    let folder = Folder::with(&[("q.yaml", queue("workers: {scaling: {stabilization: 2s}}"))]);
    (0..SCHEDULES)
        .for_each(|n| folder.write(&format!("{n}.yaml"), &task(&format!("t{n}"), "* * * * * *", "")));
    folder
}

/// Enqueues tasks for the sink, with the ids `0` to `number - 1`.
async fn enqueue(redis: &RedisServer, number: usize) {
    let client = Client::new(Broker::connect(&redis.endpoint()).await.unwrap());
    let tasks = (0..number).map(|n| Task::new("http:sink", None).queue("q").id(n.to_string()));
    for stored in client.enqueue_batch(tasks.collect()).await {
        stored.unwrap();
    }
}

/// Waits until a queue under load has got somewhere.
async fn is_at_work(redis: &RedisServer, dev: &Dev) {
    dev.in_force(SCHEDULES as usize).await;
    completed(redis, SCHEDULES * 2).await;
}

/// Lets an outage last, and checks that nobody makes a fuss of it. `begin` ends with Redis away.
async fn is_quiet(dev: &Dev, lasts: Duration) {
    let mut pids = dev.workers();
    assert!(!pids.is_empty());
    pids.push(dev.0.pid());
    // The first moments of an outage are for failing calls and their log lines.
    let settled = Instant::now() + Duration::from_secs(1);
    dev.until("the first second is over", async || Instant::now() >= settled).await;
    let before: Vec<f64> = pids.iter().map(|pid| processor_s(*pid)).collect();
    let end = Instant::now() + lasts;
    until(lasts + LIMIT, "the outage is over", async || Instant::now() >= end).await;
    for (pid, before) in pids.iter().zip(before) {
        let share = (processor_s(*pid) - before) / lasts.as_secs_f64();
        println!("process {pid} used {:.1} % of a processor while Redis was away", share * 100.0);
        assert!(share < IDLE_SHARE, "{share}");
    }
    assert!(pids.iter().all(|pid| crate::field::runs(*pid)), "nobody ends because Redis is away");
}

async fn works_again(redis: &RedisServer, what: &str) {
    let (back, done) = (Instant::now(), count(redis, "completed"));
    completed(redis, done + 1).await;
    println!("{what}: a task was completed {} ms after Redis was back", back.elapsed().as_millis());
    assert!(back.elapsed() < BACK_AT_WORK, "{:?}", back.elapsed());
}

/// Every tick of which the ledgers say that it was enqueued is a completed task, and no task is anywhere else.
async fn nothing_is_lost(redis: &RedisServer, folder: &Folder) {
    (0..SCHEDULES).for_each(|n| {
        folder.write(&format!("{n}.yaml"), &task(&format!("t{n}"), "* * * * * *", "suspend: true"));
    });
    let suspended = async || {
        entries(redis)
            .iter()
            .all(|uid| redis.cli(["HEXISTS", &format!("cronmill:{{q}}:entry:{uid}"), "suspended"]) == "1")
    };
    until(LIMIT, "nothing fires any more", suspended).await;
    let left = || ["pending", "active", "retry", "scheduled", "archived"].map(|state| count(redis, state));
    until(LIMIT, "every task is done", async || left() == [0; 5]).await;
    let counted = |uid: &String, name: &str| -> u64 {
        redis.cli(["HGET", &format!("cronmill:{{q}}:entry:{uid}"), &format!("n:{name}")]).parse().unwrap_or(0)
    };
    let uids = entries(redis);
    let enqueued: u64 = uids.iter().map(|uid| counted(uid, "enqueued") + counted(uid, "refired")).sum();
    let failed: u64 = uids.iter().map(|uid| counted(uid, "failed")).sum();
    assert_eq!((uids.len() as u64, enqueued, failed), (SCHEDULES, count(redis, "completed"), 0));
    println!("{enqueued} ticks enqueued, {enqueued} tasks completed");
}

/// Besides the schedules there are tasks whose effects a web server counts: many wait when Redis is killed, and some
/// run. Redis has written down what it said it has, `appendfsync always`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_started_again_under_load() {
    let number = full_size(2_000, 10_000);
    let mut redis = RedisServer::options().durable().start();
    let folder = load();
    let sink = Sink::start(Duration::from_millis(50)).await;
    let mut command = cronmill(&["dev", "-o", "json", "--redis", &redis.url(), "-f"]);
    let dev = Dev::start(command.arg(folder.path()).env("CRONMILL_HTTP_TARGETS", sink.target()));
    is_at_work(&redis, &dev).await;
    enqueue(&redis, number).await;
    dev.until("a part of the work is done", async || sink.tasks() >= number / 4).await;
    let (waited, ran) = (count(&redis, "pending"), count(&redis, "active"));
    redis.kill9();
    let away = Instant::now();
    println!(
        "killed while {waited} tasks waited and {ran} ran, after the effects of {} of {number}",
        sink.tasks()
    );
    assert!(waited > 0 && ran > 0, "killed too late to show anything");
    is_quiet(&dev, full_size(Duration::from_secs(5), Duration::from_secs(60))).await;
    let before = sink.tasks();
    redis.start_again();
    println!(
        "started again {:.1} s later, after the effects of {before} tasks",
        away.elapsed().as_secs_f64()
    );
    let back = Instant::now();
    dev.until("work goes on", async || sink.tasks() > before).await;
    println!("the next effect came {} ms after Redis was back", back.elapsed().as_millis());
    assert!(back.elapsed() < BACK_AT_WORK, "{:?}", back.elapsed());
    dev.until("every task has had its effect", async || sink.tasks() >= number).await;
    nothing_is_lost(&redis, &folder).await;
    let effects = sink.effects();
    let runs: u64 = effects.values().map(|times| u64::from(*times)).sum();
    println!("{number} tasks, {} had their effect, in {runs} runs", effects.len());
    assert!((0..number).all(|n| effects.contains_key(&n.to_string())), "some had none");
}

#[tokio::test]
async fn redis_frozen_under_load() {
    let redis = RedisServer::options().durable().start();
    let folder = load();
    let dev = Dev::on(&redis, &folder, &[]);
    is_at_work(&redis, &dev).await;
    redis.freeze();
    is_quiet(&dev, full_size(Duration::from_secs(8), Duration::from_secs(60))).await;
    redis.thaw();
    works_again(&redis, "frozen").await;
    nothing_is_lost(&redis, &folder).await;
}

#[tokio::test]
async fn a_schedule_deleted_while_redis_is_away_never_fires_again() {
    let mut redis = RedisServer::options().durable().start();
    let folder = Folder::with(&[("q.yaml", queue(""))]);
    for name in ["gone", "stays"] {
        folder.write(&format!("{name}.yaml"), &task(name, "* * * * * *", ""));
    }
    let dev = Dev::on(&redis, &folder, &[]);
    dev.until("both fire", async || dev.enqueued("default/gone") > 0 && dev.enqueued("default/stays") > 0)
        .await;
    redis.kill9();
    folder.remove("gone.yaml");
    let in_force = Instant::now() + Duration::from_secs(1);
    dev.until("a deletion is in force", async || Instant::now() >= in_force).await;
    // What fired last is told by now.
    let fired = dev.enqueued("default/gone");
    redis.start_again();
    let others = dev.enqueued("default/stays");
    dev.until("the other one fires on", async || dev.enqueued("default/stays") >= others + 3).await;
    assert_eq!((dev.enqueued("default/gone"), entries(&redis).len()), (fired, 1));
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_gets_everything_again_within_seconds() {
    let mut redis = RedisServer::start();
    let folder = load();
    let dev = Dev::on(&redis, &folder, &[]);
    is_at_work(&redis, &dev).await;
    redis.kill9();
    redis.start_again();
    let back = Instant::now();
    dev.until("all entries are back", async || entries(&redis).len() as u64 == SCHEDULES).await;
    println!("all entries were back {} ms after Redis was", back.elapsed().as_millis());
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    completed(&redis, SCHEDULES).await;
}
