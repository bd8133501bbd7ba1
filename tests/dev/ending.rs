//! The end: by a signal, by two, without warning; and that nothing is left behind.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::field::{
    Dev, Folder, LIMIT, children, command_line, completed, count, cronmill, indented, pid, queue, runs, task,
    template,
};
use crate::support::{RedisServer, until};

/// Manifests of an endless task each second and of workers for it.
fn endless() -> Folder {
    let nap = task("nap", "* * * * * *", "concurrencyPolicy: Forbid");
    Folder::with(&[
        ("q.yaml", queue("workers: {}")),
        ("t.yaml", nap.replace("{type: hello,", "{type: exec:script,")),
    ])
}

/// `cronmill dev` whose worker is inside an endless task.
async fn busy(redis: &RedisServer, folder: &Folder) -> Dev {
    let begun = folder.file("begun");
    let dev = Dev::with_script(redis, folder, &format!("echo > {}; exec sleep 3600", begun.display()));
    dev.until("a worker runs the task", async || begun.exists()).await;
    dev
}

/// The one task of queue `q` is back at no cost: pending, no attempt spent, no crash.
async fn is_back(redis: &RedisServer) {
    until(LIMIT, "the task is back in its queue", async || count(redis, "pending") == 1).await;
    let id = redis.cli(["LINDEX", "asynq:{q}:pending", "0"]);
    let crashes = redis.cli(["HGET", &format!("asynq:{{q}}:t:{id}"), "cronmill_crashes"]);
    let failed = redis.cli(["GET", "asynq:{q}:failed"]);
    assert_eq!((count(redis, "active"), crashes.as_str(), failed.as_str()), (0, "", ""));
}

/// What `dev` has started, and the folder of its Redis.
fn started(dev: &Dev) -> (Vec<u32>, Option<PathBuf>) {
    let children = children(dev.0.pid());
    let server = children.iter().find(|pid| command_line(**pid).contains("redis-server"));
    let folder = server.map(|pid| fs::read_link(format!("/proc/{pid}/cwd")).unwrap());
    (children, folder)
}

async fn are_gone(pids: &[u32], limit: Duration) {
    let what = "none of its processes is left";
    until(limit, what, async || !pids.iter().any(|pid| runs(*pid))).await;
}

#[tokio::test]
async fn either_signal_ends_it_with_0_and_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder =
            Folder::with(&[("q.yaml", queue("workers: {}")), ("t.yaml", task("a", "* * * * * *", ""))]);
        let mut dev = Dev::alone(&folder);
        dev.event("tick", |tick| tick["outcome"] == "enqueued").await;
        dev.until("a worker is there", async || !dev.workers().is_empty()).await;
        let (pids, redis_folder) = started(&dev);
        assert_eq!(pids.len(), 3, "a Redis, a guard and a worker");
        let redis_folder = redis_folder.expect("the Redis has a folder");
        assert!(redis_folder.exists());
        dev.signal(signal);
        let asked = Instant::now();
        assert_eq!(dev.0.exit(LIMIT).await.code(), Some(0));
        println!("ended {} ms after {signal:?}", asked.elapsed().as_millis());
        are_gone(&pids, Duration::from_secs(2)).await;
        assert!(!redis_folder.exists());
    }
}

#[tokio::test]
async fn what_a_worker_cannot_finish_in_time_is_put_back_at_no_cost() {
    let (redis, folder) = (RedisServer::start(), endless());
    let mut dev = busy(&redis, &folder).await;
    let (pids, _) = started(&dev);
    let asked = Instant::now();
    assert_eq!(dev.ended().await, Some(0));
    let took = asked.elapsed();
    assert!((8..14).contains(&took.as_secs()), "{took:?}: eight seconds to finish, a few more to put back");
    are_gone(&pids, Duration::from_secs(1)).await;
    is_back(&redis).await;
}

#[tokio::test]
async fn a_second_signal_leaves_at_once_with_3_and_the_task_comes_back_all_the_same() {
    let (redis, folder) = (RedisServer::start(), endless());
    let mut dev = busy(&redis, &folder).await;
    let (pids, _) = started(&dev);
    dev.signal(Signal::INT);
    let told = async || dev.0.stderr().iter().any(|line| line.contains("SIGINT received: draining"));
    dev.until("the first signal is heard", told).await;
    dev.signal(Signal::INT);
    let asked = Instant::now();
    assert_eq!(dev.0.exit(LIMIT).await.code(), Some(3));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    are_gone(&pids, Duration::from_secs(6)).await;
    is_back(&redis).await;
}

#[tokio::test]
async fn killed_without_warning_it_leaves_no_process_and_no_folder() {
    let folder = Folder::with(&[]);
    let deep = folder.file("deep");
    // One worker does not listen to polite signals, and has a child of its own.
    let script = format!("trap '' TERM; sleep 1000 & echo $! > {}; while :; do wait; done", deep.display());
    let workers = format!("workers:\n  replicas: 1\n{}", indented(&template(&script), 2));
    let deaf = queue(&workers).replace("name: main", "name: deaf").replace("redisName: q", "redisName: deaf");
    folder.write("deaf.yaml", &deaf);
    folder.write("q.yaml", &queue("workers: {replicas: 1}"));
    let mut dev = Dev::alone(&folder);
    // The file is there before what is written into it.
    let is_noted = || fs::read_to_string(&deep).is_ok_and(|text| text.ends_with('\n'));
    dev.until("both workers run", async || dev.workers().len() == 2 && is_noted()).await;
    let (mut pids, redis_folder) = started(&dev);
    assert_eq!(pids.len(), 4, "a Redis, a guard and two workers");
    pids.push(fs::read_to_string(&deep).unwrap().trim().parse().unwrap());
    assert!(pids.iter().all(|pid| runs(*pid)));
    dev.0.kill9();
    let killed = Instant::now();
    are_gone(&pids, Duration::from_secs(6)).await;
    println!("all gone {} ms after kill -9", killed.elapsed().as_millis());
    dev.until("the folder is gone", async || !redis_folder.as_ref().unwrap().exists()).await;
}

#[tokio::test]
async fn killed_without_warning_its_workers_put_back_what_they_hold() {
    let (redis, folder) = (RedisServer::start(), endless());
    let mut dev = busy(&redis, &folder).await;
    let (pids, _) = started(&dev);
    dev.0.kill9();
    are_gone(&pids, Duration::from_secs(6)).await;
    is_back(&redis).await;
}

#[tokio::test]
async fn a_private_redis_that_dies_ends_it_with_3_and_says_so() {
    let folder = Folder::with(&[("q.yaml", queue("workers: {replicas: 1}"))]);
    let mut dev = Dev::alone(&folder);
    dev.until("a worker is there", async || !dev.workers().is_empty()).await;
    let (pids, _) = started(&dev);
    let server = pids.iter().copied().find(|pid| command_line(*pid).contains("redis-server")).unwrap();
    kill_process(pid(server), Signal::KILL).unwrap();
    assert_eq!(dev.0.exit(LIMIT).await.code(), Some(3));
    let told = |line: &String| line.contains("the private Redis server ended by itself");
    dev.until("it says why", async || dev.0.stderr().iter().any(told)).await;
    are_gone(&pids, Duration::from_secs(6)).await;
}

#[tokio::test]
async fn a_reader_that_takes_no_events_delays_no_tick() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("workers: {}")), ("t.yaml", task("a", "* * * * * *", ""))]);
    let (_reader, mut full) = std::io::pipe().unwrap();
    // A pipe takes 64 KiB; its first event will already have to wait.
    full.write_all(&[b'\n'; 64 << 10]).unwrap();
    let mut command = cronmill(&["dev", "-o", "json", "--redis", &redis.url(), "-f"]);
    command.arg(folder.path()).stdin(Stdio::null()).stdout(full).stderr(Stdio::null());
    let mut dev = Unread(command.spawn().unwrap());
    completed(&redis, 3).await;
    kill_process(pid(dev.0.id()), Signal::TERM).unwrap();
    until(LIMIT, "it ends, unread", async || dev.0.try_wait().unwrap().is_some()).await;
    assert_eq!(dev.0.wait().unwrap().code(), Some(0));
}

/// A program whose output is the test's affair; it ends with the test.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
