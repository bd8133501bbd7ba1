//! Worker processes: what they are started with, how many there are, and that nobody busy is ended.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};
use cronmill::task::QueueName;
use jiff::SignedDuration;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::field::{
    Dev, Folder, command_line, completed, count, cronmill, indented, pid, queue, runs, task, template,
};
use crate::support::RedisServer;

/// The type of a task that lasts until the test lets it end.
const SLOW: &str = "exec:script";

/// `cronmill dev` with workers for tasks of the type [`SLOW`]. Each writes a line into a file when it begins, and one
/// when it ends.
fn with_slow_tasks(redis: &RedisServer, folder: &Folder) -> Dev {
    let (told, go) = (folder.file("told"), folder.file("go"));
    let (told, go) = (told.display(), go.display());
    let script = format!("echo begun >> {told}; until [ -e {go} ]; do sleep 0.1; done; echo ended >> {told}");
    Dev::with_script(redis, folder, &script)
}

/// What slow tasks have written.
fn told(folder: &Folder) -> Vec<String> {
    lines(&folder.file("told"))
}

/// `workers` of a TaskQueue: these lines, and a template with this script.
fn workers(lines: &str, script: &str) -> String {
    format!("workers:\n{}{}", indented(lines, 2), indented(&template(script), 2))
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn enqueue(redis: &RedisServer, kind: &str, payload: &'static str) -> String {
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let task = Task::new(kind, Bytes::from_static(payload.as_bytes())).queue("q");
    Client::new(broker).enqueue(task.retention(Duration::from_secs(600))).await.unwrap().id
}

/// Waits until the fleet `default/main` is to have so many workers, and has.
async fn has_workers(dev: &Dev, number: usize) {
    dev.until(&format!("there are {number} workers"), async || {
        dev.workers().len() == number && dev.fleet("default/main") == Some(number as u64)
    })
    .await;
}

#[tokio::test]
async fn a_template_runs_with_its_arguments_its_variables_and_what_the_queue_says() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[]);
    let script = "env > seen.new; for word; do echo \"word $word\" >> seen.new; done; mv seen.new seen; exec sleep 1000";
    let container = format!(
        "template:\n  spec:\n    containers:\n    - name: worker\n      image: any\n      workingDir: {:?}\n      \
         command: [sh, -c, {script:?}, sh]\n      args: [\"$(GREETING)\", \"$(CRONMILL_CONCURRENCY) at once\"]\n      \
         env:\n      - {{name: GREETING, value: good day}}\n      - {{name: CRONMILL_QUEUES, value: mine}}\n",
        folder.path()
    );
    let spec = format!(
        "lease: 40s\npriority: Strict\nworkers:\n  concurrency: 7\n  replicas: 1\n{}",
        indented(&container, 2)
    );
    folder.write(
        "q.yaml",
        &queue(&spec)
            .replace("redisName: q\n", "redisName: q\n    weight: 3\n  - {name: low, redisName: low}\n"),
    );
    let mut command = cronmill(&["dev", "--redis", &redis.url(), "--listen", "127.0.0.1:0", "-f"]);
    command.env("CRONMILL_LISTEN", "127.0.0.1:1").env("CRONMILL_CONFIG", "none.yaml").env("INHERITED", "yes");
    let mut dev = Dev::start(command.arg(folder.path()));
    let seen = folder.file("seen");
    dev.until("the worker has told what it sees", async || seen.exists()).await;
    let seen = lines(&seen);
    let url = format!("CRONMILL_REDIS_URL={}", redis.url());
    for expected in [
        "CRONMILL_QUEUES=low=1,q=3",
        "CRONMILL_STRICT=true",
        "CRONMILL_CONCURRENCY=7",
        "CRONMILL_LEASE=40s",
        "GREETING=good day",
        "INHERITED=yes",
        "word good day",
        "word 7 at once",
        &url,
    ] {
        assert!(seen.iter().any(|line| line == expected), "{expected} is not among {seen:#?}");
    }
    let is_ours = |line: &String| line.starts_with("CRONMILL_LISTEN") || line.starts_with("CRONMILL_CONFIG");
    assert!(!seen.iter().any(is_ours), "they would all want one address");
    assert_eq!(dev.ended().await, Some(0));
}

#[tokio::test]
async fn a_fixed_number_of_workers_is_kept_and_a_lost_one_replaced() {
    let redis = RedisServer::start();
    let fixed = |number: u32| queue(&format!("workers: {{replicas: {number}}}"));
    let folder = Folder::with(&[("q.yaml", fixed(3))]);
    let dev = Dev::on(&redis, &folder, &[]);
    has_workers(&dev, 3).await;
    let before = dev.workers();
    assert!(before.iter().all(|pid| command_line(*pid).contains("cronmill-worker")));
    kill_process(pid(before[0]), Signal::KILL).unwrap();
    dev.until("another one has its place", async || {
        let now = dev.workers();
        now.len() == 3 && !now.contains(&before[0])
    })
    .await;
    folder.write("q.yaml", &fixed(1));
    has_workers(&dev, 1).await;
    folder.write("q.yaml", &fixed(2));
    has_workers(&dev, 2).await;
    folder.remove("q.yaml");
    dev.until("none is left without its TaskQueue", async || dev.workers().is_empty()).await;
}

#[tokio::test]
async fn suspending_takes_the_fleet_to_zero_and_resuming_brings_it_back() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[
        ("q.yaml", queue("workers: {scaling: {stabilization: 1s}}")),
        ("t.yaml", task("a", "* * * * * *", "")),
    ]);
    let dev = Dev::on(&redis, &folder, &[]);
    completed(&redis, 1).await;
    has_workers(&dev, 1).await;
    folder.write("t.yaml", &task("a", "* * * * * *", "suspend: true"));
    has_workers(&dev, 0).await;
    let done = count(&redis, "completed");
    folder.write("t.yaml", &task("a", "* * * * * *", ""));
    has_workers(&dev, 1).await;
    completed(&redis, done + 1).await;
}

#[tokio::test]
async fn work_without_a_schedule_starts_as_many_workers_as_it_needs() {
    let redis = RedisServer::start();
    let scaling = "workers: {concurrency: 1, scaling: {maxReplicas: 3, targetWait: 1s, stabilization: 1s}}";
    let folder = Folder::with(&[("q.yaml", queue(scaling))]);
    let dev = with_slow_tasks(&redis, &folder);
    dev.event("inForce", |_| true).await;
    assert_eq!(dev.workers(), Vec::<u32>::new());
    let ids = [enqueue(&redis, SLOW, "").await, enqueue(&redis, SLOW, "").await];
    let arrived = Instant::now();
    dev.until("both run at once", async || count(&redis, "active") == 2).await;
    println!("two workers claimed within {} ms of the arrival of work", arrived.elapsed().as_millis());
    folder.write("go", "");
    completed(&redis, ids.len() as u64).await;
    has_workers(&dev, 0).await;
    assert_eq!(told(&folder), ["begun", "begun", "ended", "ended"]);
}

#[tokio::test]
async fn a_worker_is_started_before_a_delayed_task_is_due_and_not_long_before() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("workers: {scaling: {stabilization: 0s}}"))]);
    let dev = Dev::on(&redis, &folder, &[]);
    dev.event("inForce", |_| true).await;
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let delay = Duration::from_secs(15);
    let due = broker.now() + SignedDuration::try_from(delay).unwrap();
    let task = Task::new("hello", Bytes::from_static(b"{}")).queue("q").retention(Duration::from_secs(600));
    let id = Client::new(broker.clone()).enqueue(task.after(delay)).await.unwrap().id;
    has_workers(&dev, 1).await;
    let before = due.duration_since(broker.now());
    assert!(before > SignedDuration::ZERO && before < SignedDuration::from_secs(5), "{before:?}");
    completed(&redis, 1).await;
    let done = broker.task(&QueueName::new("q").unwrap(), &id).await.unwrap().unwrap();
    let late = done.message.completed_s - due.as_second();
    assert!((0..=1).contains(&late), "{late} s late");
    has_workers(&dev, 0).await;
    let why: Vec<_> = dev
        .events()
        .iter()
        .filter(|event| event["event"] == "fleet")
        .map(|event| event["why"].to_string())
        .collect();
    assert!(why[0].contains("1 task is due soon; 1 should run at once"), "{why:?}");
}

#[tokio::test]
async fn a_thousand_tasks_that_take_a_millisecond_make_at_most_one_worker_more() {
    let redis = RedisServer::start();
    let scaling = "workers: {scaling: {minReplicas: 1, maxReplicas: 10, stabilization: 0s}}";
    let folder = Folder::with(&[("q.yaml", queue(scaling))]);
    let dev = Dev::on(&redis, &folder, &[]);
    has_workers(&dev, 1).await;
    let client = Client::new(Broker::connect(&redis.endpoint()).await.unwrap());
    let run = async |tasks: u64, done: u64| {
        let task = |_| Task::new("hello", Bytes::from_static(b"{}")).queue("q");
        let tasks = (0..tasks).map(|number| task(number).retention(Duration::from_secs(600))).collect();
        assert!(client.enqueue_batch(tasks).await.iter().all(Result::is_ok));
        completed(&redis, done).await;
    };
    // From the first ones it is learned how long one takes.
    run(1, 1).await;
    let run_time = || {
        let record = redis.cli(["GET", "cronmill:{q}:fleet"]);
        serde_json::from_str::<Value>(&record).ok()?["runTimeMs"].as_u64()
    };
    dev.until("that is written down", async || run_time().is_some()).await;
    run(100, 101).await;
    run(1_000, 1_101).await;
    let sizes: Vec<_> = dev.events().iter().filter_map(|event| event["to"].as_u64()).collect();
    println!("the sizes of the fleet: {sizes:?}");
    assert!(sizes[0] == 1 && sizes.iter().all(|size| *size <= 2), "{sizes:?}");
}

/// How often an attempt of a task has failed, by asynq's own counter.
fn failures(redis: &RedisServer) -> String {
    redis.cli(["GET", "asynq:{q}:failed"])
}

#[tokio::test]
async fn a_long_task_survives_the_suspension_of_its_schedule() {
    let redis = RedisServer::start();
    let slow = |suspended: bool| {
        let text = task("slow", "* * * * * *", &format!("suspend: {suspended}\nconcurrencyPolicy: Forbid"));
        text.replace("{type: hello,", &format!("{{type: {SLOW},"))
    };
    let folder = Folder::with(&[
        ("q.yaml", queue("workers: {scaling: {stabilization: 0s}}")),
        ("t.yaml", slow(false)),
    ]);
    let dev = with_slow_tasks(&redis, &folder);
    dev.until("it runs", async || told(&folder) == ["begun"]).await;
    let worker = dev.workers();
    folder.write("t.yaml", &slow(true));
    dev.event("tick", |tick| tick["outcome"] == "suspended").await;
    assert_eq!((count(&redis, "active"), dev.workers()), (1, worker), "it holds the task still");
    folder.write("go", "");
    completed(&redis, 1).await;
    has_workers(&dev, 0).await;
    assert_eq!((count(&redis, "completed"), failures(&redis)), (1, String::new()));
    assert_eq!(told(&folder), ["begun", "ended"]);
}

#[tokio::test]
async fn workers_sent_away_finish_what_they_hold_and_are_replaced_beside() {
    let redis = RedisServer::start();
    let with = |workers: &str| queue(&format!("workers: {{{workers}}}"));
    let folder = Folder::with(&[("q.yaml", with("replicas: 2, concurrency: 1"))]);
    let dev = with_slow_tasks(&redis, &folder);
    for _ in 0..2 {
        enqueue(&redis, SLOW, "").await;
    }
    dev.until("both run", async || told(&folder).len() == 2).await;
    let busy = dev.workers();
    // Other workers, one of them: the two there are have to leave.
    folder.write("q.yaml", &with("replicas: 1, concurrency: 2"));
    dev.until("another one is there", async || dev.workers().iter().any(|pid| !busy.contains(pid))).await;
    let hello = enqueue(&redis, "hello", "").await;
    let state = || redis.cli(["HGET", &format!("asynq:{{q}}:t:{hello}"), "state"]);
    dev.until("it works", async || state() == "completed").await;
    assert_eq!(count(&redis, "active"), 2, "the busy ones have not been disturbed");
    assert!(busy.iter().all(|pid| runs(*pid)));
    folder.write("q.yaml", &with("replicas: 0, concurrency: 2"));
    folder.write("go", "");
    completed(&redis, 3).await;
    has_workers(&dev, 0).await;
    assert_eq!(failures(&redis), "");
    assert_eq!(redis.cli_lines(["HVALS", "cronmill:{q}:crashes"]), Vec::<String>::new());
    assert_eq!(told(&folder), ["begun", "begun", "ended", "ended"]);
}

#[tokio::test]
async fn a_worker_that_crashes_is_started_again_ever_more_slowly() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[]);
    let runs = folder.file("runs");
    folder
        .write("q.yaml", &queue(&workers("replicas: 2", &format!("echo run >> {}; exit 7", runs.display()))));
    let began = Instant::now();
    let dev = Dev::on(&redis, &folder, &[]);
    // Two at a time: pauses of 200, 400, 800 and 1600 ms lie between the first and the fifth pair.
    dev.until("it was started nine times", async || lines(&runs).len() >= 9).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}: a tight loop");
    let told = |line: &String| line.contains("ended by itself") && line.contains("exit status: 7");
    assert!(dev.0.stderr().iter().any(told), "{:#?}", dev.0);
    // Mended, it is started at once and not after the pause.
    let mended = Instant::now();
    folder.write("q.yaml", &queue(&workers("replicas: 2", "exec sleep 1000")));
    has_workers(&dev, 2).await;
    assert!(mended.elapsed() < Duration::from_secs(3), "{:?}", mended.elapsed());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_disturbs_nobody() {
    let redis = RedisServer::start();
    let broken = "workers:\n  replicas: 1\n  template: {spec: {containers: [{command: [/no/such/worker]}]}}";
    let broken = queue(broken).replace("name: main", "name: broken").replace("redisName: q", "redisName: b");
    let folder = Folder::with(&[
        ("broken.yaml", broken),
        ("q.yaml", queue("workers: {}")),
        ("t.yaml", task("a", "* * * * * *", "")),
    ]);
    let dev = Dev::on(&redis, &folder, &[]);
    completed(&redis, 2).await;
    let told = |line: &String| line.contains("/no/such/worker") && line.contains("cannot be started");
    dev.until("it is told", async || dev.0.stderr().iter().any(told)).await;
}

#[tokio::test]
async fn what_a_script_leaves_running_ends_with_it() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[]);
    let deep = folder.file("deep");
    // The shell ends at a signal and tells nobody: in a cluster, its container would end with it.
    let script = format!("sleep 1000 & echo $! > {}; wait", deep.display());
    folder.write("q.yaml", &queue(&workers("replicas: 1", &script)));
    let dev = Dev::on(&redis, &folder, &[]);
    dev.until("it has started something", async || !lines(&deep).is_empty()).await;
    let sleep: u32 = lines(&deep).concat().parse().unwrap();
    assert!(runs(sleep));
    folder.write("q.yaml", &queue(&workers("replicas: 0", &script)));
    dev.until("both are gone", async || !runs(sleep) && dev.workers().is_empty()).await;
}
