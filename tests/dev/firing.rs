//! Files in, ticks out: what is in force, since when, and what no longer is.

use std::time::{Duration, Instant};

use cronmill::schedule::local_uid;

use crate::field::{Dev, Folder, completed, count, entries, queue, task};
use crate::support::RedisServer;

#[tokio::test]
async fn a_manifest_fires_and_its_worker_runs_the_task() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("workers: {}")), ("t.yaml", task("a", "* * * * * *", ""))]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.event("tick", |tick| tick["schedule"] == "default/a" && tick["outcome"] == "enqueued").await;
    completed(&redis, 2).await;
    // The id of a task is its schedule's uid and the tick's time.
    let uid = entries(&redis).concat();
    let ids = redis.cli_lines(["ZRANGE", "asynq:{q}:completed", "0", "-1"]);
    assert!(ids.iter().all(|id| id.starts_with(&uid)), "{ids:?} of {uid}");
}

#[tokio::test]
async fn an_edit_is_in_force_within_a_second() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("")), ("t.yaml", task("a", "0 0 1 1 *", ""))]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.in_force(1).await;
    let uid = entries(&redis).concat();
    let body = || redis.cli(["HGET", &format!("cronmill:{{q}}:entry:{uid}"), "body"]);
    let mut slowest = Duration::ZERO;
    for hour in 1..=5 {
        let schedule = format!("0 {hour} 1 1 *");
        folder.write("t.yaml", &task("a", &schedule, ""));
        let written = Instant::now();
        dev.until("the edit is in Redis", async || body().contains(&schedule)).await;
        slowest = slowest.max(written.elapsed());
    }
    println!("slowest of five edits: {} ms", slowest.as_millis());
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(entries(&redis), [uid]);
}

#[tokio::test]
async fn a_half_written_file_changes_nothing() {
    let redis = RedisServer::start();
    let good = task("a", "* * * * * *", "");
    let folder = Folder::with(&[("q.yaml", queue("")), ("t.yaml", good.clone())]);
    let mut dev = Dev::on(&redis, &folder, &[]);
    dev.in_force(1).await;
    std::fs::write(folder.file("t.yaml"), &good[..good.len() / 2]).unwrap();
    let told =
        async || dev.0.stderr().iter().any(|line| line.starts_with("error: ") && line.contains("t.yaml"));
    dev.until("it says what is wrong", told).await;
    let fired = dev.enqueued("default/a");
    dev.until("it goes on firing", async || dev.enqueued("default/a") > fired + 1).await;
    std::fs::write(folder.file("t.yaml"), good).unwrap();
    let mended = async || dev.0.stderr().iter().any(|line| line == "note: every manifest is right again");
    dev.until("it says that it is mended", mended).await;
    let fired = dev.enqueued("default/a");
    dev.until("it goes on firing", async || dev.enqueued("default/a") > fired + 1).await;
    assert_eq!(dev.ended().await, Some(0), "all is right at the end");
}

#[tokio::test]
async fn a_suspended_schedule_fires_nothing_and_goes_on_where_it_is_resumed() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("")), ("t.yaml", task("a", "* * * * * *", ""))]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.event("tick", |tick| tick["outcome"] == "enqueued").await;
    folder.write("t.yaml", &task("a", "* * * * * *", "suspend: true"));
    dev.event("tick", |tick| tick["outcome"] == "suspended").await;
    let fired = count(&redis, "pending");
    let suspended = |dev: &Dev| dev.events().iter().filter(|event| event["outcome"] == "suspended").count();
    dev.until("three ticks pass suspended", async || suspended(&dev) >= 3).await;
    assert_eq!(count(&redis, "pending"), fired);
    folder.write("t.yaml", &task("a", "* * * * * *", ""));
    dev.until("it fires again", async || count(&redis, "pending") > fired).await;
    let outcome = |event: &serde_json::Value| event["outcome"].as_str().map(str::to_owned);
    let outcomes = || {
        let mut outcomes: Vec<_> = dev.events().iter().filter_map(outcome).collect();
        outcomes.dedup();
        outcomes
    };
    // What is in Redis is told a moment later.
    dev.until("that is told", async || outcomes().last().is_some_and(|last| last == "enqueued")).await;
    assert_eq!(outcomes(), ["enqueued", "suspended", "enqueued"], "nothing is made up for");
}

#[tokio::test]
async fn deleting_a_file_stops_its_ticks_and_takes_its_entry_out() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[
        ("q.yaml", queue("")),
        ("a.yaml", task("a", "* * * * * *", "")),
        ("b.yaml", task("b", "* * * * * *", "")),
    ]);
    let dev = Dev::on(&redis, &folder, &[]);
    for name in ["default/a", "default/b"] {
        dev.event("tick", |tick| tick["schedule"] == name).await;
    }
    // By Redis, which has a task before it is told.
    let fired = |name: &str| {
        let uid = local_uid("CronTask", "default", name).to_string();
        let ids = redis.cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]);
        ids.iter().filter(|id| id.starts_with(&uid)).count()
    };
    folder.remove("a.yaml");
    dev.until("one entry is left", async || entries(&redis).len() == 1).await;
    let (a, b) = (fired("a"), fired("b"));
    dev.until("the other one fires on", async || fired("b") >= b + 3).await;
    assert!(a > 0 && fired("a") == a, "{a} and then {}", fired("a"));
    assert_eq!(dev.enqueued("default/a"), a);
    let keys = redis.keys("cronmill:{q}:entry:*");
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test]
async fn a_schedule_deleted_while_nothing_ran_never_fires() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[
        ("q.yaml", queue("")),
        ("gone.yaml", task("gone", "* * * * * *", "")),
        ("stays.yaml", task("stays", "* * * * * *", "")),
    ]);
    let mut first = Dev::on(&redis, &folder, &[]);
    first.event("tick", |tick| tick["schedule"] == "default/gone").await;
    assert_eq!(first.ended().await, Some(0));
    folder.remove("gone.yaml");
    let second = Dev::on(&redis, &folder, &[]);
    second.until("the other one fires", async || second.enqueued("default/stays") >= 3).await;
    let ticks = second.events().into_iter().filter(|event| event["schedule"] == "default/gone");
    assert_eq!(ticks.collect::<Vec<_>>(), Vec::<serde_json::Value>::new());
    assert_eq!(entries(&redis).len(), 1);
}

#[tokio::test]
async fn two_folders_on_one_redis_do_not_sweep_each_other() {
    let redis = RedisServer::start();
    let (one, two) = (Folder::of("one", "0 0 1 1 *"), Folder::of("two", "0 0 1 1 *"));
    let first = Dev::on(&redis, &one, &[]);
    first.in_force(1).await;
    let mut second = Dev::on(&redis, &two, &[]);
    second.in_force(1).await;
    assert_eq!(entries(&redis).len(), 2);
    let others = |line: &String| line.contains("1 more schedules stand in this Redis");
    second.until("it says that others are there", async || second.0.stderr().iter().any(others)).await;
    // Started again without its manifest, it sweeps its own and nothing else.
    assert_eq!(second.ended().await, Some(0));
    two.remove("all.yaml");
    let second = Dev::on(&redis, &two, &[]);
    second.in_force(0).await;
    assert_eq!(entries(&redis).len(), 1);
    let left = redis.cli(["HGET", &format!("cronmill:{{q}}:entry:{}", entries(&redis).concat()), "body"]);
    assert!(left.contains("\"one\""), "{left}");
}

#[tokio::test]
async fn two_folders_on_one_redis_fire_each_its_own_and_do_not_wait_for_each_other() {
    let redis = RedisServer::start();
    let folders = ["one", "two"].map(|name| Folder::of(name, "* * * * * *"));
    let devs = folders.each_ref().map(|folder| Dev::on(&redis, folder, &[]));
    for (dev, ours, theirs) in
        [(&devs[0], "default/one", "default/two"), (&devs[1], "default/two", "default/one")]
    {
        dev.until("it fires its own", async || dev.enqueued(ours) >= 5).await;
        assert_eq!(dev.enqueued(theirs), 0);
        // Of two that fire the same, one leaves each tick to the other for 100 ms.
        let lateness = |event: serde_json::Value| event["latenessMs"].as_u64();
        let late: Vec<_> = dev.events().into_iter().filter_map(lateness).collect();
        assert!(late[2..].iter().any(|late| *late < 100), "{late:?}");
    }
}

#[tokio::test]
async fn a_queue_paused_in_its_manifest_is_paused_until_it_no_longer_says_so() {
    let redis = RedisServer::start();
    let paused =
        |line: &str| queue("workers: {}").replace("redisName: q\n", &format!("redisName: q\n    {line}\n"));
    let folder = Folder::with(&[
        ("q.yaml", paused("paused: {reason: migration}")),
        ("t.yaml", task("a", "* * * * * *", "")),
    ]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.until("tasks wait", async || count(&redis, "pending") >= 3).await;
    assert_eq!((count(&redis, "completed"), dev.workers()), (0, Vec::new()));
    let reason = redis.cli(["HGET", "cronmill:{q}:pause", "reason"]);
    assert_eq!(reason, "migration");
    folder.write("q.yaml", &queue("workers: {}"));
    completed(&redis, 3).await;
    assert_eq!(redis.cli(["EXISTS", "asynq:{q}:paused"]), "0");
    // A pause that somebody else made is not ours to lift.
    redis.cli(["SET", "asynq:{q}:paused", "1"]);
    folder.write("q.yaml", &queue("lease: 40s\nworkers: {}"));
    dev.until("the edit is in force", async || {
        dev.0.stdout().iter().filter(|line| line.contains("inForce")).count() >= 3
    })
    .await;
    assert_eq!(redis.cli(["EXISTS", "asynq:{q}:paused"]), "1");
}

#[tokio::test]
async fn a_schedule_that_moves_to_another_queue_loses_no_tick_and_fires_none_twice() {
    let redis = RedisServer::start();
    let queues = queue("").replace("redisName: q\n", "redisName: q\n  - name: other\n    redisName: other\n");
    let folder = Folder::with(&[("q.yaml", queues), ("t.yaml", task("a", "* * * * * *", ""))]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.until("it fires", async || dev.enqueued("default/a") >= 2).await;
    let moved = task("a", "* * * * * *", "").replace("{name: main}", "{name: main, queue: other}");
    folder.write("t.yaml", &moved);
    let in_other = || redis.cli_lines(["LRANGE", "asynq:{other}:pending", "0", "-1"]);
    dev.until("it fires there", async || in_other().len() >= 2).await;
    assert_eq!(entries(&redis), Vec::<String>::new());
    let mut ids = redis.cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]);
    ids.extend(in_other());
    let mut seconds: Vec<i64> =
        ids.iter().map(|id| id.rsplit_once('-').unwrap().1.parse().unwrap()).collect();
    seconds.sort_unstable();
    let expected: Vec<i64> = (seconds[0]..).take(seconds.len()).collect();
    assert_eq!(seconds, expected);
}
